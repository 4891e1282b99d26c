"""Levels and shares: Istio's localities, and Envoy's arithmetic of what each carries as endpoints fail."""

from __future__ import annotations

import pytest

from policies.balancing import LocalityLoad
from runtime.balance.localities import levels_of, matches
from runtime.balance.shares import Level, Part, loads, shares
from runtime.balance.zones import Zones, parted
from snapshot.section import Endpoint

OWN = "r1/z1/s1"
NEAR = Endpoint("10.0.0.1", 80, locality="r1/z1/s1")
ZONE = Endpoint("10.0.0.2", 80, locality="r1/z1/s2")
REGION = Endpoint("10.0.0.3", 80, locality="r1/z2/s1")
FAR = Endpoint("10.0.0.4", 80, locality="r2/z1/s1")
FARTHER = Endpoint("10.0.0.5", 80, locality="r3/z1/s1")
ALL = (FARTHER, FAR, REGION, ZONE, NEAR)


def names(levels: tuple[Level, ...]) -> list[set[str]]:
    return [{one.locality for part in level for one in part.endpoints} for level in levels]


@pytest.mark.parametrize(
    ("load", "own", "expected"),
    [
        (LocalityLoad(), OWN, [{one.locality for one in ALL}]),
        (
            LocalityLoad(fails_over=True),
            OWN,
            [{"r1/z1/s1"}, {"r1/z1/s2"}, {"r1/z2/s1"}, {"r2/z1/s1", "r3/z1/s1"}],
        ),
        (
            LocalityLoad(failover=(("r1", "r3"),), fails_over=True),
            OWN,
            [{"r1/z1/s1"}, {"r1/z1/s2"}, {"r1/z2/s1"}, {"r3/z1/s1"}, {"r2/z1/s1"}],
        ),
        (LocalityLoad(fails_over=True), "r9", [{one.locality for one in ALL}]),
        (
            LocalityLoad(priority=("topology.kubernetes.io/region",), fails_over=True),
            OWN,
            [{"r1/z1/s1", "r1/z1/s2", "r1/z2/s1"}, {"r2/z1/s1", "r3/z1/s1"}],
        ),
        (
            LocalityLoad(priority=("topology.kubernetes.io/region=r2",), fails_over=True),
            OWN,
            [{"r2/z1/s1"}, {"r1/z1/s1", "r1/z1/s2", "r1/z2/s1", "r3/z1/s1"}],
        ),
        (
            LocalityLoad(priority=("topology.kubernetes.io/region",), failover=(("r1", "r3"),), fails_over=True),
            OWN,
            [{"r1/z1/s1"}, {"r1/z1/s2"}, {"r1/z2/s1"}, {"r3/z1/s1"}, {"r2/z1/s1"}],
        ),
    ],
)
def test_nearer_endpoints_come_first(load: LocalityLoad, own: str, expected: list[set[str]]) -> None:
    assert names(levels_of(ALL, load, own, {})) == expected


def test_labels_that_an_endpoint_shares_with_the_proxy_decide_in_their_order() -> None:
    both = Endpoint("10.0.0.1", 80, labels=(("rack", "a"), ("version", "v1")))
    rack = Endpoint("10.0.0.2", 80, labels=(("rack", "a"), ("version", "v2")))
    version = Endpoint("10.0.0.3", 80, labels=(("rack", "b"), ("version", "v1")))
    load = LocalityLoad(priority=("rack", "version"), fails_over=True)
    levels = levels_of((version, rack, both), load, "", {"rack": "a", "version": "v1"})
    assert [[part.endpoints for part in level] for level in levels] == [[(both,)], [(rack,)], [(version,)]]


def test_a_distribution_gives_the_named_shares_and_nothing_to_the_rest() -> None:
    load = LocalityLoad(distribute=(("r9/*", (("r9/*", 100),)), ("r1/z1/*", (("r1/z1/*", 80), ("r2/*", 20)))))
    found = shares(levels_of(ALL, load, OWN, {}), lambda _: True, 0)
    assert {share.endpoints[0].locality: round(share.share, 6) for share in found} == {
        "r1/z1/s1": 0.4,
        "r1/z1/s2": 0.4,
        "r2/z1/s1": 0.2,
    }


@pytest.mark.parametrize(
    ("locality", "rule", "expected"),
    [
        ("r1/z1/s1", "r1", True),
        ("r1/z1/s1", "r1/*", True),
        ("r1", "r1/z1", False),
        ("r1/z12", "r1/z1", False),
        ("", "*", True),
    ],
)
def test_a_rule_names_whole_parts_of_a_locality(locality: str, rule: str, expected: bool) -> None:
    assert matches(locality, rule) == expected


def level(*sizes: int) -> Level:
    return tuple(
        Part(size, tuple(Endpoint(f"10.{place}.0.{one}", 80) for one in range(size)))
        for place, size in enumerate(sizes)
    )


def up(*counts: int):  # type: ignore[no-untyped-def]
    """The first so many endpoints of each level, which the second part of an address tells, are healthy."""
    return lambda endpoint: int(endpoint.address.split(".")[3]) < counts[int(endpoint.address.split(".")[1])]


def levels(*sizes: int) -> list[Level]:
    return [
        (Part(size, tuple(Endpoint(f"10.{place}.0.{one}", 80) for one in range(size))),)
        for place, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "healthy", "panic", "expected"),
    [
        # The table of Envoy's documentation of priority levels: 100, 72, 71, 50, 25 and 0 percent of the first level healthy.
        ((100, 100), (100, 100), 0, [100, 0]),
        ((100, 100), (72, 100), 0, [100, 0]),
        ((100, 100), (71, 100), 0, [99, 1]),
        ((100, 100), (50, 100), 0, [70, 30]),
        ((100, 100), (25, 100), 0, [35, 65]),
        ((100, 100), (0, 100), 0, [0, 100]),
        ((100, 100), (25, 25), 0, [50, 50]),
        ((100, 100, 100), (25, 25, 0), 0, [50, 50, 0]),
        ((4, 4), (0, 0), 0, [0, 0]),
        ((3, 1), (0, 0), 50, [75, 25]),
        ((100,), (1,), 0, [100]),
    ],
)
def test_a_level_carries_its_health_times_one_point_four(
    sizes: tuple[int, ...], healthy: tuple[int, ...], panic: int, expected: list[int]
) -> None:
    assert [load for load, _ in loads(levels(*sizes), up(*healthy), panic)] == expected


def test_below_the_panic_threshold_all_endpoints_are_used() -> None:
    assert [len(one.endpoints) for one in shares(levels(10), up(4), 50)] == [10]
    assert [len(one.endpoints) for one in shares(levels(10), up(5), 50)] == [5]
    assert shares(levels(10), up(0), 0) == ()


def test_a_level_does_not_panic_while_another_carries_the_requests() -> None:
    assert [len(one.endpoints) for one in shares(levels(10, 10), up(1, 10), 50)] == [1, 10]


def test_a_locality_of_which_much_is_ill_takes_less() -> None:
    found = shares([level(10, 10)], up(10, 5), 0)
    assert [round(one.share, 4) for one in found] == [round(10 / 17, 4), round(7 / 17, 4)]
    assert [one.share for one in shares([level(10, 10)], up(10, 8), 0)] == [0.5, 0.5]


def zoned(*counts: int, minimum: int = 1, **fellows: int) -> dict[str, float]:
    """The shares of localities a, b, c ... with so many endpoints each, seen from a."""
    groups = [
        tuple(Endpoint(f"10.0.{place}.{one}", 80, locality="abcdef"[place]) for one in range(count))
        for place, count in enumerate(counts)
    ]
    found = parted(groups, Zones("a", fellows, minimum))
    return {group[0].locality: round(share, 3) for share, group in found}


@pytest.mark.parametrize(
    ("counts", "fellows", "expected"),
    [
        ((1, 1), {"a": 1, "b": 1}, {"a": 1.0}),
        ((1, 2), {"a": 1, "b": 1}, {"a": 0.667, "b": 0.333}),
        ((1, 3, 4), {"a": 2, "b": 1, "c": 1}, {"a": 0.25, "b": 0.25, "c": 0.5}),
        # Where rounding has taken all room there is, every locality is as good.
        ((333, 333, 334), {"a": 3334, "b": 3333, "c": 3333}, {"a": 0.999, "c": 0.001}),
        ((0, 1, 1), {"a": 1, "b": 1}, {"c": 1.0}),
        ((2, 0), {"a": 1, "b": 1}, {"a": 1.0}),
    ],
)
def test_a_zone_keeps_what_its_endpoints_can_take(
    counts: tuple[int, ...], fellows: dict[str, int], expected: dict[str, float]
) -> None:
    assert zoned(*counts, **fellows) == expected


def test_zones_are_not_told_apart_where_there_are_too_few_endpoints_or_no_clients_are_known() -> None:
    assert zoned(2, 2, minimum=5, a=1) == {"a": 1.0}
    assert len(parted([(Endpoint("1", 1),), (Endpoint("2", 1),)], Zones("", {}, 1))[0][1]) == 2
    assert parted([(), ()], Zones("a", {"a": 1}, 1)) == []


def test_only_the_nearest_level_keeps_to_its_zone() -> None:
    near = [Endpoint(f"10.0.0.{number}", 80, locality=f"east/{'ab'[number % 2]}") for number in range(4)]
    far = [Endpoint(f"10.0.1.{number}", 80, locality=f"west/{'ab'[number % 2]}") for number in range(4)]
    load = LocalityLoad(fails_over=True, zone_minimum=1)
    levels = levels_of([*near, *far], load, "east/a", {})
    assert [sum(len(part.endpoints) for part in level) for level in levels] == [4, 4]
    zones = Zones("east/a", {"east/a": 1, "east/b": 1}, 1)
    (local,) = shares(levels, lambda _: True, 0, zones)
    assert {one.locality for one in local.endpoints} == {"east/a"}
    (beyond,) = shares(levels, lambda endpoint: endpoint in far, 0, zones)
    assert set(beyond.endpoints) == set(far)
    # A failover region comes before others, and labels before regions.
    third = Endpoint("10.0.2.1", 80, locality="north/a")
    ordered = levels_of(
        [*near, *far, third], LocalityLoad(failover=(("east", "north"),), fails_over=True, zone_minimum=1), "east/a", {}
    )
    assert [level[0].endpoints[0].locality.partition("/")[0] for level in ordered] == ["east", "north", "west"]
