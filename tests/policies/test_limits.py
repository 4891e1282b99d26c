"""Token buckets, by a clock that the test holds."""

from __future__ import annotations

import pytest

from policies.limits import RateLimit, Taken, TokenBucket
from policies.source import SourceRef

SOURCE = SourceRef("RateLimit", "default", "l")


def test_a_bucket_begins_full_and_gains_a_little_at_every_moment() -> None:
    bucket = TokenBucket(2, 0.5, 100.0)
    assert bucket.take(100.0) == Taken(allowed=True, remaining=1, reset_s=0)
    assert bucket.take(100.0) == Taken(allowed=True, remaining=0, reset_s=2)
    assert bucket.take(101.0) == Taken(allowed=False, remaining=0, reset_s=1)
    assert bucket.take(102.0).allowed
    assert not bucket.take(102.0).allowed


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(3, 10, 0.0)
    assert bucket.take_up_to(10, 1_000.0) == 3
    assert bucket.take_up_to(10, 1_000.2) == 2


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    bucket = TokenBucket(1, 1, 10.0)
    assert bucket.take(10.0).allowed
    assert not bucket.take(5.0).allowed
    assert not bucket.take(10.5).allowed
    assert bucket.take(11.0).allowed


@pytest.mark.parametrize(("requests", "interval_ms", "seconds"), [(1, 60_000, 60), (100, 1000, 1), (2, 5000, 3)])
def test_a_refused_client_is_told_when_there_is_a_token_at_the_latest(
    requests: int, interval_ms: int, seconds: int
) -> None:
    assert RateLimit(SOURCE, requests, interval_ms, requests).retry_after_s == seconds
