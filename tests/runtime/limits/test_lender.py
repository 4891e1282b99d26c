"""Lending: what several workers spend together is never more than the limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.limits import RateLimit
from policies.source import SourceRef
from runtime.ipc import Borrow
from runtime.limits.lender import Lender

SOURCE = SourceRef("RateLimit", "default", "l")


@given(
    st.integers(1, 50),
    st.integers(1, 500),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 20)), max_size=60),
)
def test_never_more_is_lent_than_the_bucket_gains(burst: int, per_s: int, steps: list[tuple[float, int]]) -> None:
    lender, limit = Lender(workers=4), RateLimit(SOURCE, per_s, 1000, burst)
    now, lent = 5.0, 0
    for wait_s, wanted in steps:
        now += wait_s
        lent += lender.lend(Borrow(1, limit, (), wanted), now).tokens
        assert lent <= burst + (now - 5.0) * per_s + 1e-6


def test_a_scarce_limit_is_lent_token_by_token_and_an_ample_one_in_pieces() -> None:
    lender = Lender(workers=2)
    scarce, ample = RateLimit(SOURCE, 10, 60_000, 10), RateLimit(SOURCE, 10_000, 1000, 10_000)
    assert lender.lend(Borrow(1, scarce, ("a",), 1), 0.0).tokens == 1
    lent = lender.lend(Borrow(2, ample, (), 1), 0.0)
    assert (lent.number, lent.tokens, lent.remaining) == (2, 500, 9500)


def test_keys_have_buckets_of_their_own_and_an_empty_one_says_how_long_to_wait() -> None:
    lender, limit = Lender(workers=2), RateLimit(SOURCE, 1, 10_000, 1)
    assert lender.lend(Borrow(1, limit, ("a",), 1), 0.0).tokens == 1
    assert lender.lend(Borrow(2, limit, ("b",), 1), 0.0).tokens == 1
    refused = lender.lend(Borrow(3, limit, ("a",), 1), 4.0)
    assert (refused.tokens, refused.wait_s) == (0, pytest.approx(6.0))
