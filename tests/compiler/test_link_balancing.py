"""What a DestinationRule's load balancing becomes in a cluster."""

from __future__ import annotations

import pytest

from policies.balancing import KeepAlive, LocalityLoad, OutlierDetection, RetryBudget, Utilization, Warmup
from policies.traffic import Tunnel
from snapshot.section import Cluster, ConsistentHash, OriginalDestination, PoolLimits, RegisteredEndpoints
from tests.compiler.compiled import compiled

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]%s}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, istio-locality: r1.z1}}
spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}
status: {podIP: 10.0.0.1}
---
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy: %s
  subsets: [{name: v1, labels: {version: v1}%s}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /v1}}]
    route: [{destination: {host: web, subset: v1}}]
  - route: [{destination: {host: web}}]
---
"""
SAME_ZONE = ("topology.istio.io/network", "topology.kubernetes.io/region", "topology.kubernetes.io/zone")
REGIONS = LocalityLoad(failover=(("r1", "r2"),), fails_over=True)
OUTLIER = "outlierDetection: {consecutive5xxErrors: 7}"


def cluster(policy: str = "", subset: str = "", *, service: str = "", name: str = "", mesh: str = "") -> Cluster:
    text = SERVICE % service + (RULE % (policy, subset) if policy else "") + mesh
    slices = compiled(text)
    return slices.slice(slices.names[0]).clusters[f"outbound|80|{name}|web.shop.svc.cluster.local"]


@pytest.mark.parametrize(
    ("balancer", "balance", "hashing"),
    [
        ("{simple: RANDOM}", "random", None),
        ("{simple: LEAST_CONN}", "least_request", None),
        ("{localityLbSetting: {enabled: false}}", "least_request", None),
        ("{consistentHash: {httpHeaderName: X-User}}", "ring_hash", ConsistentHash("header", "x-user")),
        (
            "{consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}",
            "maglev",
            ConsistentHash("source_ip"),
        ),
        (
            "{consistentHash: {httpQueryParameterName: u, maglev: {tableSize: 251}}}",
            "maglev",
            ConsistentHash("query", "u", table_size=251),
        ),
    ],
)
def test_the_balance_is_what_the_rule_says(balancer: str, balance: str, hashing: ConsistentHash | None) -> None:
    made = cluster(f"{{loadBalancer: {balancer}}}")
    assert (made.balance, made.hashing) == (balance, hashing)


def test_passthrough_leaves_a_service_without_endpoints_of_its_own() -> None:
    assert cluster("{loadBalancer: {simple: PASSTHROUGH}}").endpoints == OriginalDestination()


def test_outlier_detection_has_istios_defaults() -> None:
    assert cluster("{outlierDetection: {}}").outlier == OutlierDetection()
    assert cluster().outlier is None
    everything = """{outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 2, splitExternalLocalOriginErrors: true,
      consecutiveLocalOriginFailures: 3, interval: 1s, baseEjectionTime: 2m, maxEjectionPercent: 50, minHealthPercent: 20,
      outlierDetectionHttpErrorCodes: [503, 429]}}"""
    assert cluster(everything).outlier == OutlierDetection(0, 2, True, 3, 1000, 120_000, 50, 20, (429, 503))


def test_a_subset_replaces_a_load_balancer_whole_and_inherits_what_it_does_not_say() -> None:
    host = "{loadBalancer: {simple: RANDOM, warmup: {duration: 10s}}, outlierDetection: {interval: 7s}}"
    plain = cluster(host, name="v1")
    assert (plain.balance, plain.outlier) == ("random", OutlierDetection(interval_ms=7000))
    own = cluster(host, ", trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}", name="v1")
    assert (own.balance, own.warmup, own.outlier) == ("round_robin", None, OutlierDetection(interval_ms=7000))


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        ("{warmupDurationSecs: 30s}", Warmup(30_000)),
        ("{warmup: {duration: 1m, minimumPercent: 25, aggression: 1.5}}", Warmup(60_000, 25, 150)),
        ("{simple: RANDOM, warmupDurationSecs: 30s}", None),
    ],
)
def test_warming_up_is_for_weighted_balances(balancer: str, expected: Warmup | None) -> None:
    assert cluster(f"{{loadBalancer: {balancer}}}").warmup == expected


def mesh_setting(text: str) -> str:
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    localityLbSetting: {text}
"""


@pytest.mark.parametrize(
    ("policy", "mesh", "service", "expected"),
    [
        ("", "", "", None),
        (f"{{{OUTLIER}}}", "", "", LocalityLoad(fails_over=True)),
        (f"{{{OUTLIER}, loadBalancer: {{localityLbSetting: {{enabled: false}}}}}}", "", "", None),
        ("{loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r2}]}}}", "", "", None),
        (f"{{{OUTLIER}, loadBalancer: {{localityLbSetting: {{failover: [{{from: r1, to: r2}}]}}}}}}", "", "", REGIONS),
        (
            "{loadBalancer: {localityLbSetting: {distribute: [{from: r1/*, to: {r1/*: 80, r2/*: 20}}]}}}",
            "",
            "",
            LocalityLoad(distribute=(("r1/*", (("r1/*", 80), ("r2/*", 20))),)),
        ),
        (f"{{{OUTLIER}}}", "{failover: [{from: r1, to: r2}]}", "", REGIONS),
        (f"{{{OUTLIER}}}", "{enabled: false}", "", None),
        (
            f"{{{OUTLIER}, loadBalancer: {{localityLbSetting: {{enabled: true}}}}}}",
            "{enabled: false}",
            "",
            LocalityLoad(fails_over=True),
        ),
        ("", "", ", trafficDistribution: PreferClose", LocalityLoad(priority=SAME_ZONE, fails_over=True)),
        (
            f"{{{OUTLIER}, loadBalancer: {{localityLbSetting: {{failover: [{{from: r1, to: r2}}]}}}}}}",
            "",
            ", trafficDistribution: PreferSameZone",
            REGIONS,
        ),
    ],
)
def test_localities_are_the_rules_else_the_services_else_the_meshs(
    policy: str, mesh: str, service: str, expected: LocalityLoad | None
) -> None:
    assert cluster(policy, service=service, mesh=mesh_setting(mesh) if mesh else "").locality == expected


def test_a_pods_label_says_where_it_stands() -> None:
    source = cluster().endpoints
    assert isinstance(source, RegisteredEndpoints)
    assert [one.locality for one in source.static] == ["r1/z1"]


def mesh_config(spec: str) -> str:
    return f"\n---\napiVersion: weft/v1\nkind: MeshConfig\nmetadata: {{name: mesh}}\nspec: {{{spec}}}\n"


@pytest.mark.parametrize(
    ("text", "held"), [("", False), ("onEmptyEndpoints: remove", False), ("onEmptyEndpoints: hold", True)]
)
def test_the_mesh_says_whether_the_last_endpoints_are_held(text: str, held: bool) -> None:
    assert cluster(mesh=mesh_config(text) if text else "").holds == held


@pytest.mark.parametrize(
    ("policy", "protocol"), [("", "http2"), ("{connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}}", "http1")]
)
def test_the_mesh_upgrades_what_a_rule_leaves_to_it(policy: str, protocol: str) -> None:
    made = cluster(policy, mesh=mesh_config("h2UpgradePolicy: UPGRADE, tcpKeepalive: {time: 90s}"))
    assert made.protocol == protocol
    assert made.limits.keep_alive == KeepAlive(time_s=90)


def test_every_limit_of_a_pool_is_carried() -> None:
    pool = """{connectionPool: {tcp: {maxConnections: 1, connectTimeout: 2s, idleTimeout: 3s, maxConnectionDuration: 4s,
      tcpKeepalive: {probes: 5, time: 6s, interval: 7s}},
      http: {http1MaxPendingRequests: 8, http2MaxRequests: 9, maxRequestsPerConnection: 10, maxRetries: 11, idleTimeout: 12s,
      maxConcurrentStreams: 13,
      http2KeepAlive: {interval: 14s, timeout: 15s}}}, retryBudget: {percent: 12.5, minRetryConcurrency: 16}}"""
    assert cluster(pool).limits == PoolLimits(
        max_connections=1,
        max_pending_requests=8,
        max_requests=9,
        max_requests_per_connection=10,
        connect_timeout_ms=2_000,
        idle_timeout_ms=12_000,
        tcp_idle_ms=3_000,
        max_retries=11,
        max_duration_ms=4_000,
        max_streams=13,
        ping_ms=14_000,
        ping_timeout_ms=15_000,
        keep_alive=KeepAlive(5, 6, 7),
        retry_budget=RetryBudget(125_000, 16),
    )


BASELINE = """
apiVersion: weft/v1
kind: MeshConfig
spec:
  defaultTrafficPolicy:
    connectionPool: {tcp: {maxConnections: 7}}
    outlierDetection: {consecutive5xxErrors: 9}
"""


def test_each_part_of_the_meshs_own_policy_holds_where_a_rule_has_no_such_part() -> None:
    bare = cluster(mesh=BASELINE)
    assert bare.limits.max_connections == 7
    assert bare.outlier == OutlierDetection(consecutive_5xx=9)
    ruled = cluster("{connectionPool: {http: {maxRetries: 2}}}", mesh=BASELINE)
    assert (ruled.limits.max_connections, ruled.limits.max_retries) == (0, 2)
    assert ruled.outlier == OutlierDetection(consecutive_5xx=9)
    own = cluster(f"{{{OUTLIER}}}", mesh=BASELINE)
    assert own.outlier == OutlierDetection(consecutive_5xx=7)
    assert own.limits.max_connections == 7
    level = "{portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}"
    assert cluster(level, mesh=BASELINE).limits.max_connections == 7


def test_the_meshs_own_limits_hold_for_what_comes_in_and_for_what_goes_where_it_asks() -> None:
    text = SERVICE % "" + BASELINE
    slices = compiled(text)
    clusters = slices.slice(slices.names[0]).clusters
    names = ("inbound|8080||", "InboundPassthroughCluster", "PassthroughCluster")
    assert [clusters[name].limits.max_connections for name in names] == [7, 7, 7]
    assert [clusters[name].outlier for name in names] == [None] * 3


def test_utilization_is_read_with_istios_defaults() -> None:
    written = "errorUtilizationPenaltyPercent: 50, metricNamesForComputingUtilization: [named_metrics.a]"
    periods = "weightStabilizationPeriod: 0s, weightExpirationPeriod: 60s, weightUpdatePeriod: 1ms"
    found = cluster(f"{{loadBalancer: {{backendUtilization: {{{written}, {periods}}}}}}}")
    assert found.utilization == Utilization(50, ("named_metrics.a",), 60_000, 0, 100)
    assert found.balance == "round_robin"
    assert cluster("{loadBalancer: {backendUtilization: {}}}").utilization == Utilization()
    assert cluster("{loadBalancer: {simple: RANDOM}}").utilization is None


@pytest.mark.parametrize(
    ("written", "tunnel"),
    [
        ("{targetHost: far.test, targetPort: 4433}", Tunnel("far.test:4433")),
        ("{protocol: POST, targetHost: 'fd00::1', targetPort: 443}", Tunnel("[fd00::1]:443", "POST")),
    ],
)
def test_a_tunnel_is_the_hosts_and_its_subsets(written: str, tunnel: Tunnel) -> None:
    policy = f"{{tunnel: {written}, portLevelSettings: [{{port: {{number: 80}}, loadBalancer: {{simple: RANDOM}}}}]}}"
    assert cluster(policy).tunnel == tunnel
    assert cluster(policy, name="v1").tunnel == tunnel
    assert cluster("{loadBalancer: {simple: RANDOM}}", f", trafficPolicy: {{tunnel: {written}}}").tunnel is None
