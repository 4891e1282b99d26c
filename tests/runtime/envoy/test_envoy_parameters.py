"""Envoy itself accepts every version, suite and curve that the compiler lets through, and what proxies say in headers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from compiler.resources.tls_parameters import CIPHER_SUITES, CURVES
from policies.proxy_headers import CERTIFICATE_MODES, CERTIFICATE_PARTS, ProxyHeaders
from snapshot.section import (
    Deadlines,
    DnsEndpoints,
    FilterChain,
    GatewayPort,
    HttpChain,
    Listener,
    MeshTls,
    MeshUpstream,
    Proxy,
    RouteTable,
    ServerTls,
    TlsUpstream,
)
from tests.runtime.envoy_export import exported, objections
from tests.slices import SOURCE, WORKLOAD, cluster, prepared_of

pytestmark = pytest.mark.integration
SUITES = tuple(sorted(CIPHER_SUITES))
ME = "spiffe://cluster.local/ns/a/sa/b"


def test_envoy_accepts_all_suites_and_curves(tmp_path: Path) -> None:
    web = HttpChain("r", edge=True)
    server = ServerTls(("default/c",), min_version="TLSv1_3", ciphers=SUITES, curves=CURVES)
    chains = (
        FilterChain("tls", SOURCE, web, ("a.test",), tls=server),
        FilterChain("mtls", SOURCE, web, tls=MeshTls("TLSv1_3", SUITES)),
    )
    prepared = prepared_of(
        Listener("l", SOURCE, "gateway", GatewayPort(443), "http", chains),
        RouteTable("r", SOURCE),
        cluster("a", tls=TlsUpstream("a.test", ca="default/c", ciphers=SUITES, curves=CURVES)),
        cluster("b", tls=MeshUpstream((ME,), "b", min_version="TLSv1_3", ciphers=SUITES)),
    )
    assert objections(exported(prepared, tmp_path)) == ""


@pytest.mark.parametrize("mode", CERTIFICATE_MODES)
@pytest.mark.parametrize("direction", ["gateway", "inbound"])
def test_envoy_accepts_what_proxies_say_in_headers(direction: str, mode: str, tmp_path: Path) -> None:
    headers = ProxyHeaders(
        3, mode, CERTIFICATE_PARTS, request_ids=False, attempts=False, internal=False, server="mine", spelling=True
    )
    web = FilterChain("http", SOURCE, HttpChain("r", edge=direction == "gateway"))
    prepared = prepared_of(
        Proxy(WORKLOAD, "cluster.local", headers=headers, deadlines=Deadlines(dns_refresh_ms=60_000)),
        Listener("l", SOURCE, direction, GatewayPort(80), "http", (web,)),
        RouteTable("r", SOURCE),
        cluster("a"),
        cluster("b", protocol="same"),
        msgspec.structs.replace(cluster("c"), endpoints=DnsEndpoints((("a.test", 80),))),
    )
    assert objections(exported(prepared, tmp_path)) == ""
