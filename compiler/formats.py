"""The formats that our schemas name and JSON Schema does not know: each tells what a text should have been, or "" where it is right.

Names, hosts and addresses follow Istio's validation, which lets labels of host names have upper case, and no underscores.
"""

from __future__ import annotations

import http
import ipaddress
import json
import math
import re
from collections.abc import Callable
from typing import Any

import re2

_NANOSECONDS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "ns": 1,
}
_PART_OF_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_LONGEST_HOST = 255
_LONGEST_DURATION = 64
_RETRY_CONDITIONS = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ]
)
_STATUSES = frozenset(str(int(status)) for status in http.HTTPStatus)
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
# What a header's value may hold between two per cent signs: a name, and arguments in brackets, with a backslash before what is meant literally.
_VARIABLE = re.compile(r"%%|%[^%(]*(\((?:\\.|[^\\)])*\)(?::[0-9]+)? *)?%", re.DOTALL)


def problem(name: str, text: str) -> str:
    """What the text is not, to be read after "is not"; "" where it has the format. Formats that are not ours are not judged."""
    check = _CHECKS.get(name)
    return check(text) if check else ""


def is_host(text: str) -> bool:
    """Whether a text is a domain name: labels of letters, digits and `-`, the last one not a number."""
    labels = text.removesuffix(".").split(".")
    return len(text) <= _LONGEST_HOST and not labels[-1].isdigit() and all(_LABEL.fullmatch(label) for label in labels)


def is_wildcard_host(text: str) -> bool:
    """Whether a text is a domain name whose first label may be, or begin with, a star."""
    first, dot, rest = text.partition(".")
    bare = first.removeprefix("*").removeprefix("-") if first.startswith("*") else first
    if len(text) > _LONGEST_HOST or not (first == "*" or _LABEL.fullmatch(bare)):
        return False
    return not dot or rest == "" or is_host(rest)


def is_address(text: str) -> bool:
    """Whether a text is an IP address, which an IPv6 zone may follow."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def nanoseconds(text: str) -> int | None:
    """A duration such as ``1m30s``; None for what is none, or longer than anybody writes."""
    if len(text) > _LONGEST_DURATION:
        return None
    parts = list(_PART_OF_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        return None
    return sum(_times(part[1], _NANOSECONDS[part[2]]) for part in parts)


def _times(number: str, unit: int) -> int:
    """A decimal number of units, exactly; what is less than a nanosecond counts as one, so that it is not whole milliseconds."""
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    parts, rest = divmod(int(fraction or 0) * unit, scale)
    return int(whole or 0) * unit + parts + int(rest > 0)


def _regex(text: str) -> str:
    try:
        re2.compile(text, _QUIET)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        return f"an expression that RE2 takes: {reason}"
    return ""


def _regex_or_star(text: str) -> str:
    # A lone star is no expression, but where headers are to be absent it says "present" (Istio).
    return "" if text == "*" else _regex(text)


def _address(text: str) -> str:
    return "" if is_address(text) else "an IP address"


def _block(text: str) -> str:
    address, slash, length = text.partition("/")
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return _NO_BLOCK
    return _NO_BLOCK if slash and not length.isdigit() else "" if is_address(address) else _NO_BLOCK


def _keys(text: str) -> str:
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "a JSON Web Key Set: JSON with a list `keys`"
    return "" if isinstance(keys, list) else "a JSON Web Key Set: its `keys` are no list"


def _duration(text: str) -> str:
    length = nanoseconds(text)
    if length is not None and length < _MILLISECOND:
        return "long enough: the least is `1ms`"
    return _duration_or_zero(text)


def _duration_or_zero(text: str) -> str:
    length = nanoseconds(text)
    return "a whole number of milliseconds" if length is not None and length % _MILLISECOND else ""


def _whole_seconds(text: str) -> str:
    length = nanoseconds(text)
    if length == 0:
        return "long enough: the least is `1s`"
    return "a whole number of seconds" if length is not None and length % _NANOSECONDS["s"] else ""


def _host(text: str) -> str:
    return "" if is_host(text) else "a host name without wildcard"


def _host_or_address(text: str) -> str:
    return "" if is_host(text) or is_address(text) else "a host name without wildcard, nor an IP address"


def _endpoint(text: str) -> str:
    if not text or text.startswith("unix://") or is_host(text) or is_address(text):
        return ""
    return "an IP address, a host name without port and wildcard, or unix:///path"


def _wildcard_host(text: str) -> str:
    return "" if is_wildcard_host(text) else "a host name, in which `*` stands only at the start of the first label"


def _gateway_host(text: str) -> str:
    """What a gateway serves: ``host`` or ``namespace/host``. A name that is short, or a number, is no host that a client asks for."""
    host = text.rpartition("/")[2]
    if host == "*" or is_address(host) or (is_wildcard_host(host) and "." in host):
        return ""
    return "a full host name (a short one stands for nothing at a gateway)"


def _sidecar_host(text: str) -> str:
    host = text.rpartition("/")[2]
    if host == "*" or (is_wildcard_host(host) and "." in host):
        return ""
    return "a full host name; a short one stands for nothing here, write `name.namespace.svc.cluster.local`"


def _proxy_address(text: str) -> str:
    """A host and its port, or nothing; in the host Istio lets ``$(HOST_IP)`` stand for an address."""
    if not text:
        return ""
    host, colon, port = text.replace("$(HOST_IP)", "127.0.0.1", 1).rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    right = is_address(bare) if bracketed or ":" in host else is_host(bare) or is_address(bare)
    if not (colon and right and (bracketed or ":" not in host) and re.fullmatch("[0-9]{1,5}", port)):
        return "a host and its port, for example `zipkin.tracing:9411`"
    return "" if 1 <= int(port) <= _MOST_PORT else "a host and a port from 1 to 65535"


def _header_value(text: str) -> str:
    if _CONTROL.search(text):
        return "a header's value: it holds a control character"
    if "%" in _VARIABLE.sub("", text):
        return "a header's value: a `%` that stands for itself is written `%%`"
    return ""


def _prime(text: str) -> str:
    number = int(text)
    divisors = range(2, math.isqrt(max(number, 0)) + 1)
    # What is out of range is the schema's to refuse, and may be too large to try.
    return "a prime number" if number <= _MOST_TABLE and any(number % divisor == 0 for divisor in divisors) else ""


def _retry_on(text: str) -> str:
    for condition in (part.strip() for part in text.split(",")):
        if condition not in _RETRY_CONDITIONS and condition not in _STATUSES:
            return f"a list of conditions to retry on: `{condition}` is no condition and no status"
    return ""


def _cel(text: str) -> str:
    from compiler.cel_rules import compiles

    return "" if compiles(text) else "an expression in CEL"


def _quiet() -> Any:
    """RE2 would write its errors to standard error too."""
    options = re2.Options()
    options.log_errors = False
    return options


_QUIET = _quiet()
_MILLISECOND = _NANOSECONDS["ms"]
_MOST_PORT = 65_535
_MOST_TABLE = 5_000_010
_NO_BLOCK = "an IP address or a CIDR block, for example 10.0.0.0/8"

_CHECKS: dict[str, Callable[[str], str]] = {
    "re2": _regex,
    "re2-or-star": _regex_or_star,
    "ip": _address,
    "ip-block": _block,
    "jwk-set": _keys,
    "duration-1ms": _duration,
    "duration-ms": _duration_or_zero,
    "duration-s": _whole_seconds,
    "host": _host,
    "host-or-ip": _host_or_address,
    "endpoint": _endpoint,
    "wildcard-host": _wildcard_host,
    "gateway-host": _gateway_host,
    "sidecar-host": _sidecar_host,
    "proxy-address": _proxy_address,
    "prime": _prime,
    "header-value": _header_value,
    "retry-on": _retry_on,
    "cel": _cel,
}
