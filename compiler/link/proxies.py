"""What a slice says of its proxy itself: whose identity it bears, how it appears in metrics, where it logs."""

from __future__ import annotations

import msgspec

from compiler.mesh import Mesh
from compiler.resources.cursor import Labels
from compiler.resources.kubernetes import Workload as GitWorkload
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
    )
    scrape = Scrape(*workload.scraped) if workload.scraped is not None and mesh.config.merges_metrics else None
    if workload.probe is None and scrape is None:
        return made
    return msgspec.structs.replace(made, probe=workload.probe, scrape=scrape)


def described_proxy(mesh: Mesh, *, name: str, namespace: str, account: str, labels: Labels) -> Proxy:
    """The proxy section of a workload described by its parts; canonical names as Istio derives them from labels."""
    known = dict(labels)
    config = mesh.config
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
        deadlines=Deadlines() if config.sniff_ms is None else Deadlines(sniff_ms=config.sniff_ms),
        on_policy_change=config.on_policy_change,
    )
