"""Status assertions of Gateway API's suite and Istio's golden statuses of Gateway API objects, against ``compiler.status``."""

from __future__ import annotations

from tests.conformance.corpus import Tally
from tests.conformance.status_golden import run_golden
from tests.conformance.status_suite import run_suite


def run() -> Tally:
    """Every assertion of the suite's steps, then every condition of the golden files."""
    tally = Tally()
    run_suite(tally)
    run_golden(tally)
    return tally
