"""What a slice says of its proxy itself: whose identity it bears, how it appears in metrics, where it logs."""

from __future__ import annotations

from typing import Any

import msgspec

from compiler.mesh import Mesh
from compiler.resources.cursor import Labels
from compiler.resources.kubernetes import Workload as GitWorkload
from compiler.resources.mesh_config import MeshConfig
from compiler.resources.proxy_config import ProxySettings
from policies.proxy_headers import USUAL, ProxyHeaders
from snapshot.section import AccessLog, Deadlines, Proxy, Scrape, Workload

_NAME_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_REVISION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")


def proxy_section(mesh: Mesh, workload: GitWorkload) -> Proxy:
    """The proxy section of a workload that Git declares."""
    made = described_proxy(
        mesh,
        name=workload.meta.name,
        namespace=workload.meta.namespace,
        account=workload.service_account,
        labels=workload.labels,
        settings=workload.settings.over(mesh.config.proxies),
    )
    scrape = Scrape(*workload.scraped) if workload.scraped is not None and mesh.config.merges_metrics else None
    if workload.probe is None and scrape is None:
        return made
    return msgspec.structs.replace(made, probe=workload.probe, scrape=scrape)


def described_proxy(
    mesh: Mesh,
    *,
    name: str,
    namespace: str,
    account: str,
    labels: Labels,
    settings: ProxySettings,
    gateway: bool = False,
) -> Proxy:
    """The proxy section of a workload described by its parts; canonical names as Istio derives them from labels."""
    known = dict(labels)
    config = mesh.config
    headers = _gateway_headers(settings) if gateway else _sidecar_headers(settings)
    return Proxy(
        workload=Workload(
            name=name,
            namespace=namespace,
            identity=mesh.identity(namespace, account),
            service_account=account,
            app=known.get("app", "unknown"),
            version=known.get("version", "unknown"),
            canonical_name=next((known[key] for key in _NAME_LABELS if key in known), name),
            canonical_revision=next((known[key] for key in _REVISION_LABELS if key in known), "latest"),
        ),
        trust_domain=config.trust_domain,
        trust_domain_aliases=config.trust_domain_aliases,
        access_log=AccessLog(config.access_log_file, config.access_log_encoding),
        path_normalization=config.path_normalization,
        deadlines=_deadlines(config, settings),
        on_policy_change=_on_policy_change(mesh, namespace, labels) or config.on_policy_change,
        headers=USUAL if headers == USUAL else headers,
    )


def _deadlines(config: MeshConfig, settings: ProxySettings) -> Deadlines:
    said = {
        "sniff_ms": config.sniff_ms,
        "drain_ms": settings.drain_ms,
        "dns_refresh_ms": config.dns_refresh_ms,
    }
    return Deadlines(**{name: value for name, value in said.items() if value is not None})


def _sidecar_headers(settings: ProxySettings) -> ProxyHeaders:
    """What a sidecar says in headers."""
    return ProxyHeaders(**_common(settings), certificate=settings.certificate or "", shows=settings.shows)


def _gateway_headers(settings: ProxySettings) -> ProxyHeaders:
    """What a gateway says in headers: of clients what ``gatewayTopology`` asks for, and not ``proxyHeaders`` (Istio)."""
    return ProxyHeaders(
        **_common(settings),
        trusted_hops=settings.trusted_hops or 0,
        certificate=settings.gateway_certificate or "",
    )


def _common(settings: ProxySettings) -> dict[str, Any]:
    names = ("request_ids", "attempts", "internal", "server", "spelling")
    return {name: said for name in names if (said := getattr(settings, name)) is not None}


def _on_policy_change(mesh: Mesh, namespace: str, labels: Labels) -> str:
    """What the nearest ConnectionPolicy says: the workload's own, its namespace's, the mesh's; of equally near ones the oldest. "" is nothing."""
    root = mesh.config.root_namespace
    for home, selects in ((namespace, True), (namespace, False), (root, False)):
        for rule in mesh.connection_policies:
            fits = (rule.selector is not None) == selects and set(rule.selector or ()) <= set(labels)
            if rule.meta.namespace == home and fits:
                return rule.on_policy_change
    return ""
