"""Outlier detection as a table of what happened and who is out."""

from __future__ import annotations

import msgspec
import pytest

from policies.balancing import OutlierDetection
from runtime.balance.outlier import Cause, Outliers

A, B = ("10.0.0.1", 80), ("10.0.0.2", 80)
MANY = [(f"10.0.1.{number}", 80) for number in range(10)]
BASE = OutlierDetection(
    consecutive_5xx=3, consecutive_gateway=0, interval_ms=10_000, base_ejection_ms=30_000, max_ejection_percent=100
)


def outliers(*addresses: tuple[str, int], **changes: object) -> Outliers:
    made = Outliers(msgspec.structs.replace(BASE, **changes))
    made.keep(addresses)
    return made


def answers(subject: Outliers, *statuses: int, address: tuple[str, int] = A, now: float = 0.0) -> bool:
    changes = [subject.on_response(address, status, now) for status in statuses]
    return any(changes)


@pytest.mark.parametrize(
    ("changes", "statuses", "out"),
    [
        ({}, (500, 500, 500), True),
        ({}, (500, 500), False),
        ({}, (500, 500, 200, 500), False),
        ({}, (500, 500, 404, 500, 500), False),
        ({}, (502, 503, 500), True),
        ({"consecutive_5xx": 0}, (500,) * 9, False),
        ({"consecutive_5xx": 0, "consecutive_gateway": 2}, (502, 504), True),
        ({"consecutive_5xx": 0, "consecutive_gateway": 2}, (502, 500, 504), False),
        ({"statuses": (429,)}, (429, 429, 429), True),
        ({"statuses": (429,)}, (500, 500, 500), False),
    ],
)
def test_failures_in_a_row_eject(changes: dict[str, object], statuses: tuple[int, ...], out: bool) -> None:
    subject = outliers(A, B, **changes)
    assert answers(subject, *statuses) == out
    assert subject.ejected == (frozenset({A}) if out else frozenset())


def test_a_failed_connection_counts_as_a_503_and_a_time_out_as_a_504() -> None:
    subject = outliers(A, B, consecutive_5xx=0, consecutive_gateway=3)
    assert not subject.on_failure(A, 0.0)
    assert not subject.on_failure(A, 0.0, timed_out=True)
    assert subject.on_failure(A, 0.0, connected=True)
    assert subject.enforced[Cause.GATEWAY] == 1


def test_failures_of_our_own_side_are_counted_apart_where_the_rule_splits_them() -> None:
    subject = outliers(A, B, split=True, consecutive_local=2)
    assert not subject.on_failure(A, 0.0)
    assert not answers(subject, 500, 500)
    assert not subject.on_failure(A, 0.0), "a response between them means that the connection works"
    assert subject.on_failure(A, 0.0)
    assert subject.enforced == {Cause.SERVER_ERRORS: 0, Cause.GATEWAY: 0, Cause.LOCAL: 1}


def test_a_reset_connection_had_been_made_so_it_is_the_first_failure_again() -> None:
    subject = outliers(A, B, split=True, consecutive_local=2)
    assert not any(subject.on_failure(A, 0.0, connected=True) for _ in range(5))


def test_no_more_than_the_allowed_share_is_out() -> None:
    subject = outliers(*MANY, max_ejection_percent=25)
    for address in MANY:
        answers(subject, 500, 500, 500, address=address)
    assert subject.ejected == frozenset(MANY[:2])
    assert subject.overflowed == 8


def test_a_tenth_of_three_endpoints_is_nobody() -> None:
    subject = outliers(A, B, ("10.0.0.3", 80), max_ejection_percent=10)
    assert not answers(subject, *(500,) * 30)


def test_an_endpoint_comes_back_at_the_first_interval_after_its_time() -> None:
    subject = outliers(A, B)
    answers(subject, 500, 500, 500, now=5.0)
    assert not subject.sweep(15.0)
    assert not subject.sweep(34.9)
    assert subject.sweep(35.0)
    assert subject.ejected == frozenset()


def test_each_further_ejection_is_longer_and_each_good_interval_forgives_one() -> None:
    subject = outliers(A, B)
    answers(subject, 500, 500, 500)
    assert subject.sweep(30.0)
    answers(subject, 500, 500, 500, now=31.0)
    assert not subject.sweep(31.0 + 59)
    assert subject.sweep(31.0 + 60)
    assert subject.watching
    subject.sweep(101.0)
    subject.sweep(111.0)
    assert not subject.watching
    answers(subject, 500, 500, 500, now=120.0)
    assert subject.sweep(150.0)


def test_no_ejection_lasts_longer_than_five_minutes_unless_the_base_does() -> None:
    subject = outliers(A, B, base_ejection_ms=200_000)
    answers(subject, 500, 500, 500)
    assert subject.sweep(200.0)
    answers(subject, 500, 500, 500, now=200.0)
    assert subject.sweep(500.0)
    long = outliers(A, B, base_ejection_ms=400_000)
    answers(long, 500, 500, 500)
    assert not long.sweep(399.0)
    assert long.sweep(400.0)


def test_who_stays_in_the_cluster_stays_out_and_who_leaves_is_forgotten() -> None:
    subject = outliers(A, B)
    answers(subject, 500, 500, 500)
    subject.keep([A, ("10.0.0.9", 80)])
    assert subject.ejected == {A}
    subject.keep([B])
    subject.keep([A, B])
    assert subject.ejected == frozenset()
    assert not answers(subject, 500, 500)
    assert not subject.on_response(("10.9.9.9", 80), 500, 0.0)
