"""What a Sidecar listens on: egress listeners per port, proxies and Unix sockets of its own, ingress listeners in place of the services' ports."""

from __future__ import annotations

import pytest

from snapshot.prepared import PreparedSlice
from snapshot.section import (
    AddressPort,
    ApplicationEndpoint,
    Cluster,
    GatewayPort,
    HttpChain,
    Listener,
    PoolLimits,
    ProxyPort,
    ServerTls,
    ServicePort,
    TcpChain,
    UnixSocket,
    WorkloadPort,
)
from snapshot.slots import KeyFiles, key_files
from tests.compiler.compiled import ask, clusters, compilation, compiled, request

_PORTS = {
    "a": "[{name: http, port: 80, targetPort: 8080}]",
    "b": "[{name: http, port: 80}, {name: http-admin, port: 9000}]",
    "c": "[{name: http-admin, port: 9000}, {name: tcp-db, port: 5432}]",
    "d": "[{name: tls-vault, port: 8443}]",
    "e": "[{name: tls-store, port: 8443}]",
}
MESH = (
    "\n".join(
        f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{app: {name}}}
  ports: {ports}
---"""
        for name, ports in _PORTS.items()
    )
    + """
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: shop}
spec:
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec: {containers: [{name: a, image: a}]}
"""
)


def sidecar(spec: str) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: own, namespace: shop}}
spec:
{spec}
"""


def slice_with(spec: str, *texts: str) -> PreparedSlice:
    return compiled(MESH, sidecar(spec), *texts).slice("sidecar/shop/a")


def reached(prepared: PreparedSlice, authority: str, listener: str = "virtualOutbound") -> list[str]:
    return [name for name, _ in clusters(ask(prepared, request(host=authority), listener=listener))]


def own(prepared: PreparedSlice) -> dict[str, Listener]:
    """The outbound listeners with addresses of their own."""
    ordinary = (ProxyPort, ServicePort, GatewayPort)
    return {
        name: one
        for name, one in prepared.listeners.items()
        if one.direction == "outbound" and not isinstance(one.bind, ordinary)
    }


# --- egress ------------------------------------------------------------------------------------------------------------------

PER_PORT = """
  egress:
  - {port: {number: 9000, protocol: HTTP, name: admin}, hosts: [./b.shop.svc.cluster.local]}
  - {hosts: [./a.shop.svc.cluster.local, ./c.shop.svc.cluster.local]}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
"""


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("b.shop:9000", ["outbound|9000||b.shop.svc.cluster.local"]),
        ("c.shop:9000", []),
        ("a.shop", ["outbound|80||a.shop.svc.cluster.local"]),
        ("b.shop", []),
        ("c.shop:5432", ["outbound|5432||c.shop.svc.cluster.local"]),
    ],
)
def test_a_port_that_an_egress_names_is_that_egress_alone(authority: str, expected: list[str]) -> None:
    assert reached(slice_with(PER_PORT), authority) == expected


def test_an_egress_without_an_address_makes_no_listener_but_the_services() -> None:
    prepared = slice_with(PER_PORT)
    assert own(prepared) == {}
    assert "b.shop.svc.cluster.local:9000" in prepared.listeners
    assert "c.shop.svc.cluster.local:9000" not in prepared.listeners


def test_without_an_egress_for_all_ports_other_ports_know_nothing() -> None:
    only = """
  egress:
  - {port: {number: 9000, protocol: HTTP, name: admin}, hosts: [./*]}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
"""
    prepared = slice_with(only)
    assert reached(prepared, "b.shop:9000") == ["outbound|9000||b.shop.svc.cluster.local"]
    assert reached(prepared, "a.shop") == []


RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: shop}
spec:
  hosts: [b]
  http: [{route: [{destination: {host: a, port: {number: 80}}}]}]
"""


def test_a_rule_holds_on_the_ports_whose_egress_knows_its_host() -> None:
    prepared = slice_with(
        """
  egress:
  - {port: {number: 9000, protocol: HTTP, name: admin}, hosts: [./c.shop.svc.cluster.local]}
  - {hosts: [./b.shop.svc.cluster.local]}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
""",
        RULE,
    )
    assert reached(prepared, "b.shop") == ["outbound|80||a.shop.svc.cluster.local"]
    assert reached(prepared, "b.shop:9000") == []


@pytest.mark.parametrize(
    ("written", "bind"),
    [
        ("captureMode: NONE", AddressPort("", 9000)),
        ("bind: 127.0.0.9", AddressPort("127.0.0.9", 9000)),
        ("bind: 127.0.0.9, captureMode: NONE", AddressPort("127.0.0.9", 9000)),
        ("bind: 127.0.0.9, captureMode: IPTABLES", None),
        ("captureMode: IPTABLES", None),
        ("captureMode: DEFAULT", None),
    ],
)
def test_an_egress_is_bound_where_it_says_so(written: str, bind: AddressPort | None) -> None:
    prepared = slice_with(
        f"  egress: [{{port: {{number: 9000, protocol: HTTP, name: admin}}, hosts: [./*], {written}}}]"
    )
    assert [one.bind for one in own(prepared).values()] == ([bind] if bind else [])


def test_an_http_egress_of_its_own_routes_by_host() -> None:
    prepared = slice_with(
        "  egress: [{port: {number: 9000, protocol: HTTP, name: admin}, hosts: [./*], bind: 127.0.0.9}]"
    )
    (name,) = own(prepared)
    assert name == "127.0.0.9_9000"
    assert reached(prepared, "c.shop:9000", name) == ["outbound|9000||c.shop.svc.cluster.local"]
    assert reached(prepared, "c", name) == ["outbound|9000||c.shop.svc.cluster.local"]


def test_two_addresses_of_one_port_keep_their_hosts_apart() -> None:
    prepared = slice_with("""
  egress:
  - {port: {number: 9000, protocol: HTTP, name: one}, hosts: [./b.shop.svc.cluster.local], bind: 127.0.0.9}
  - {port: {number: 9000, protocol: HTTP, name: two}, hosts: [./c.shop.svc.cluster.local], bind: 127.0.0.8}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
""")
    assert sorted(own(prepared)) == ["127.0.0.8_9000", "127.0.0.9_9000"]
    for host, name in (("b", "127.0.0.9_9000"), ("c", "127.0.0.8_9000")):
        assert reached(prepared, host, name) == [f"outbound|9000||{host}.shop.svc.cluster.local"]
    assert reached(prepared, "c", "127.0.0.9_9000") == reached(prepared, "b", "127.0.0.8_9000") == []
    assert reached(prepared, "c.shop:9000") == []


def test_a_tcp_egress_leads_to_the_first_service_with_the_port() -> None:
    prepared = slice_with(
        "  egress: [{port: {number: 5432, protocol: TCP, name: db}, hosts: [./*], captureMode: NONE}]"
    )
    listener = own(prepared)["127.0.0.1_5432"]
    network = listener.chains[0].network
    assert listener.protocol == "tcp"
    assert isinstance(network, TcpChain)
    assert [one.cluster for one in network.destinations] == ["outbound|5432||c.shop.svc.cluster.local"]


def test_a_tls_egress_leads_by_the_name_that_the_client_asks_for() -> None:
    prepared = slice_with(
        "  egress: [{port: {number: 8443, protocol: TLS, name: tls}, hosts: [./*], captureMode: NONE}]"
    )
    chains = own(prepared)["127.0.0.1_8443"].chains
    assert all(chain.passthrough for chain in chains)
    found = {
        chain.server_names: chain.network.destinations[0].cluster
        for chain in chains
        if isinstance(chain.network, TcpChain)
    }
    assert found == {
        ("d.shop.svc.cluster.local",): "outbound|8443||d.shop.svc.cluster.local",
        ("e.shop.svc.cluster.local",): "outbound|8443||e.shop.svc.cluster.local",
    }


def test_an_egress_that_leads_nowhere_is_not_bound() -> None:
    prepared = slice_with(
        "  egress: [{port: {number: 7000, protocol: HTTP, name: none}, hosts: [./*], captureMode: NONE}]"
    )
    assert own(prepared) == {}


def test_the_egress_for_all_ports_is_bound_port_by_port_where_it_has_an_address() -> None:
    prepared = slice_with("  egress: [{hosts: [./*], bind: 127.0.0.9, captureMode: NONE}]")
    protocols = {name: listener.protocol for name, listener in own(prepared).items()}
    assert protocols == {
        "127.0.0.9_80": "http",
        "127.0.0.9_9000": "http",
        "127.0.0.9_5432": "tcp",
        "127.0.0.9_8443": "tcp",
    }


def test_a_proxy_egress_knows_its_hosts_on_every_port_and_leaves_the_explicit_proxy_its_own() -> None:
    prepared = slice_with("""
  egress:
  - {port: {number: 3128, protocol: HTTP_PROXY, name: proxy}, hosts: [./b.shop.svc.cluster.local], captureMode: NONE}
  - {hosts: [./a.shop.svc.cluster.local]}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
""")
    network = own(prepared)["127.0.0.1_3128"].chains[0].network
    assert isinstance(network, HttpChain)
    assert network.proxy
    assert reached(prepared, "b.shop", "127.0.0.1_3128") == ["outbound|80||b.shop.svc.cluster.local"]
    assert reached(prepared, "b.shop:9000", "127.0.0.1_3128") == ["outbound|9000||b.shop.svc.cluster.local"]
    assert reached(prepared, "a.shop", "127.0.0.1_3128") == reached(prepared, "b.shop") == []
    assert reached(prepared, "a.shop") == ["outbound|80||a.shop.svc.cluster.local"]


def test_a_unix_socket_takes_requests_for_every_port() -> None:
    prepared = slice_with("""
  egress:
  - {port: {number: 0, protocol: HTTP, name: uds}, hosts: [./*], bind: "unix:///run/mesh.sock"}
""")
    listener = own(prepared)["unix:///run/mesh.sock"]
    assert listener.bind == UnixSocket("/run/mesh.sock")
    assert reached(prepared, "a.shop", listener.name) == ["outbound|80||a.shop.svc.cluster.local"]
    assert reached(prepared, "b.shop:9000", listener.name) == ["outbound|9000||b.shop.svc.cluster.local"]


@pytest.mark.parametrize(
    ("host", "expected"), [("a.shop.svc.cluster.local", "outbound|80||a.shop.svc.cluster.local"), ("none.example", "")]
)
def test_requests_to_unknown_hosts_go_to_the_egress_proxy_and_nowhere_without_it(host: str, expected: str) -> None:
    prepared = slice_with(f"""
  egress: [{{hosts: ["~/*"]}}]
  outboundTrafficPolicy: {{mode: ALLOW_ANY, egressProxy: {{host: {host}, port: {{number: 80}}}}}}
""")
    decision = ask(prepared, request(host="elsewhere.example"))
    assert [name for name, _ in clusters(decision)] == ([expected] if expected else [])
    assert not decision.passthrough
    assert (decision.reply is None) == bool(expected)


# --- ingress -----------------------------------------------------------------------------------------------------------------


def inbound(prepared: PreparedSlice, port: int) -> tuple[Listener, Cluster]:
    return prepared.listeners[f"inbound|{port}"], prepared.clusters[f"inbound|{port}||"]


def test_ingress_takes_the_place_of_the_services_ports() -> None:
    prepared = slice_with("  ingress: [{port: {number: 9080, protocol: HTTP, name: http}}]")
    assert [name for name in prepared.listeners if name.startswith("inbound|")] == ["inbound|9080"]
    listener, cluster = inbound(prepared, 9080)
    assert (listener.bind, listener.protocol) == (WorkloadPort(9080), "http")
    assert cluster.endpoints == ApplicationEndpoint(9080)
    assert (cluster.service.host, cluster.port) == ("own.shop", 9080)


def test_an_ingress_on_a_services_target_port_keeps_the_services_name() -> None:
    _, cluster = inbound(slice_with("  ingress: [{port: {number: 8080, protocol: HTTP, name: http}}]"), 8080)
    assert (cluster.service.host, cluster.port) == ("a.shop.svc.cluster.local", 80)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("127.0.0.1:7070", ApplicationEndpoint(7070, loopback=True)),
        ('"[::1]:7070"', ApplicationEndpoint(7070, loopback=True)),
        ('":9080"', ApplicationEndpoint(9080)),
        ('":7070"', ApplicationEndpoint(7070, exposed=True)),
        ("0.0.0.0:7070", ApplicationEndpoint(7070, exposed=True)),
        ('"[::]:7070"', ApplicationEndpoint(7070, exposed=True)),
        ("unix:///run/app.sock", ApplicationEndpoint(0, path="/run/app.sock")),
        ('"unix://@app"', ApplicationEndpoint(0, path="@app")),
    ],
)
def test_the_default_endpoint_says_where_the_application_is(written: str, expected: ApplicationEndpoint) -> None:
    ingress = f"  ingress: [{{port: {{number: 9080, protocol: HTTP, name: http}}, defaultEndpoint: {written}}}]"
    assert inbound(slice_with(ingress), 9080)[1].endpoints == expected


def test_an_ingress_is_bound_where_it_says() -> None:
    listener, _ = inbound(
        slice_with("  ingress: [{port: {number: 9080, protocol: TCP, name: tcp}, bind: 127.0.0.7}]"), 9080
    )
    assert (listener.bind, listener.protocol) == (AddressPort("127.0.0.7", 9080), "tcp")


@pytest.mark.parametrize(("mode", "chains"), [("STRICT", 1), ("PERMISSIVE", 2), ("DISABLE", 1)])
def test_an_ingress_obeys_peer_authentication(mode: str, chains: int) -> None:
    strict = f"""\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: shop}}
spec: {{mtls: {{mode: {mode}}}}}
"""
    listener, _ = inbound(slice_with("  ingress: [{port: {number: 9080, protocol: HTTP, name: http}}]", strict), 9080)
    assert len(listener.chains) == chains


def test_pool_limits_are_the_ingress_own_then_the_sidecars() -> None:
    prepared = slice_with("""
  inboundConnectionPool: {http: {http2MaxRequests: 7}}
  ingress:
  - {port: {number: 9080, protocol: HTTP, name: one}, connectionPool: {tcp: {maxConnections: 3}}}
  - {port: {number: 9081, protocol: HTTP, name: two}}
""")
    assert inbound(prepared, 9080)[1].limits == PoolLimits(max_connections=3)
    assert inbound(prepared, 9081)[1].limits == PoolLimits(max_requests=7)


def test_the_sidecars_pool_limits_hold_for_the_services_ports_too() -> None:
    prepared = slice_with("  inboundConnectionPool: {tcp: {maxConnections: 5}}")
    assert inbound(prepared, 8080)[1].limits == PoolLimits(max_connections=5)


TLS = "{mode: MUTUAL, serverCertificate: /c.pem, privateKey: /k.pem, caCertificates: /a.pem}"


@pytest.mark.parametrize(
    ("mode", "protocol", "expected"),
    [
        ("DISABLE", "HTTPS", ["tls-http"]),
        ("DISABLE", "TLS", ["tls-tcp"]),
        ("STRICT", "HTTPS", ["mtls-http"]),
        ("PERMISSIVE", "HTTPS", ["mtls-http", "plain-http"]),
    ],
)
def test_tls_of_an_ingress_ends_here_where_the_meshs_own_is_disabled(
    mode: str, protocol: str, expected: list[str]
) -> None:
    policy = f"""\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: shop}}
spec: {{mtls: {{mode: {mode}}}}}
"""
    ingress = f"  ingress: [{{port: {{number: 9443, protocol: {protocol}, name: x}}, tls: {TLS}}}]"
    listener, _ = inbound(slice_with(ingress, policy), 9443)
    assert [chain.name for chain in listener.chains] == expected
    tls = listener.chains[0].tls
    if mode == "DISABLE":
        assert isinstance(tls, ServerTls)
        assert (tls.client, key_files(tls.credentials[0])) == ("require", KeyFiles("/c.pem", "/k.pem", "/a.pem"))
    warned = [item for item in compilation(MESH, sidecar(ingress), policy).diagnostics if item.code == "IST0133"]
    assert bool(warned) is (mode != "DISABLE")


def test_a_whole_sidecar_is_carried() -> None:
    found = compilation(
        MESH,
        sidecar("""
  workloadSelector: {labels: {app: a}}
  inboundConnectionPool: {http: {http1MaxPendingRequests: 7, idleTimeout: 5s}}
  ingress: [{port: {number: 9080, protocol: HTTP, name: http}, bind: 0.0.0.0, captureMode: NONE, defaultEndpoint: 127.0.0.1:1}]
  egress: [{port: {number: 9000, protocol: HTTP, name: h}, hosts: ["./*"], bind: 127.0.0.9, captureMode: NONE}, {hosts: ["*/*"]}]
  outboundTrafficPolicy: {mode: ALLOW_ANY}
"""),
    ).diagnostics
    assert [item.message for item in found if item.code == "WFT0200"] == []
