"""MeshConfig: what holds for the whole mesh."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Cursor, Positions
from compiler.resources.destination_rule import TrafficPolicy, read_keep_alive, read_pool
from compiler.resources.http_action import DEFAULT_RETRY, INBOUND_RETRY, read_retry
from compiler.resources.load_balancer import LocalitySetting, read_localities, read_outlier
from compiler.resources.meta import Meta, open_document
from compiler.resources.proxy_config import UNSAID, ProxySettings, read_settings
from compiler.resources.tls_parameters import NOTHING_ASKED, TlsParameters, read_tls_parameters
from policies.balancing import KeepAlive
from policies.traffic import Retry

CLUSTER_DOMAIN = "cluster.local"
"""The DNS domain of service names; short names are completed with it."""


_EXPORTS = {
    "defaultServiceExportTo": ("Service", "ServiceEntry"),
    "defaultVirtualServiceExportTo": ("VirtualService",),
    "defaultDestinationRuleExportTo": ("DestinationRule",),
}


class MeshConfig(msgspec.Struct, frozen=True):
    """Istio's MeshConfig with Istio's defaults. ``outbound`` is ALLOW_ANY or REGISTRY_ONLY; ``connect_timeout_ms`` holds where no rule says."""

    meta: Meta | None = None
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    outbound: str = "ALLOW_ANY"
    access_log_file: str = ""
    access_log_encoding: str = "TEXT"
    root_namespace: str = "istio-system"
    auto_mtls: bool = True
    connect_timeout_ms: int = 10_000
    path_normalization: str = "BASE"
    sniff_ms: int | None = None
    dns_refresh_ms: int | None = None
    proxies: ProxySettings = UNSAID
    on_policy_change: str = "revalidate"
    merges_metrics: bool = True
    holds_endpoints: bool = False
    """Whether a service keeps its last registered endpoints when all have gone."""
    locality: LocalitySetting = LocalitySetting()
    keep_alive: KeepAlive | None = None
    retry: Retry = DEFAULT_RETRY
    inbound_retry: Retry = INBOUND_RETRY
    """Retries of routes that say nothing of them, at clients and at gateways, and in front of applications."""
    exports: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """``exportTo`` of kinds whose documents do not say it, where that is not everybody."""
    mesh_tls: TlsParameters = NOTHING_ASKED
    tls_defaults: TlsParameters = NOTHING_ASKED
    upgrades: bool = False
    """Whether clusters that speak HTTP/1 speak HTTP/2 instead, where their rule does not say."""
    baseline: TrafficPolicy | None = None
    """``defaultTrafficPolicy``: each part of it holds where a rule has no such part."""


def read_mesh_config(document: Document, positions: Positions) -> MeshConfig:
    """A MeshConfig document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root
    outbound = spec.at("outboundTrafficPolicy")
    proxies = spec.at("defaultConfig")
    defaults = MeshConfig()
    return MeshConfig(
        meta=meta,
        trust_domain=spec.text("trustDomain") or defaults.trust_domain,
        trust_domain_aliases=spec.texts("trustDomainAliases"),
        outbound=outbound.text("mode", defaults.outbound) if outbound else defaults.outbound,
        access_log_file=spec.text("accessLogFile"),
        access_log_encoding=spec.text("accessLogEncoding") or defaults.access_log_encoding,
        root_namespace=spec.text("rootNamespace") or defaults.root_namespace,
        auto_mtls=spec.flag("enableAutoMtls") or not spec.has("enableAutoMtls"),
        connect_timeout_ms=spec.duration_ms("connectTimeout") or defaults.connect_timeout_ms,
        holds_endpoints=spec.text("onEmptyEndpoints") == "hold",
        merges_metrics=spec.flag("enablePrometheusMerge") or not spec.has("enablePrometheusMerge"),
        on_policy_change=spec.text("onPolicyChange") or defaults.on_policy_change,
        path_normalization=_profile(spec.at("pathNormalization")),
        proxies=read_settings(proxies) if proxies else UNSAID,
        dns_refresh_ms=spec.duration_ms("dnsRefreshRate") or None,
        sniff_ms=spec.duration_ms("protocolDetectionTimeout") if spec.has("protocolDetectionTimeout") else None,
        keep_alive=read_keep_alive(spec.at("tcpKeepalive")),
        retry=read_retry(spec.at("defaultHttpRetryPolicy")) or DEFAULT_RETRY,
        inbound_retry=read_retry(spec.at("defaultInboundHttpRetryPolicy"), INBOUND_RETRY) or INBOUND_RETRY,
        exports=_exports(spec),
        mesh_tls=read_tls_parameters(spec.at("meshMTLS")),
        tls_defaults=read_tls_parameters(spec.at("tlsDefaults")),
        upgrades=spec.text("h2UpgradePolicy") == "UPGRADE",
        locality=read_localities(spec) or defaults.locality,
        baseline=_baseline(spec.at("defaultTrafficPolicy")),
    )


def _exports(spec: Cursor) -> tuple[tuple[str, tuple[str, ...]], ...]:
    said = ((kind, spec.texts(field)) for field, kinds in _EXPORTS.items() for kind in kinds)
    return tuple((kind, scopes) for kind, scopes in said if scopes)


def _baseline(written: Cursor | None) -> TrafficPolicy | None:
    if written is None:
        return None
    return TrafficPolicy(
        outlier=read_outlier(written.at("outlierDetection")), pool=read_pool(written.at("connectionPool"))
    )


def _profile(paths: Cursor | None) -> str:
    """A profile's name; DEFAULT, which Istio resolves, is BASE."""
    named = paths.text("normalization", "DEFAULT") if paths else "DEFAULT"
    return "BASE" if named == "DEFAULT" else named
