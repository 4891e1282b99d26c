"""What both engines must agree on, and which disagreements are known (docs/reference/envoy-differences.md has the reason of each)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from tests.differential.client import Answer
from tests.differential.requests import ENGINE, KEY, METHODS, Request

HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "te", "date", "x-seen"})
"""Framing, and what cannot be equal."""

SWITCHING = 101

Headers = dict[str, list[str]]
_MADE = re.compile('="[0-9a-f]{16}"')


class Outcome(msgspec.Struct, frozen=True):
    """One engine's answer, made comparable. ``seen`` is what the back end saw, None where no back end was asked; ``endpoint`` its address."""

    status: int
    cluster: str
    headers: Headers
    text: bytes
    target: str = ""
    seen: Headers | None = None
    attempts: int = 0
    endpoint: str = ""


def outcome(request: Request, answer: Answer, clusters: dict[str, str], attempts: int) -> Outcome:
    """Reads an answer; whether a back end made it stands in its x-seen header."""
    headers = _grouped(answer.headers)
    seen = next((value for name, value in answer.headers if name == "x-seen"), "")
    for volatile in ("x-envoy-upstream-service-time", "x-ratelimit-reset"):
        if volatile in headers:
            headers[volatile] = ["there"]
    if "set-cookie" in headers:
        # Made by the engine of a client's addresses, of which no two are equal.
        headers["set-cookie"] = [_MADE.sub('="made here"', one) for one in headers["set-cookie"]]
    if not seen:
        return Outcome(answer.status, "", headers, answer.body, attempts=attempts)
    address, _, target = seen.partition(" ")
    saw = None
    if answer.body.startswith(b"{"):
        record: dict[str, Any] = json.loads(answer.body)
        saw = comparable(tuple((name, value) for name, value in record["headers"]), request.headers)
    return Outcome(answer.status, clusters.get(address, address), headers, b"", target, saw, attempts, address)


def comparable(pairs: tuple[tuple[str, str], ...], sent: tuple[tuple[str, str], ...] = ()) -> Headers:
    """The headers of a request as a back end saw them, without what tells the two engines' apart."""
    saw = _grouped(tuple((name, value) for name, value in pairs if name not in (KEY, ENGINE)))
    if "x-request-id" in saw and ("x-request-id", saw["x-request-id"][0]) not in sent:
        saw["x-request-id"] = ["made here"]
    if "x-forwarded-for" in saw:
        saw["x-forwarded-for"] = [",".join(saw["x-forwarded-for"]).replace(" ", "")]
    return saw


def _grouped(pairs: tuple[tuple[str, str], ...]) -> Headers:
    found: Headers = {}
    for name, value in pairs:
        if name not in HOP:
            found.setdefault(name, []).append(value)
    return found


def differences(ours: Outcome, theirs: Outcome, *, weighted: bool, keyed: bool = False) -> list[str]:
    """What differs, each as ``part: trio's -> Envoy's``. Where the choice is drawn, only what does not depend on it is compared; where
    the request has a key that a cluster hashes, its endpoint is, too."""
    found = []
    if ours.status != theirs.status:
        found.append(f"status: {ours.status} -> {theirs.status}")
        return found
    if ours.cluster != theirs.cluster:
        return [] if weighted else [f"cluster: {ours.cluster} -> {theirs.cluster}"]
    for part in ("target", "attempts", "text", *(["endpoint"] if keyed else [])):
        if getattr(ours, part) != getattr(theirs, part):
            found.append(f"{part}: {getattr(ours, part)!r} -> {getattr(theirs, part)!r}")
    found += headers_apart("reply", ours.headers, theirs.headers)
    if ours.seen is not None and theirs.seen is not None:
        found += headers_apart("seen", ours.seen, theirs.seen)
    return found


def headers_apart(where: str, ours: Headers, theirs: Headers) -> list[str]:
    """The headers that differ, each as ``<where> <name>: trio's -> Envoy's``."""
    return [
        f"{where} {name}: {ours.get(name)} -> {theirs.get(name)}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]


Known = Callable[[Request, Outcome, str], bool]


def _part(*starts: str) -> Known:
    return lambda _request, _ours, one: one.startswith(starts)


def _location(request: Request, _ours: Outcome, one: str) -> bool:
    """A Location that differs in its port; or in its scheme too, where the request claims one."""
    if not one.startswith("reply location"):
        return False
    scheme = r"https?" if ("x-forwarded-proto", "https") in request.headers else "-"
    ours, _, theirs = re.sub(r"(://[^/:']+):[0-9]+", r"\1", one.partition(": ")[2]).partition(" -> ")
    return re.sub(f"{scheme}://", "://", ours) == re.sub(f"{scheme}://", "://", theirs)


def _few_of_plenty(_request: Request, ours: Outcome, one: str) -> bool:
    """What is left of a limit that several chains share (``engines.PLENTY``), which each counts by itself in Envoy."""
    return one.startswith("reply x-ratelimit-remaining: ") and ours.headers.get("x-ratelimit-limit") == ["1000000"]


KNOWN: dict[str, Known] = {
    "Repeated headers": lambda request, _ours, _one: request.repeats,
    "Unknown methods": lambda request, _ours, one: request.method not in METHODS and one.endswith(" -> 400"),
    "Loopback clients": lambda _request, _ours, one: (
        one.startswith("seen x-forwarded-for: ") and "127.0.0.1'] -> " in one
    ),
    "Location": _location,
    "Names that do not resolve": lambda _request, ours, one: (
        one.startswith(("text: ", "log "))
        and ours.text == b"no healthy upstream"
        and (
            "DNS" in one
            or "'UH,DF' -> 'DF'" in one
            or "dns_resolution_failure" in one
            or one.startswith(("log bytes_sent", "log bytes_received"))
        )
    ),
    "Limits of several chains": _few_of_plenty,
    "Sniffed requests": lambda request, _ours, one: one == "status: 400 -> 200" and not request.target.startswith("/"),
    "Server of an inbound reply": _part("reply server: ['weft'] -> None"),
    "Expected timeout": _part(
        "seen x-envoy-expected-rq-timeout-ms: None", "copies x-envoy-expected-rq-timeout-ms: None"
    ),
    "Original host": _part("seen x-envoy-original-host: None", "copies x-envoy-original-host: None"),
    "Copies": lambda request, _ours, one: (
        one.startswith(("copies x-envoy-internal: None -> ['true']", "copies x-forwarded-for: "))
        or ("upgrade" in dict(request.headers) and one.startswith("copies: [] -> "))
    ),
    "Query without its token": lambda request, _ours, one: (
        one.startswith(
            ("target: ", "seen x-envoy-original-path: ", "copies target: ", "log path: ", "reply location: ")
        )
        and any(f"{name}=" in request.target for name in ("access_token", "token-0", "token-1"))
    ),
    "Headers of a refusal": lambda _request, ours, one: (
        (
            ours.status in (401, 403)
            or ours.headers.get("grpc-status") in (["7"], ["16"])
            or "retry-after" in ours.headers
        )
        and not ours.cluster
        and one.startswith("reply ")
    ),
    "Service time of an upgrade": lambda request, _ours, one: (
        "upgrade" in dict(request.headers) and one == "reply x-envoy-upstream-service-time: ['there'] -> None"
    ),
    "Authority in the log": lambda _request, _ours, one: one.startswith("log authority: "),
    "Path in the log": lambda request, ours, one: (
        one.startswith("log path: ")
        and ("x-envoy-original-path" in dict(request.headers) or one.endswith(f" -> {ours.target.partition(' ')[2]!r}"))
    ),
    "Replies of the proxy in the log": lambda _request, ours, one: (
        not ours.cluster and one.startswith(("log route_name: None -> ", "log upstream_cluster: None -> "))
    ),
    "The end of a tunnel": lambda _request, ours, one: (
        ours.status == SWITCHING
        and one
        in (
            "log response_flags: '-' -> 'DC'",
            "log response_code_details: 'via_upstream' -> 'downstream_remote_disconnect'",
        )
    ),
}
"""Heading of a section of the page -> whether a difference is that one."""


def unexplained(request: Request, ours: Outcome, found: list[str], used: dict[str, int]) -> list[str]:
    """The differences that no rule explains; ``used`` counts those that one does."""
    left = []
    for one in found:
        name = next((name for name, known in KNOWN.items() if known(request, ours, one)), None)
        if name is None:
            left.append(one)
        else:
            used[name] = used.get(name, 0) + 1
    return left
