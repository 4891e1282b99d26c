"""Versions, cipher suites and curves: of the mesh's own TLS, of everybody else's, and where a server asks for others."""

from __future__ import annotations

import pytest

from snapshot.section import Cluster, DownstreamTls, MeshTls, MeshUpstream, ServerTls, TlsUpstream, UpstreamTls
from tests.compiler.compiled import compiled
from tests.compiler.test_link_proxy_protocol import EDGE
from tests.compiler.test_link_sidecars import SHOP, mesh_config

SIDECAR = "sidecar/shop/reviews-v1"
SUITES = ("ECDHE-RSA-AES256-GCM-SHA384",)
GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tls, namespace: infra}
spec:
  selector: {app: edge}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c, ASKED}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: secure, namespace: infra}
spec:
  gatewayClassName: istio
  listeners: [{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: out, namespace: shop}
spec: {host: reviews, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /etc/ca.pem}}}
"""


def tls_of(config: str = "{}", asked: str = "") -> tuple[set[DownstreamTls], set[UpstreamTls]]:
    """All TLS of a mesh: where it ends, and where it begins."""
    rest = EDGE.replace("ANNOTATIONS", "") + "---\n" + GATEWAY.replace("ASKED", asked)
    mesh = compiled(SHOP, rest, mesh_config(config), allow_partial=True)
    slices = [mesh.slice(name) for name in mesh.names]
    listeners = [one for slice_ in slices for one in slice_.listeners.values()]
    ends = {chain.tls for listener in listeners for chain in listener.chains if chain.tls is not None}
    clusters: list[Cluster] = [one for slice_ in slices for one in slice_.clusters.values()]
    return ends, {cluster.tls for cluster in clusters if cluster.tls is not None}


def test_the_mesh_speaks_as_mesh_mtls_says_and_nobody_else() -> None:
    ends, begins = tls_of("{meshMTLS: {minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]}}")
    assert {one for one in ends if isinstance(one, MeshTls)} == {MeshTls("TLSv1_3", SUITES)}
    mesh = [one for one in begins if isinstance(one, MeshUpstream)]
    assert mesh
    assert all((one.min_version, one.ciphers) == ("TLSv1_3", SUITES) for one in mesh)
    others = [one for one in ends if isinstance(one, ServerTls)]
    assert len(others) == 1
    assert (others[0].min_version, others[0].ciphers) == ("TLSv1_2", ())


def test_everybody_else_speaks_as_tls_defaults_say() -> None:
    asked = "{minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384], ecdhCurves: [P-256]}"
    ends, begins = tls_of("{tlsDefaults: " + asked + "}")
    assert {one for one in ends if isinstance(one, MeshTls)} == {MeshTls()}
    for server in (one for one in ends if isinstance(one, ServerTls)):
        assert (server.min_version, server.ciphers, server.curves) == ("TLSv1_3", SUITES, ("P-256",))
    origination = [one for one in begins if isinstance(one, TlsUpstream)]
    assert {(one.ciphers, one.curves) for one in origination} == {(SUITES, ("P-256",))}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", ("TLSv1_3", SUITES, ("X25519",))),
        ("minProtocolVersion: TLSV1_2", ("TLSv1_2", SUITES, ("X25519",))),
        ("minProtocolVersion: TLSV1_0", ("TLSv1_2", SUITES, ("X25519",))),
        ("minProtocolVersion: TLS_AUTO", ("TLSv1_3", SUITES, ("X25519",))),
        ("cipherSuites: [nobodys, AES128-SHA, AES128-SHA]", ("TLSv1_3", ("AES128-SHA",), ("X25519",))),
        ("cipherSuites: [nobodys]", ("TLSv1_3", SUITES, ("X25519",))),
        ("ecdhCurves: [nobodys, P-384, P-256]", ("TLSv1_3", SUITES, ("P-384", "P-256"))),
    ],
)
def test_what_a_server_asks_for_itself_goes_before(asked: str, expected: tuple[object, ...]) -> None:
    config = "{tlsDefaults: {minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384], ecdhCurves: [X25519]}}"
    ends, _ = tls_of(config, asked)
    servers = {
        (one.min_version, one.ciphers, one.curves)
        for one in ends
        if isinstance(one, ServerTls) and one.credentials == ("infra/c",)
    }
    assert servers == {expected, ("TLSv1_3", SUITES, ("X25519",))}
