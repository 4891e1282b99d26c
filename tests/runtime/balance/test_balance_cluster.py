"""A live cluster as its endpoints fail, return, warm up and change; with a clock of the test's own."""

from __future__ import annotations

import msgspec

from policies.balancing import LocalityLoad, OutlierDetection, Warmup
from runtime.balance.cluster import LiveCluster
from runtime.bootstrap import Bootstrap
from runtime.endpoints import LiveData
from runtime.http.pool import Pools
from runtime.lane.loop import Lane
from runtime.plane import Plane
from runtime.telemetry import Failure
from snapshot.index import Selector
from snapshot.live import RegisteredWorkload, Registry
from snapshot.section import Cluster, ConsistentHash, Endpoint, RegisteredEndpoints, ServiceName

OUTLIER = OutlierDetection(consecutive_5xx=2, interval_ms=1_000, base_ejection_ms=3_000, max_ejection_percent=100)
NAME = "outbound|80||web"


async def nowhere(host: str, port: int) -> tuple[str, ...]:
    return ()


class World:
    """A plane without sockets, a registry, and the time."""

    def __init__(self, *names: str, locality: str = "") -> None:
        self.plane = Plane(Lane(), resolve_name=nowhere)
        self.plane.pools = Pools(self.plane)
        self.live = LiveData(Bootstrap(Selector(), "", "", "", locality=locality))
        self.register(*names)

    def register(self, *names: str, localities: tuple[str, ...] = ()) -> None:
        workloads = tuple(
            RegisteredWorkload("shop", name, name, (("app", "web"),), "", locality=place)
            for name, place in zip(names, localities or [""] * len(names), strict=True)
        )
        self.live.with_registry(Registry(1, workloads))

    def cluster(self, own: tuple[str, str] = ("", ""), **fields: object) -> LiveCluster:
        source = RegisteredEndpoints("shop", (("app", "web"),), 80)
        section = Cluster(NAME, ServiceName("web", "web", "shop"), source, (), **fields)  # type: ignore[arg-type]
        made = LiveCluster(section, self.plane, self.live, own)
        for _ in made.build():
            pass
        return made

    def pass_time(self, to: float) -> None:
        """Goes on in tenths of a second, firing what is due."""
        while self.plane.lane.now < to - 0.05:
            self.plane.lane.now += 0.1
            for timer in self.plane.lane.wheel.turn(self.plane.lane.now):
                timer.on_due()


def fail(cluster: LiveCluster, endpoint: Endpoint, times: int = 2) -> None:
    assert cluster.watch is not None
    for _ in range(times):
        cluster.watch.on_failure(endpoint, Failure.CONNECT_FAILED)


def used(cluster: LiveCluster) -> list[str]:
    return [endpoint.address for endpoint in cluster.endpoints]


def test_a_cluster_that_watches_nothing_uses_its_endpoints_as_they_are() -> None:
    cluster = World("a", "b").cluster()
    assert cluster.watch is None
    assert cluster.endpoints == cluster.known


def test_an_ejected_endpoint_is_used_again_within_one_interval_of_its_time() -> None:
    world = World("a", "b")
    cluster = world.cluster(outlier=OUTLIER)
    fail(cluster, cluster.known[0])
    assert used(cluster) == ["b"]
    world.pass_time(2.9)
    assert used(cluster) == ["b"]
    world.pass_time(4.1)
    assert used(cluster) == ["a", "b"]


def test_a_new_generation_forgives_nobody_and_hears_of_returns() -> None:
    world = World("a", "b")
    old = world.cluster(outlier=OUTLIER)
    fail(old, old.known[0])
    new = world.cluster(outlier=OUTLIER, protocol="http2")
    assert used(new) == ["b"]
    world.pass_time(4.1)
    assert used(new) == used(old) == ["a", "b"]


def test_all_endpoints_out_is_no_endpoint_and_a_panic_is_all() -> None:
    world = World("a", "b")
    cluster = world.cluster(outlier=OUTLIER)
    for endpoint in cluster.known:
        fail(cluster, endpoint)
    assert used(cluster) == []
    panicking = world.cluster(outlier=msgspec.structs.replace(OUTLIER, min_health_percent=60))
    fail(panicking, panicking.known[0])
    assert used(panicking) == ["a", "b"]


def test_metrics_say_how_many_are_out() -> None:
    world = World("a", "b")
    cluster = world.cluster(outlier=OUTLIER)
    fail(cluster, cluster.known[0])
    value = world.plane.instruments.value
    assert value("envoy_cluster_outlier_detection_ejections_active", NAME) == 1
    assert value("envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx", NAME) == 1
    world.pass_time(4.1)
    assert value("envoy_cluster_outlier_detection_ejections_active", NAME) == 0
    assert value("envoy_cluster_outlier_detection_ejections_enforced_total", NAME) == 1


def test_what_is_not_the_endpoints_doing_ejects_nobody() -> None:
    cluster = World("a", "b").cluster(outlier=OUTLIER)
    assert cluster.watch is not None
    for failure in (Failure.OVERFLOW, Failure.DOWNSTREAM_CLOSED, Failure.STREAM_IDLE):
        for _ in range(5):
            cluster.watch.on_failure(cluster.known[0], failure)
    assert used(cluster) == ["a", "b"]


def test_a_key_leaves_an_ejected_endpoint_and_comes_back_to_it() -> None:
    world = World("a", "b", "c")
    cluster = world.cluster(outlier=OUTLIER, balance="ring_hash", hashing=ConsistentHash("source_ip"))
    owner = cluster.owner((b"key",), 0.0)
    assert owner is not None
    fail(cluster, owner)
    assert cluster.owner((b"key",), 0.0) not in (owner, None)
    world.pass_time(4.1)
    assert cluster.owner((b"key",), 0.0) == owner


def test_far_endpoints_take_over_as_near_ones_fail() -> None:
    world = World("a", "b", "far", locality="r1/z1")
    world.register("a", "b", "far", localities=("r1/z1", "r1/z1", "r2"))
    cluster = world.cluster(outlier=OUTLIER, locality=LocalityLoad(fails_over=True))
    assert used(cluster) == ["a", "b"]
    assert cluster.balance == "least_request"
    fail(cluster, cluster.known[0])
    assert cluster.balance == "spread"
    assert cluster.spread is not None
    assert [round(bound, 2) for bound in cluster.spread.bounds] == [0.7, 1]
    fail(cluster, cluster.known[1])
    assert used(cluster) == ["far"]


def test_a_hashed_key_goes_to_the_level_that_takes_it() -> None:
    world = World("a", "b", "far", locality="r1/z1")
    world.register("a", "b", "far", localities=("r1/z1", "r1/z1", "r2"))
    cluster = world.cluster(
        outlier=OUTLIER,
        locality=LocalityLoad(fails_over=True),
        balance="maglev",
        hashing=ConsistentHash("source_ip", table_size=251),
    )
    keys = [(str(number).encode(),) for number in range(500)]
    fail(cluster, cluster.known[0])
    owners = [owner.address for key in keys if (owner := cluster.owner(key, 0.0)) is not None]
    assert set(owners) == {"b", "far"}
    assert abs(owners.count("far") / len(keys) - 0.3) < 0.06


def test_a_new_endpoint_warms_up_evenly() -> None:
    world = World("a")
    cluster = world.cluster(warmup=Warmup(10_000))
    world.pass_time(60)
    world.register("a", "new")
    cluster.refresh(world.live)
    assert [endpoint.weight for endpoint in cluster.endpoints] == [100, 10]
    world.pass_time(65)
    old, new = (endpoint.weight for endpoint in cluster.endpoints)
    assert old == 100
    assert 45 <= new <= 52
    world.pass_time(71)
    assert [endpoint.weight for endpoint in cluster.endpoints] == [1, 1]


def test_endpoints_that_are_equally_new_are_equal() -> None:
    cluster = World("a", "b").cluster(warmup=Warmup(10_000))
    assert [endpoint.weight for endpoint in cluster.endpoints] == [1, 1]


def test_aggression_warms_early() -> None:
    world = World("a")
    cluster = world.cluster(warmup=Warmup(10_000, 10, 200))
    world.pass_time(60)
    world.register("a", "new")
    cluster.refresh(world.live)
    world.pass_time(62.6)
    assert 45 <= cluster.endpoints[1].weight <= 55


def test_a_generation_that_is_only_prepared_makes_nobody_forgotten() -> None:
    world = World("a", "b")
    serving = world.cluster(outlier=OUTLIER)
    fail(serving, serving.known[0])
    world.register("b")
    prepared = world.cluster(outlier=OUTLIER)
    assert used(prepared) == ["b"]
    assert used(serving) == ["b"]
    del prepared
    world.register("a", "b")
    serving.refresh(world.live)
    assert used(serving) == ["b"], "a is still out"


def test_a_new_generation_builds_no_table_that_the_old_one_has() -> None:
    world = World("a", "b")
    hashing = ConsistentHash("source_ip", table_size=251)
    old = world.cluster(balance="maglev", hashing=hashing)
    new = world.cluster(balance="maglev", hashing=hashing, protocol="http2")
    assert new.table is old.table
    world.register("a", "b", "c")
    new.refresh(world.live)
    assert new.table is not old.table


def test_streams_of_all_clients_count_where_connections_name_their_client() -> None:
    world = World("a", "b")
    cluster = world.cluster(proxy_protocol="v2")
    endpoint = cluster.known[0]
    assert cluster.active(endpoint) == 0
    for client in (b"one", b"two", b"one"):
        cluster.pool(endpoint, "HTTP/1.1")
        world.plane.pools.get(cluster.section, endpoint, "http1", client).active += 1
    assert cluster.active(endpoint) == 3
    # Endpoints come and go: what is in flight to one that stays is still known.
    world.register("a", "c")
    cluster.refresh(world.live)
    cluster.pool(endpoint, "HTTP/1.1")
    world.plane.pools.get(cluster.section, endpoint, "http1", b"two").active -= 1
    assert cluster.active(endpoint) == 2
    assert cluster.active(cluster.known[1]) == 0


def test_a_cluster_that_keeps_to_zones_follows_who_registers() -> None:
    world = World(locality="east/a")
    load = LocalityLoad(fails_over=True, zone_minimum=1)
    cluster = world.cluster(own=("shop", "client"), locality=load, balance="round_robin")

    def register(*standing: tuple[str, str]) -> None:
        workloads = [
            RegisteredWorkload("shop", name, f"{name}.{place}", (("app", name),), "", locality=place)
            for name, place in standing
        ]
        world.live.with_registry(Registry(1, tuple(workloads)))
        cluster.refresh(world.live)

    servers = (("web", "east/a"), ("web", "east/b"))
    register(*servers, ("client", "east/a"))
    assert cluster.spread is not None
    assert cluster.spread.bounds == (0.5, 1.0)
    # Another client starts, in the other zone; no endpoint has changed.
    register(*servers, ("client", "east/a"), ("client", "east/b"))
    assert used(cluster) == ["web.east/a"]
