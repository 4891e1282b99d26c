"""Status assertions of Gateway API's suite, Istio's golden statuses and Envoy Gateway's cases, against ``compiler.status``."""

from __future__ import annotations

from tests.conformance.corpus import Tally
from tests.conformance.status_envoy_gateway import run_envoy_gateway
from tests.conformance.status_golden import run_golden
from tests.conformance.status_suite import run_suite


def run() -> Tally:
    """Every assertion of the suite's steps, then every condition of the golden files and cases."""
    tally = Tally()
    run_suite(tally)
    run_golden(tally)
    run_envoy_gateway(tally)
    return tally
