"""Weights by what endpoints say of their load: Envoy's client side weighted round robin, without a clock of its own.

An endpoint that answers many requests with little of its capacity weighs much. One that has said nothing (lately, or for long enough) weighs what
is usual: the median of the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from policies.balancing import Utilization
from runtime.balance.load_report import LoadReport
from runtime.balance.outlier import Address

_LARGEST = 0xFFFFFFFF


class Utilizations:
    """What a cluster's endpoints have said. Owns, by address, the weight that follows, when it was first known and when it was last said."""

    __slots__ = ("_said", "_settings", "weights")

    def __init__(self, settings: Utilization) -> None:
        self._settings = settings
        self._said: dict[Address, tuple[int, float, float]] = {}
        self.weights: dict[Address, int] = {}

    def on_report(self, address: Address, report: LoadReport, now: float) -> None:
        """Takes in a report; one that says nothing of requests or of utilization changes nothing."""
        rate, used = report.get("rps_fractional", 0.0), self._used(report)
        if rate <= 0 or used <= 0:
            return
        failing = report.get("eps", 0.0) / rate * self._settings.penalty_percent / 100
        weight = min(int(rate / (used + failing)), _LARGEST)
        since = self._said[address][1] if address in self._said else now
        self._said[address] = (weight, since, now)

    def _used(self, report: LoadReport) -> float:
        """The application's own word, else the largest of the metrics that are asked for, else the processor's."""
        own = report.get("application_utilization", 0.0)
        if own > 0:
            return own
        asked = [value for name in self._settings.metrics for value in _named(report, name)]
        largest = max(asked, default=0.0)
        return largest if largest > 0 else report.get("cpu_utilization", 0.0)

    def keep(self, addresses: Iterable[Address]) -> None:
        """Forgets all but these."""
        left = set(addresses)
        self._said = {address: said for address, said in self._said.items() if address in left}

    def update(self, now: float) -> bool:
        """Works the weights out anew; True where they are others than before."""
        settings, before = self._settings, self.weights
        for address, (_, _, last) in list(self._said.items()):
            if now - last >= settings.expiration_ms / 1000:
                # What it says next is a beginning again.
                del self._said[address]
        self.weights = {
            address: max(weight, 1)
            for address, (weight, since, _) in self._said.items()
            if now - since >= settings.stabilization_ms / 1000
        }
        return self.weights != before

    @property
    def usual(self) -> int:
        """What an endpoint weighs that has said nothing."""
        return max(int(median(self.weights.values())), 1) if self.weights else 1

    @property
    def watching(self) -> bool:
        """Whether anything was said that may count, now or later."""
        return bool(self._said)


def _named(report: LoadReport, name: str) -> Iterable[float]:
    if name.endswith(".*"):
        return [value for key, value in report.items() if key.startswith(name[:-1])]
    return [report[name]] if name in report else []
