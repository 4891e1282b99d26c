"""How requests are shared, with the bounds that are promised: 2 percentage points over 20,000 picks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from policies.head import Peer, RequestHead
from snapshot.decision import Spread
from snapshot.resolve import choose_endpoint
from snapshot.section import ConsistentHash, Endpoint

PICKS = 20_000
BOUND = 0.02


class Cluster:
    """Live data for one cluster, whose requests end at once."""

    def __init__(self, balance: str, endpoints: Sequence[Endpoint], spread: Spread | None = None) -> None:
        self._balance = balance
        self._endpoints = endpoints
        self._spread = spread
        self._turn = 0

    def endpoints(self, cluster: str) -> Sequence[Endpoint]:
        return self._endpoints

    def goes_where_asked(self, cluster: str) -> bool:
        return False

    def active(self, cluster: str, endpoint: Endpoint) -> int:
        return 0

    def balance(self, cluster: str) -> str:
        return self._balance

    def spread(self, cluster: str) -> Spread | None:
        return self._spread

    def owner(self, cluster: str, key: tuple[bytes, ...], draw: float) -> Endpoint | None:
        return self._endpoints[int(draw * len(self._endpoints))]

    def hashing(self, cluster: str) -> ConsistentHash | None:
        return ConsistentHash("header", "x-user")

    def turn(self, cluster: str) -> int:
        self._turn += 1
        return self._turn - 1


class Seeded:
    """Draws that are the same in every run."""

    def __init__(self) -> None:
        self._random = Random(3)

    def draw(self, name: str) -> float:
        return self._random.random()


def weighted(*weights: int) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(f"10.0.0.{number}", 80, weight=weight) for number, weight in enumerate(weights))


def shares(cluster: Cluster) -> dict[Endpoint, float]:
    draws = Seeded()
    head, peer = RequestHead("GET", "http", "a", "a", "/", None, []), Peer("10.0.0.9", 4000, "10.0.0.1", 80)
    hits = Counter(choose_endpoint("c", cluster, draws, (), head, peer) for _ in range(PICKS))
    return {endpoint: count / PICKS for endpoint, count in hits.items() if endpoint is not None}


@pytest.mark.parametrize("balance", ["random", "round_robin", "least_request", "ring_hash"])
def test_equal_endpoints_share_equally(balance: str) -> None:
    found = shares(Cluster(balance, weighted(1, 1, 1, 1, 1)))
    assert all(abs(share - 0.2) <= BOUND for share in found.values())
    assert len(found) == 5


@pytest.mark.parametrize("balance", ["random", "round_robin"])
@pytest.mark.parametrize("weights", [(1, 2, 7), (100, 1, 50), (3, 3), (1000, 999, 1)])
def test_endpoints_share_by_weight(balance: str, weights: tuple[int, ...]) -> None:
    endpoints = weighted(*weights)
    found = shares(Cluster(balance, endpoints))
    assert all(abs(found.get(one, 0) - one.weight / sum(weights)) <= BOUND for one in endpoints)


def test_turns_do_not_come_in_blocks() -> None:
    cluster, draws = Cluster("round_robin", weighted(50, 50)), Seeded()
    row = [choose_endpoint("c", cluster, draws) for _ in range(100)]
    longest = max(
        len(run)
        for run in "".join("ab"[one == row[0]] for one in row).replace("ab", "a b").replace("ba", "b a").split()
    )
    assert longest <= 2
    assert row.count(row[0]) == 50


def test_groups_take_their_shares_and_balance_inside() -> None:
    near, far = weighted(1, 1), tuple(Endpoint(f"10.9.0.{number}", 80) for number in range(3))
    spread = Spread.of([(0.7, near), (0.3, far)], "round_robin")
    found = shares(Cluster("spread", near + far, spread))
    assert all(abs(found[one] - 0.35) <= BOUND for one in near)
    assert all(abs(found[one] - 0.1) <= BOUND for one in far)


def test_a_retry_leaves_a_group_of_which_all_was_tried() -> None:
    near, far = weighted(1), (Endpoint("10.9.0.1", 80),)
    cluster = Cluster("spread", near + far, Spread.of([(1.0, near), (0.0, far)], "random"))
    assert choose_endpoint("c", cluster, Seeded(), near) == far[0]
