"""What both engines wrote into their access logs of the same request: the flags of its end, its route, its cluster, its sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

AGENT = "differential/"
"""How the user agent of a request begins; what follows tells the request's line in both logs."""
FIELDS = (
    "method",
    "path",
    "protocol",
    "response_code",
    "response_flags",
    "response_code_details",
    "connection_termination_details",
    "bytes_received",
    "bytes_sent",
    "authority",
    "upstream_cluster",
    "requested_server_name",
    "route_name",
)
"""What must be equal. The rest is times, addresses of this machine and identifiers, and what is compared elsewhere."""


def lines(file: Path) -> dict[str, dict[str, Any]]:
    """The lines of a log by the user agent of their request; of several the last."""
    if not file.exists():
        return {}
    found = (json.loads(line) for line in file.read_bytes().splitlines())
    return {one["user_agent"]: one for one in found if (one["user_agent"] or "").startswith(AGENT)}


def differences(ours: dict[str, Any] | None, theirs: dict[str, Any] | None, *, echoed: bool) -> list[str]:
    """What differs, each as ``log <field>: trio's -> Envoy's``. An ``echoed`` body is as long as the headers that the engine sent on."""
    if ours is None and theirs is None:
        # Refused before there was a head: the line of either says nothing of the request.
        return []
    if ours is None or theirs is None:
        return [f"log: {'nothing' if ours is None else 'a line'} -> {'nothing' if theirs is None else 'a line'}"]
    return [
        f"log {name}: {ours.get(name)!r} -> {theirs.get(name)!r}"
        for name in FIELDS
        if not (echoed and name == "bytes_sent") and (ours.get(name) or "") != (theirs.get(name) or "")
    ]
