"""Clusters as Envoy is told them: every limit and every way to choose, and Envoy's own word that it takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from policies.balancing import KeepAlive, LocalityLoad, OutlierDetection, RetryBudget, Warmup
from policies.match import PathPrefix
from policies.traffic import Destination, Retry
from runtime.bootstrap import Bootstrap
from runtime.endpoints import LiveData
from runtime.envoy.clusters import cluster
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.routes import marked
from runtime.envoy.routes import route as route_message
from snapshot.index import Selector
from snapshot.section import (
    Cluster,
    ConsistentHash,
    DnsEndpoints,
    Endpoint,
    FilterChain,
    Listener,
    PoolLimits,
    Proxy,
    Section,
    ServiceName,
    StaticEndpoints,
    TcpChain,
    WorkloadPort,
)
from tests.runtime.envoy_export import exported, objections
from tests.slices import SOURCE, WORKLOAD, gateway_listener, host_sections, prepared_of, route, table

PROXY = Proxy(workload=WORKLOAD, trust_domain="cluster.local")
ENDPOINTS = (
    Endpoint("10.0.0.1", 80, locality="r1/z1/s1"),
    Endpoint("10.0.0.2", 80, weight=3, locality="r1/z2"),
    Endpoint("10.0.0.3", 80, locality="r2"),
)
KEYED = ConsistentHash("header", "x-user")


def section(name: str = "a", **fields: object) -> Cluster:
    return Cluster(name, ServiceName(name, name, "default"), StaticEndpoints(ENDPOINTS), (SOURCE,), **fields)  # type: ignore[arg-type]


def told(made: Cluster, *, locality: str = "r1/z1/s1") -> Any:
    bootstrap = Bootstrap(Selector(), "", "", "", locality=locality)
    return cluster(made, PROXY, Placement(bootstrap, LiveData(bootstrap), Delivery.STATIC))


def groups(made: Any) -> list[tuple[int, int, list[str]]]:
    return [
        (
            one.priority,
            one.load_balancing_weight.value,
            [member.endpoint.address.socket_address.address for member in one.lb_endpoints],
        )
        for one in made.load_assignment.endpoints
    ]


def test_levels_are_priorities_and_shares_are_weights() -> None:
    near = told(section(locality=LocalityLoad(fails_over=True)))
    assert groups(near) == [(0, 1, ["10.0.0.1"]), (1, 3, ["10.0.0.2"]), (2, 1, ["10.0.0.3"])]
    split = told(section(locality=LocalityLoad(distribute=(("*", (("r1/*", 80), ("r2", 20))),))))
    assert groups(split) == [(0, 20, ["10.0.0.1"]), (0, 60, ["10.0.0.2"]), (0, 20, ["10.0.0.3"])]
    assert split.common_lb_config.HasField("locality_weighted_lb_config")
    assert groups(told(section())) == [(0, 1, ["10.0.0.1", "10.0.0.2", "10.0.0.3"])]


def test_ejection_by_rates_is_off_and_what_is_not_asked_for_is_not_enforced() -> None:
    found = told(section(outlier=OutlierDetection(min_health_percent=30))).outlier_detection
    assert (found.enforcing_success_rate.value, found.enforcing_consecutive_gateway_failure.value) == (0, 0)
    assert (found.consecutive_5xx.value, found.enforcing_consecutive_5xx.value) == (5, 100)
    assert (
        told(section(outlier=OutlierDetection(min_health_percent=30))).common_lb_config.healthy_panic_threshold.value
        == 30
    )


def test_a_ring_is_as_large_as_ours() -> None:
    ring = told(section(balance="ring_hash", hashing=KEYED)).ring_hash_lb_config
    assert ring.minimum_ring_size.value == round(512 * 5 / 3)


def test_limits_are_circuit_breakers_and_protocol_options() -> None:
    limits = PoolLimits(7, 8, 9, 10, 11, 12_000, max_retries=13, max_duration_ms=14_000, max_streams=15, ping_ms=16_000)
    made = told(section(protocol="http2", limits=limits))
    (breaker,) = made.circuit_breakers.thresholds
    assert (breaker.max_connections.value, breaker.max_pending_requests.value) == (7, 8)
    assert (breaker.max_requests.value, breaker.max_retries.value) == (9, 13)
    budget = told(section(limits=PoolLimits(retry_budget=RetryBudget(250_000, 4)))).circuit_breakers.thresholds[0]
    assert (budget.retry_budget.budget_percent.value, budget.retry_budget.min_retry_concurrency.value) == (25, 4)


def test_a_name_that_is_one_endpoint_is_logical() -> None:
    name = DnsEndpoints((("a.example", 80),), logical=True)
    kinds = [told(msgspec.structs.replace(section(), endpoints=one)).type for one in (name, DnsEndpoints(name.names))]
    assert kinds == [2, 1]


def mesh(*clusters: Cluster) -> list[Section]:
    routes = [msgspec.structs.replace(route(PathPrefix(f"/{one.name}/"), one.name), retry=Retry()) for one in clusters]
    chain = FilterChain("tcp", SOURCE, TcpChain((Destination(clusters[0].name),), SOURCE))
    tcp = Listener("tcp", SOURCE, "gateway", WorkloadPort(81), "tcp", (chain,))
    return [gateway_listener(), tcp, table(), *host_sections("all", ["*"], routes), *clusters]


def test_only_a_cluster_that_does_not_hash_is_tried_again_elsewhere() -> None:
    prepared = prepared_of(*mesh(section("plain"), section("hashed", balance="maglev", hashing=KEYED)))
    (host,) = prepared.hosts.values()
    made = [route_message(one, marked(prepared)).route for one in host.routes.values()]
    assert [len(one.retry_policy.retry_host_predicate) for one in made] == [1, 0]


@pytest.mark.integration
def test_envoy_takes_every_way_to_choose_and_every_limit(tmp_path: Path) -> None:
    everything = PoolLimits(1, 2, 3, 4, 5_000, 6_000, 7_000, 8, 9_000, 10, 11_000, 1_000, KeepAlive(1, 2, 3))
    clusters = [
        section("source", balance="maglev", hashing=ConsistentHash("source_ip"), limits=everything),
        section("ring", balance="ring_hash", hashing=ConsistentHash("cookie", "c", "/", 5_000, (("a", "b"),))),
        section(
            "query", balance="ring_hash", hashing=ConsistentHash("query", "q"), protocol="http2", limits=everything
        ),
        section("random", balance="random", limits=PoolLimits(retry_budget=RetryBudget())),
        section("warm", balance="round_robin", warmup=Warmup(60_000, 20, 150)),
        section("least", warmup=Warmup(60_000), outlier=OutlierDetection(statuses=(429, 503), split=True)),
        section("one", outlier=OutlierDetection(consecutive_5xx=0, statuses=(500,))),
        section("near", locality=LocalityLoad(fails_over=True, failover=(("r1", "r2"),)), outlier=OutlierDetection()),
        section("split", locality=LocalityLoad(distribute=(("*", (("r1/*", 80), ("r2", 20))),))),
        msgspec.structs.replace(section("logical"), endpoints=DnsEndpoints((("a.example", 80),), logical=True)),
        msgspec.structs.replace(section("strict"), endpoints=DnsEndpoints((("a.example", 80), ("b.example", 80)))),
    ]
    assert objections(exported(prepared_of(*mesh(*clusters)), tmp_path)) == ""
