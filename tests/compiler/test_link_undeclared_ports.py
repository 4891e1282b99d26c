"""What a sidecar does with connections to ports that no service declares, where they are intercepted."""

from __future__ import annotations

import pytest

from policies.head import Peer, Principal
from snapshot.decide import decide
from snapshot.section import HttpChain, MeshTls, OriginalDestination, TcpChain, UndeclaredPort
from tests.compiler.compiled import compiled, request

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec: {selector: {app: app}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, labels: {app: app}}
spec: {containers: [{name: a, image: a}]}
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: p, namespace: shop}}
spec: {{selector: {{matchLabels: {{app: app}}}}, mtls: {{mode: {mode}}}{ports}}}
"""
DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {ports: ["81"]}}]}]}
"""


def undeclared(*more: str) -> dict[int, dict[str, object]]:
    """The chains for undeclared ports, by port and name, as the TLS that they ask for."""
    prepared = compiled(SHOP, *more).slice("sidecar/shop/app")
    return {
        one.bind.port: {chain.name: type(chain.tls) for chain in one.chains}
        for one in prepared.listeners.values()
        if isinstance(one.bind, UndeclaredPort)
    }


def test_a_connection_to_another_port_goes_on_under_the_workloads_policies() -> None:
    prepared = compiled(SHOP, DENY).slice("sidecar/shop/app")
    listener = prepared.listeners["undeclared|0"]
    assert prepared.clusters["InboundPassthroughCluster"].endpoints == OriginalDestination(inbound=True)
    for chain in listener.chains:
        network = chain.network
        assert isinstance(network, HttpChain | TcpChain)
        assert network.policies
        if isinstance(network, HttpChain):
            assert prepared.tables[network.routes].section.unmatched == "InboundPassthroughCluster"
        else:
            assert [one.cluster for one in network.destinations] == ["InboundPassthroughCluster"]


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("STRICT", {"mtls-http", "mtls-tcp"}),
        ("DISABLE", {"plain-http", "plain-tcp"}),
        ("PERMISSIVE", {"mtls-http", "mtls-tcp", "plain-http", "plain-tcp", "passthrough-tcp"}),
    ],
)
def test_the_workloads_mode_holds_for_other_ports_too(mode: str, names: set[str]) -> None:
    (chains,) = undeclared(POLICY.format(mode=mode, ports="")).values()
    assert chains.keys() == names
    assert all((kind is MeshTls) == name.startswith("mtls") for name, kind in chains.items())


def test_an_undeclared_port_with_a_mode_of_its_own_has_a_listener_of_its_own() -> None:
    found = undeclared(
        POLICY.format(mode="STRICT", ports=", portLevelMtls: {81: {mode: DISABLE}, 8080: {mode: DISABLE}}")
    )
    assert {port: sorted(chains) for port, chains in found.items()} == {
        0: ["mtls-http", "mtls-tcp"],
        81: ["plain-http", "plain-tcp"],
    }


def test_a_verdict_on_one_undeclared_port_is_none_on_another() -> None:
    prepared = compiled(SHOP, DENY).slice("sidecar/shop/app")
    for listener, cacheable in (("undeclared|0", False), ("inbound|8080", True)):
        chain = prepared.chains[listener, "plain-http"]
        decisions = [
            decide(prepared, chain, request(host="app"), Peer("10.0.0.1", 1, "10.0.0.2", port), Principal())
            for port in (81, 82)
        ]
        assert [one.cacheable for one in decisions] == [cacheable, cacheable]
        assert [one.reply is not None for one in decisions] == [True, False]
