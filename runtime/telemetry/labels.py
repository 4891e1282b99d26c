"""The labels of Istio's traffic metrics, in Istio's order, and how they follow from who spoke to whom."""

from __future__ import annotations

import msgspec

from snapshot.live import RegisteredWorkload
from snapshot.section import Endpoint, ServiceName, Workload

_WORKLOADS = (
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
)

REQUEST_LABELS = (
    *_WORKLOADS,
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
)
"""The label names of istio_requests_total and of its histograms, in order."""

TCP_LABELS = (*_WORKLOADS, "request_protocol", "response_flags", "connection_security_policy")
"""The label names of the istio_tcp_* metrics, in order."""

Labels = tuple[str, ...]


class WorkloadFacts(msgspec.Struct, frozen=True, gc=False):
    """What the labels say of one side. ``unknown`` stands for what is not known, as in Istio."""

    workload: str = "unknown"
    namespace: str = "unknown"
    app: str = "unknown"
    version: str = "unknown"
    canonical_service: str = "unknown"
    canonical_revision: str = "latest"
    cluster: str = "unknown"


UNKNOWN = WorkloadFacts(canonical_revision="unknown")


def facts_of_workload(workload: Workload) -> WorkloadFacts:
    """This proxy's own side, from its slice."""
    return WorkloadFacts(
        workload=workload.name,
        namespace=workload.namespace,
        app=workload.app,
        version=workload.version,
        canonical_service=workload.canonical_name,
        canonical_revision=workload.canonical_revision,
        cluster=workload.cluster,
    )


def facts_of_endpoint(endpoint: Endpoint) -> WorkloadFacts:
    """The other side of a source's series, from the endpoint that was chosen."""
    if not endpoint.workload:
        return UNKNOWN
    return _facts_of_labels(endpoint.workload, endpoint.namespace, dict(endpoint.labels), "Kubernetes")


def facts_of_registered(workload: RegisteredWorkload) -> WorkloadFacts:
    """The other side of a destination's series, found in the registry by the peer's address."""
    return _facts_of_labels(workload.name, workload.namespace, dict(workload.labels), workload.cluster)


def _facts_of_labels(name: str, namespace: str, labels: dict[str, str], cluster: str) -> WorkloadFacts:
    canonical = (
        labels.get("service.istio.io/canonical-name")
        or labels.get("app.kubernetes.io/name")
        or labels.get("app")
        or name
    )
    revision = (
        labels.get("service.istio.io/canonical-revision")
        or labels.get("app.kubernetes.io/version")
        or labels.get("version")
        or "latest"
    )
    return WorkloadFacts(
        workload=name,
        namespace=namespace or "unknown",
        app=labels.get("app", "unknown"),
        version=labels.get("version", "unknown"),
        canonical_service=canonical,
        canonical_revision=revision,
        cluster=cluster or "unknown",
    )


def request_labels(
    *,
    reporter: str,
    source: WorkloadFacts,
    destination: WorkloadFacts,
    service: ServiceName,
    source_principal: str = "",
    destination_principal: str = "",
    code: int,
    flags: str = "",
    grpc: str | None = None,
    mutual_tls: bool = False,
) -> Labels:
    """The values for REQUEST_LABELS. ``reporter`` is ``source`` or ``destination``; ``grpc`` is the gRPC status as text where the request was gRPC's.

    The security policy is only known at the destination (Istio: ``unknown`` at the source). ``code`` is 0 where no reply was sent.
    """
    return (
        *_sides(reporter, source, destination, service, source_principal, destination_principal),
        "http" if grpc is None else "grpc",
        str(code),
        grpc or "",
        flags or "-",
        _security(reporter, mutual_tls=mutual_tls),
    )


def tcp_labels(
    *,
    reporter: str,
    source: WorkloadFacts,
    destination: WorkloadFacts,
    service: ServiceName,
    source_principal: str = "",
    destination_principal: str = "",
    flags: str = "",
    mutual_tls: bool = False,
) -> Labels:
    """The values for TCP_LABELS; see request_labels."""
    return (
        *_sides(reporter, source, destination, service, source_principal, destination_principal),
        "tcp",
        flags or "-",
        _security(reporter, mutual_tls=mutual_tls),
    )


def _security(reporter: str, *, mutual_tls: bool) -> str:
    if reporter == "source":
        return "unknown"
    return "mutual_tls" if mutual_tls else "none"


def _sides(
    reporter: str,
    source: WorkloadFacts,
    destination: WorkloadFacts,
    service: ServiceName,
    source_principal: str,
    destination_principal: str,
) -> Labels:
    return (
        reporter,
        source.workload,
        source.canonical_service,
        source.canonical_revision,
        source.namespace,
        source_principal or "unknown",
        source.app,
        source.version,
        source.cluster,
        destination.workload,
        destination.namespace,
        destination_principal or "unknown",
        destination.app,
        destination.version,
        service.host or "unknown",
        destination.canonical_service,
        destination.canonical_revision,
        service.name or "unknown",
        service.namespace or "unknown",
        destination.cluster,
    )
