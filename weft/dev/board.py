"""What there is to see of a session, and what it is told by: the screen draws it, tests read it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import msgspec

from weft.local.views import ProxyView

_SAMPLE = re.compile(r"^istio_requests_total\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Route = tuple[str, str, str]
"""Who calls, which service, and which version answers."""


class Row(msgspec.Struct):
    """One proxy with its process: where it is, what it serves, how many requests it answers, and what is wrong with it ("" for nothing)."""

    name: str
    kind: str
    addresses: str
    hosts: int
    view: ProxyView | None = None
    rate_per_s: float = 0.0
    failed_per_s: float = 0.0
    problem: str = ""


class Flow(msgspec.Struct):
    """Requests of one route since the last look, per second."""

    rate_per_s: float = 0.0
    failed_per_s: float = 0.0


class Board:
    """Owns the rows, the flows between workloads, the last change, and the mistakes that keep it from being live ("" for none)."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.flows: dict[Route, Flow] = {}
        self.change = "compiling"
        self.mistakes = ""
        self._counted: dict[str, Counts] = {}

    def count(self, name: str, text: str, seconds: float) -> None:
        """Takes one proxy's metrics page, ``seconds`` after the one before."""
        now = counts_of(text)
        before = self._counted.get(name)
        self._counted[name] = now
        row = self.rows.get(name)
        if before is None or row is None or seconds <= 0:
            return
        reporter = "destination" if row.kind == "sidecar" else "source"
        row.rate_per_s, row.failed_per_s = _speed(now, before, seconds, lambda key: key[0] == reporter)
        for route in {key[1:4] for key in now if key[0] == "source"}:
            self.flows[route] = Flow(*_speed(now, before, seconds, partial(_is_of, route)))

    def keep(self, names: set[str]) -> None:
        """Forgets proxies that are gone."""
        self.rows = {name: row for name, row in self.rows.items() if name in names}
        self._counted = {name: counts for name, counts in self._counted.items() if name in names}


Key = tuple[str, str, str, str, str]
Counts = dict[Key, float]


def counts_of(text: str) -> Counts:
    """Requests so far by reporter, caller, service, version and the first digit of the reply's code, from a Prometheus page."""
    found: Counts = {}
    for sample in _SAMPLE.finditer(text):
        labels = dict(_LABEL.findall(sample["labels"]))
        key = (
            labels.get("reporter", ""),
            labels.get("source_workload", ""),
            labels.get("destination_service_name", ""),
            labels.get("destination_version", ""),
            labels.get("response_code", "0")[:1],
        )
        found[key] = found.get(key, 0.0) + float(sample["value"])
    return found


def _is_of(route: Route, key: Key) -> bool:
    return key[0] == "source" and key[1:4] == route


def _speed(now: Counts, before: Counts, seconds: float, wanted: Callable[[Key], bool]) -> tuple[float, float]:
    """All requests and those that failed (no reply, or 5xx), per second. A counter that fell was started again with its proxy."""
    total = failed = 0.0
    for key, count in now.items():
        if wanted(key):
            grown = max(0.0, count - before.get(key, 0.0)) / seconds
            total += grown
            failed += grown if key[4] in "05" else 0.0
    return total, failed
