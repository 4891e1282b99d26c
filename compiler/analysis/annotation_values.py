"""What the values of Istio's annotations must look like; None says that a value is right."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable

_SWITCHES = frozenset({"1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"})
_POLICIES = frozenset({"", "y", "yes", "true", "on", "n", "no", "false", "off"})
_TOP_PORT, _TOP_NUMBER = 65_535, 4_294_967_295


def _number(value: str) -> str | None:
    good = value.isdigit() and value.isascii() and int(value[:11]) <= _TOP_NUMBER
    return None if good else f"`{value}` is not a whole number"


def _port(value: str) -> str | None:
    return None if _is_port(value) else f"`{value}` is not a port"


def _is_port(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 6 and int(value) <= _TOP_PORT


def _ports(value: str) -> str | None:
    wrong = next((part for part in value.split(",") if part.strip() and not _is_port(part.strip())), None)
    return f"`{wrong}` is not a port" if wrong is not None else None


def _ports_or_all(value: str) -> str | None:
    return None if value == "*" else _ports(value)


def _ranges(value: str) -> str | None:
    for part in filter(None, value.split(",")):
        try:
            ipaddress.ip_network(part, strict=False)
        except ValueError:
            return f"`{part}` is not a block of addresses"
        if "/" not in part:
            return f"`{part}` has no prefix length"
    return None


def _ranges_or_all(value: str) -> str | None:
    return None if value == "*" else _ranges(value)


def _mode(value: str) -> str | None:
    return None if value in ("REDIRECT", "TPROXY", "NONE") else f"`{value}` is not REDIRECT, TPROXY or NONE"


def _switch(value: str) -> str | None:
    return None if value in _SWITCHES else f"`{value}` is not true or false"


def _policy(value: str) -> str | None:
    return None if value.lower() in _POLICIES else f"`{value}` is not true or false"


def _json(value: str) -> str | None:
    try:
        json.loads(value or "null")
    except ValueError:
        return "the value is not JSON"
    return None


VALUES: dict[str, Callable[[str], str | None]] = {
    "sidecar.istio.io/inject": _policy,
    "sidecar.istio.io/interceptionMode": _mode,
    "sidecar.istio.io/rewriteAppHTTPProbers": _switch,
    "sidecar.istio.io/userVolume": _json,
    "sidecar.istio.io/userVolumeMount": _json,
    "status.sidecar.istio.io/port": _port,
    "readiness.status.sidecar.istio.io/initialDelaySeconds": _number,
    "readiness.status.sidecar.istio.io/periodSeconds": _number,
    "readiness.status.sidecar.istio.io/failureThreshold": _number,
    "readiness.status.sidecar.istio.io/applicationPorts": _ports,
    "traffic.sidecar.istio.io/includeOutboundIPRanges": _ranges_or_all,
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": _ranges,
    "traffic.sidecar.istio.io/includeInboundPorts": _ports_or_all,
    "traffic.sidecar.istio.io/excludeInboundPorts": _ports,
    "traffic.sidecar.istio.io/includeOutboundPorts": _ports,
    "traffic.sidecar.istio.io/excludeOutboundPorts": _ports,
    "prometheus.istio.io/merge-metrics": _switch,
}
