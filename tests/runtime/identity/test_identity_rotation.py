"""When a certificate is replaced and a failed attempt repeated: pure, so as tables."""

from __future__ import annotations

import pytest

from runtime.identity.rotation import LONGEST_RETRY_S, URGENT_RETRY_S, retry_after, rotate_at
from snapshot.live import Svid

DAY = 86_400.0


def svid(issued_at: float, expires_at: float) -> Svid:
    return Svid("spiffe://td/a", b"", b"", b"", issued_at, expires_at)


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.45), (0.5, 0.5), (0.999999, 0.55)])
def test_rotation_is_at_half_of_the_life_give_or_take_a_tenth_of_it(draw: float, share: float) -> None:
    assert rotate_at(svid(0.0, DAY), now=0.0, draw=draw) == pytest.approx(DAY * share, rel=1e-4)


def test_a_certificate_that_is_overdue_when_it_comes_is_not_replaced_at_once() -> None:
    assert rotate_at(svid(0.0, DAY), now=0.9 * DAY, draw=0.5) == 0.9 * DAY + 5.0
    assert rotate_at(svid(-60.0, 5.0), now=0.0, draw=0.5) == 1.25


def test_attempts_get_rarer_up_to_a_limit_and_are_spread() -> None:
    waits = [retry_after(failures, valid_for_s=DAY, draw=0.999999) for failures in range(1, 12)]
    assert waits[:4] == pytest.approx([0.5, 1.0, 2.0, 4.0], rel=1e-4)
    assert max(waits) <= LONGEST_RETRY_S
    assert retry_after(3, valid_for_s=DAY, draw=0.0) == pytest.approx(1.0)


def test_without_a_valid_certificate_recovery_never_waits_longer_than_five_seconds() -> None:
    assert retry_after(1000, valid_for_s=0.0, draw=0.999999) <= URGENT_RETRY_S


def test_near_its_end_a_certificate_is_asked_for_more_often() -> None:
    assert retry_after(1000, valid_for_s=30.0, draw=0.999999) <= 3.0
