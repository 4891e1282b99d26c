"""The reference page and the tables say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.control.interface import LEASE_S, MAX_WAIT_S, Reason
from runtime.control.metrics import Metric, expose
from runtime.control.refusal import STATUS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "control-plane.md").read_text()


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_every_reason_is_on_the_page_with_its_status(reason: Reason) -> None:
    assert f"| `{reason.value}` | {STATUS[reason]} |" in PAGE


@pytest.mark.parametrize("metric", Metric, ids=lambda metric: metric.name)
def test_every_metric_is_on_the_page_as_it_is_declared(metric: Metric) -> None:
    name, kind, text, label = metric.value
    assert f"| `{name}` | {kind} | {f'`{label}`' if label else ''} | {text} |" in PAGE


def test_the_times_on_the_page_are_those_of_the_interface() -> None:
    assert f"A lease holds {LEASE_S:g} s" in PAGE
    assert f"(at most {MAX_WAIT_S:g})" in PAGE


def test_metrics_are_exposed_in_the_text_format() -> None:
    values = {Metric.WORKLOADS: {"": 3}, Metric.ISSUED: {"token": 2, 'odd"\n': 1}}
    text = expose(values).decode()
    assert "# TYPE weft_control_registered_workloads gauge\nweft_control_registered_workloads 3\n" in text
    assert 'weft_control_certificates_issued_total{by="token"} 2\n' in text
    assert 'by="odd\\"\\n"' in text
