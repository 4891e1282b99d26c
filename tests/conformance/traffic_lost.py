"""What Istio's traffic cases hold as code, which the data therefore lack, by line of the case and name of the child: headers, values, checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from tests.conformance.traffic_calls import Reply
from tests.conformance.traffic_mesh import EXTERNAL, NAMESPACE

FQDN = f"{NAMESPACE}.svc.cluster.local"
WEIRD = "x-weird!#$%&'*+.^_`|~9"
"""Every character that a header's name may have and a usual one has not (RFC 9110 section 5.6.2)."""
_CHOSEN_CIPHERS = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"]


class Lost(msgspec.Struct, frozen=True):
    """What one call needs beside the data. ``values`` fill the template; ``calls`` are further settings of the call, ``more`` further documents."""

    headers: dict[str, str] = {}
    values: dict[str, Any] = {}
    closure: Callable[[list[Reply]], str | None] | None = None
    host: str = ""
    calls: dict[str, Any] = {}
    config: str = ""
    more: str = ""


def location(wanted: str) -> Callable[[list[Reply]], str | None]:
    """That every answer redirects there."""
    return lambda replies: next(
        (f"location {one.headers.get('location')}" for one in replies if one.headers.get("location") != wanted), None
    )


def shares(**wanted: int) -> Callable[[list[Reply]], str | None]:
    """That requests are shared out so, within ten points of a hundred, as in Istio's own test."""

    def judge(replies: list[Reply]) -> str | None:
        got = Counter(reply.seen.get("service") for reply in replies)
        wrong = any(abs(100 * got[name] / len(replies) - share) > 10 for name, share in wanted.items())
        return f"shares {dict(got)}" if wrong else None

    return judge


def one_host(replies: list[Reply]) -> str | None:
    """That all went to the same program."""
    got = {str(reply.seen.get("service")) for reply in replies}
    return f"went to {sorted(got)}" if len(got) != 1 else None


def several_hosts(replies: list[Reply]) -> str | None:
    """That not all went to the same program."""
    return None if one_host(replies) else "went to one program"


def begins(*starts: str) -> Callable[[list[Reply]], str | None]:
    """That the raw answer begins with one of these."""
    return lambda replies: None if replies[0].text.startswith(starts) else f"answered {replies[0].text[:60]!r}"


def whichever(_replies: list[Reply]) -> str | None:
    """What Istio says of cases that should succeed and do not with it: either is right."""
    return None


def gateway(protocol: str, service_port: int, **more: Any) -> dict[str, Any]:
    """The values of Istio's gateway template."""
    tls = protocol == "HTTPS"
    return {
        "GatewayHost": "*",
        "GatewayPort": 443 if tls else 80,
        "GatewayPortName": protocol.lower(),
        "GatewayProtocol": protocol,
        "Gateway": "gateway",
        "VirtualServiceHost": f"b.{FQDN}",
        "Port": service_port,
        "Credential": "cred" if tls else "",
        "TLSMode": "SIMPLE",
        **more,
    }


def hashed(by: str) -> Lost:
    """A case of consistent hashing, by one line of its DestinationRule."""
    return Lost(headers={"x-some-header": "baz"}, values=_by(by), closure=one_host, calls={"http": True})


def _by(line: str) -> dict[str, Any]:
    return {**_HASHED, "": line}


_HASHED = {"Service": "consistent-hash", "Port": 80, "TargetPort": 18080, "TcpPort": 9090, "TcpTargetPort": 19090}
_REDIRECTED = {
    "to default": ("b", "http://b/foo"),
    "to default with host port": ("b:80", "http://b:80/foo"),
    "non-default": ("b", "http://b:85/foo"),
    "non-default with host port": ("b:85", "http://b:85/foo"),
}
_ALT = """apiVersion: v1
kind: Service
metadata: {{name: {name}, labels: {{app: b}}}}
spec:
  ports: [{{name: {port}, port: {number}, targetPort: {target}}}]
  selector: {{app: b}}
"""
HEADLESS_PORTS = {2702: 18081, 2748: 18080}


def headless_hosts(line: int) -> list[str]:
    """The forms of a headless service's name that Istio's host cases try."""
    port, name, full = HEADLESS_PORTS[line], "headless", f"headless.{FQDN}"
    hosts = []
    for stem in (full, f"{name}.{NAMESPACE}.svc", name):
        for pod in ("", "some-instances."):
            hosts += [f"{pod}{stem}", f"{pod}{stem}:{port}", f"{pod}{stem}:12345"]
    return [*hosts, "127.0.0.1", f"127.0.0.1:{port}"]


LOST: dict[tuple[int, str], Lost] = {
    (497, ""): Lost(closure=location(f"https://b.{FQDN}:80/foo")),
    **{(530, name): Lost(host=host, closure=location(to)) for name, (host, to) in _REDIRECTED.items()},
    (670, "no match"): Lost(values={"header": WEIRD}),
    (670, "match"): Lost(values={"header": WEIRD}, headers={WEIRD: "why"}),
    (817, "preflight"): Lost(headers={"origin": "cors.com", "access-control-request-method": "DELETE"}),
    (817, "get"): Lost(headers={"origin": "cors.com"}),
    (1127, "end-user is jason"): Lost(headers={"end-user": "jason"}),
    (1127, "end-user is not jason"): Lost(headers={"end-user": "not-jason"}),
    **{
        (line, name): Lost(headers={"end-user": value})
        for line in (1211, 1295)
        for name, value in (
            ("have end-user header and value", "jason"),
            ("have end-user header but value is empty", ""),
        )
    },
    (1588, ""): Lost(values={"VirtualServiceHost": "c"}),
    (1892, ""): Lost(values=gateway("HTTP", 80), host="foo.bar"),
    (2023, ""): Lost(values=gateway("HTTPS", 80, Ciphers=_CHOSEN_CIPHERS)),
    (2151, ""): Lost(values=gateway("HTTP", 81)),
    (3290, ""): Lost(calls={"target": "a"}),
    (2824, ""): Lost(config=_ALT.format(name="b-alt-2", port="tcp", number=80, target=19092)),
    (2881, ""): Lost(config=_ALT.format(name="b-alt-4", port="http", number=12346, target=18083)),
    (3007, ""): Lost(values=gateway("HTTP", 80, VirtualServiceHost=f"b-ext-se.{FQDN}")),
    (3122, ""): Lost(values=_HASHED, closure=several_hosts),
    (3210, ""): hashed("useSourceIp: true"),
    (3216, ""): hashed("httpQueryParameterName: some-query-param"),
    (3222, ""): hashed("httpHeaderName: x-some-header"),
    (3228, ""): Lost(values=_by("useSourceIp: true"), closure=one_host),
    (3238, ""): Lost(headers={"x-some-header": "baz"}, values=_HASHED, closure=one_host, calls={"keep_cookies": True}),
    # Istio answers HTTP/1.0 with 426 unless it is told otherwise; what is no HTTP at all (its line has no carriage return) is refused here.
    (3411, ""): Lost(closure=begins("HTTP/1.1 426", "HTTP/1.1 400")),
    (3430, ""): Lost(closure=begins("HTTP/1.0 200", "HTTP/1.1 400", "HTTP/1.1 200")),
    (3449, ""): Lost(host=EXTERNAL, closure=begins("HTTP/1.0 200", "HTTP/1.1 400", "HTTP/1.1 200")),
    (3469, ""): Lost(host=EXTERNAL, closure=begins("HTTP/1.0 200", "HTTP/1.1 400", "HTTP/1.1 200")),
    (3988, ""): Lost(host=EXTERNAL),
}
SHOULD_SUCCEED = ("auto-tcp-server:DISABLE/DISABLE", "auto-tcp-server:ISTIO_MUTUAL/STRICT")
"""Cases that fail with Istio for want of something that its own test names as a flaw."""
for _line, _port, _protocol in ((2348, 80, "HTTP"), (2366, 80, "HTTPS")):
    LOST[_line, ""] = Lost(values=gateway(_protocol, _port))
