"""Reports of load as endpoints write them, and the weights that follow."""

from __future__ import annotations

import base64
import struct

import pytest

from policies.balancing import Utilization
from runtime.balance.load_report import BINARY, MOST_BYTES, TEXT, read_report
from runtime.balance.utilization import Utilizations

A, B, C = ("10.0.0.1", 80), ("10.0.0.2", 80), ("10.0.0.3", 80)


def double(number: int, value: float) -> bytes:
    return struct.pack("<Bd", number << 3 | 1, value)


def entry(number: int, name: bytes, value: float) -> bytes:
    inner = bytes((1 << 3 | 2, len(name))) + name + double(2, value)
    return bytes((number << 3 | 2, len(inner))) + inner


MESSAGE = double(1, 0.5) + bytes((3 << 3, 0x96, 0x01)) + entry(8, b"queue", 0.7) + double(6, 12.0)


@pytest.mark.parametrize(
    ("fields", "report"),
    [
        ({}, None),
        (
            {TEXT: b"TEXT cpu_utilization=0.3, eps:2,named_metrics.a=1"},
            {"cpu_utilization": 0.3, "eps": 2, "named_metrics.a": 1},
        ),
        ({TEXT: b'JSON {"eps": 1, "utilization": {"b": 0.5}}'}, {"eps": 1, "utilization.b": 0.5}),
        (
            {BINARY: base64.b64encode(MESSAGE)},
            {"cpu_utilization": 0.5, "named_metrics.queue": 0.7, "rps_fractional": 12},
        ),
        (
            {TEXT: b"BIN " + base64.b64encode(MESSAGE).rstrip(b"=")},
            {"cpu_utilization": 0.5, "named_metrics.queue": 0.7, "rps_fractional": 12},
        ),
        # What cannot be read is no report.
        ({TEXT: b"TEXT cpu_utilization=much"}, None),
        ({TEXT: b"TEXT eps=1,eps=2"}, None),
        ({TEXT: b"TEXT eps=inf"}, None),
        ({TEXT: b"XML <eps>1</eps>"}, None),
        ({TEXT: b"JSON [1]"}, None),
        ({TEXT: b'JSON {"eps": []}'}, None),
        ({TEXT: b"TEXT \xff=1"}, None),
        ({BINARY: b"!!!"}, None),
        ({BINARY: base64.b64encode(MESSAGE[:5])}, None),
        ({BINARY: base64.b64encode(b"\x80" * 12)}, None),
        ({TEXT: b"TEXT eps=1," + b"a" * MOST_BYTES}, None),
    ],
)
def test_a_report_is_read_in_every_form_or_not_at_all(
    fields: dict[bytes, bytes], report: dict[str, float] | None
) -> None:
    assert read_report(fields) == report


@pytest.mark.parametrize(
    ("report", "weight"),
    [
        ({"rps_fractional": 100, "cpu_utilization": 0.5}, 200),
        # The application's word before the metrics that are asked for, those before the processor.
        ({"rps_fractional": 100, "cpu_utilization": 0.5, "application_utilization": 0.2, "named_metrics.a": 0.9}, 500),
        ({"rps_fractional": 100, "cpu_utilization": 0.5, "named_metrics.a": 0.8, "utilization.x": 1.0}, 100),
        ({"rps_fractional": 100, "cpu_utilization": 0.5, "eps": 100}, 66),
        ({"rps_fractional": 1e30, "cpu_utilization": 0.5}, 0xFFFFFFFF),
        ({"rps_fractional": 0.1, "cpu_utilization": 1}, 1),
    ],
)
def test_a_weight_is_requests_over_utilization(report: dict[str, float], weight: int) -> None:
    said = Utilizations(Utilization(stabilization_ms=0, metrics=("named_metrics.a", "utilization.*")))
    said.on_report(A, report, 1.0)
    assert said.update(1.0)
    assert said.weights == {A: weight}


def test_reports_without_requests_or_utilization_say_nothing() -> None:
    said = Utilizations(Utilization(stabilization_ms=0))
    said.on_report(A, {"cpu_utilization": 0.5}, 1.0)
    said.on_report(A, {"rps_fractional": 5}, 1.0)
    assert not said.update(1.0)
    assert (said.weights, said.usual, said.watching) == ({}, 1, False)


def test_reports_count_after_a_while_and_for_a_while_and_the_others_weigh_what_is_usual() -> None:
    said = Utilizations(Utilization(stabilization_ms=10_000, expiration_ms=30_000))
    for second in (0.0, 5.0, 10.0):
        said.on_report(A, {"rps_fractional": 10, "cpu_utilization": 0.1}, second)
        said.update(second)
        assert (A in said.weights) == (second >= 10)
    said.on_report(B, {"rps_fractional": 30, "cpu_utilization": 0.1}, 10.0)
    said.on_report(C, {"rps_fractional": 90, "cpu_utilization": 0.1}, 10.0)
    assert said.update(20.0)
    assert (said.weights, said.usual) == ({A: 100, B: 300, C: 900}, 300)
    said.on_report(C, {"rps_fractional": 90, "cpu_utilization": 0.1}, 35.0)
    assert said.update(40.0)
    assert said.weights == {C: 900}
    # Who is heard of again begins again.
    said.on_report(A, {"rps_fractional": 10, "cpu_utilization": 0.1}, 41.0)
    assert not said.update(42.0)
    said.keep([A])
    assert said.update(43.0)
    assert said.weights == {}
