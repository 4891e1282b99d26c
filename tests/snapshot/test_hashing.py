"""Consistent hashing: which key a request has, how evenly a ring shares keys, and how few move."""

from __future__ import annotations

from collections import Counter

import pytest

from policies.head import Peer, RequestHead
from snapshot.hashing import key_of, place_of, set_cookie
from snapshot.ring import Maglev, Ring, built, evenly, table_of
from snapshot.section import ConsistentHash, Endpoint

PEER = Peer("10.0.0.9", 4000, "10.0.0.1", 80)
HASHING = ConsistentHash("header", "x-user")
COOKIE = ConsistentHash("cookie", "user", "/shop", 90_500)
PLACES = [place_of((str(number).encode(),)) for number in range(5000)]


def head(*headers: tuple[bytes, bytes], query: str | None = None) -> RequestHead:
    return RequestHead("GET", "http", "a", "a", "/", query, list(headers))


def endpoints(count: int) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(f"10.1.0.{number}", 80) for number in range(count))


def table(endpoints: tuple[Endpoint, ...], balance: str = "ring_hash") -> Ring | Maglev:
    made = built(table_of(balance, HASHING, evenly(endpoints)))
    assert isinstance(made, Ring | Maglev)
    return made


@pytest.mark.parametrize("balance", ["ring_hash", "maglev"])
@pytest.mark.parametrize("count", [2, 3, 10, 40])
def test_when_one_of_n_endpoints_leaves_at_most_its_share_and_five_percent_move(balance: str, count: int) -> None:
    before, after = table(endpoints(count), balance), table(endpoints(count)[1:], balance)
    moved = sum(before.owner(place) != after.owner(place) for place in PLACES)
    assert moved / len(PLACES) <= 1 / count + 0.05


@pytest.mark.parametrize("balance", ["ring_hash", "maglev"])
def test_an_endpoint_owns_keys_by_its_weight(balance: str) -> None:
    light, heavy = Endpoint("10.1.0.1", 80), Endpoint("10.1.0.2", 80, weight=3)
    made = table((light, heavy), balance)
    owned = Counter(made.owner(place) for place in PLACES)
    assert abs(owned[heavy] / len(PLACES) - 0.75) < 0.04


@pytest.mark.parametrize("balance", ["ring_hash", "maglev"])
def test_the_order_of_endpoints_moves_no_key(balance: str) -> None:
    one, other = table(endpoints(5), balance), table(endpoints(5)[::-1], balance)
    assert all(one.owner(place) == other.owner(place) for place in PLACES)


@pytest.mark.parametrize("balance", ["ring_hash", "maglev"])
def test_a_table_without_endpoints_owns_nothing(balance: str) -> None:
    assert table((), balance).owner(7) is None


@pytest.mark.parametrize(
    ("hashing", "request_head", "key"),
    [
        (HASHING, head((b"x-user", b"b"), (b"x-user", b"a")), (b"a", b"b")),
        (HASHING, head(), ()),
        (HASHING, None, ()),
        (ConsistentHash("query", "user"), head(query="a=1&user=a%20b"), (b"a%20b",)),
        (ConsistentHash("query", "user"), head(), ()),
        (ConsistentHash("source_ip"), None, (b"10.0.0.9",)),
        (COOKIE, head((b"cookie", b'a=1; user="ann"')), (b"ann",)),
        (ConsistentHash("cookie", "user"), head(), ()),
    ],
)
def test_the_key_is_what_the_rule_names(
    hashing: ConsistentHash, request_head: RequestHead | None, key: tuple[bytes, ...]
) -> None:
    assert key_of(hashing, request_head, PEER) == key


def test_a_generated_cookie_brings_the_client_back_to_the_same_endpoint() -> None:
    cookie = set_cookie(COOKIE, head(), PEER)
    pair, *attributes = cookie.split(b"; ")
    assert attributes == [b"Max-Age=91", b"Path=/shop", b"HttpOnly"]
    assert key_of(COOKIE, head((b"cookie", pair)), PEER) == key_of(COOKIE, head(), PEER)
    assert set_cookie(COOKIE, head((b"cookie", pair)), PEER) == b""
    assert set_cookie(ConsistentHash("cookie", "user"), head(), PEER) == b""
    assert b"Max-Age" not in set_cookie(ConsistentHash("cookie", "user", ttl_ms=0), head(), PEER)


@pytest.mark.parametrize(("balance", "pieces"), [("ring_hash", 50), ("maglev", 300)])
def test_a_large_table_is_built_in_many_pieces(balance: str, pieces: int) -> None:
    """Forty endpoints: each piece is about a millisecond, between which the lane serves."""
    assert sum(1 for _ in table_of(balance, HASHING, evenly(endpoints(40)))) >= pieces
