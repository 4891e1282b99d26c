"""What a DestinationRule makes clients speak, against what the servers' PeerAuthentication accepts."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.hosts import covers, full_host
from compiler.link.authentication import peer_mode
from compiler.link.clusters import target_port
from compiler.link.view import Views
from compiler.mesh import Mesh, MeshService
from compiler.resources.cursor import Labels
from compiler.resources.destination_rule import ClientTls, DestinationRule, TrafficPolicy
from compiler.resources.kubernetes import Port, Service
from compiler.resources.meta import Meta
from policies.source import SourceRef

ISTIO_MUTUAL, DISABLE, STRICT = "ISTIO_MUTUAL", "DISABLE", "STRICT"
_CLIENTS = {ISTIO_MUTUAL: "speak mutual TLS (ISTIO_MUTUAL)", DISABLE: "speak plain text (DISABLE)"}
_SERVERS = {STRICT: "mutual TLS alone (STRICT)", DISABLE: "plain text alone (DISABLE)"}


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0128 at the tls block, once for each, with the PeerAuthentication that does not fit it."""
    policies = {policy.meta.source: policy.meta for policy in mesh.peer_authentications}
    views = Views(mesh)
    for rule in mesh.destination_rules:
        seen: set[ClientTls] = set()
        for service in _ruled(views, rule):
            for policy, labels in _policies(rule):
                for finding, tls in _at_ports(mesh, service, policy, labels, policies):
                    if tls not in seen:
                        seen.add(tls)
                        yield msgspec.structs.replace(finding, resource=rule.meta.id)


def _ruled(views: Views, rule: DestinationRule) -> list[MeshService]:
    """The Services that a rule is for, as its own namespace sees them; a pattern's are those that no nearer rule has."""
    namespace = rule.meta.namespace
    host = full_host(rule.host.value, namespace)
    if not host.startswith("*"):
        service = views.mesh.service(host, namespace)
        return [service] if service is not None and isinstance(service.origin, Service) else []
    view = views.of(namespace)
    return [
        service
        for name, service in view.services.items()
        if isinstance(service.origin, Service) and covers(host, name) and rule.meta.source in view.rule(service).sources
    ]


def _at_ports(
    mesh: Mesh, service: MeshService, policy: TrafficPolicy, labels: Labels, policies: dict[SourceRef, Meta]
) -> Iterator[tuple[Diagnostic, ClientTls]]:
    for port in service.ports:
        tls = policy.at_port(port.number).tls
        if tls is None:
            continue
        for mode, source in _servers(mesh, service, port, labels):
            if _miss(tls.mode, mode):
                meta = policies.get(source)
                related = (Related(meta.span, "what the servers obey"),) if meta else ()
                ways = f"{_CLIENTS.get(tls.mode, 'speak their own TLS')}, and its servers take {_SERVERS[mode]}"
                message = f"clients of {service.host} port {port.number} {ways}"
                yield diagnostic("WFT0128", message, tls.span, related=related), tls
                break


def _policies(rule: DestinationRule) -> Iterator[tuple[TrafficPolicy, Labels]]:
    """Each policy of a rule, with the labels of the servers that it is for."""
    if rule.policy is not None:
        yield rule.policy, ()
    for subset in rule.subsets:
        if subset.policy is not None:
            yield subset.policy.over(rule.policy), subset.labels


def _servers(mesh: Mesh, service: MeshService, port: Port, labels: Labels) -> Iterator[tuple[str, SourceRef]]:
    """The mode of each workload of a service on a port; the namespace's own where Git has no workload of it at all."""
    workloads = mesh.selected(service.namespace, service.selector)
    for workload in workloads:
        if set(labels) <= set(workload.labels):
            yield peer_mode(mesh, service.namespace, workload.labels, target_port(port, workload))
    if not workloads:
        yield peer_mode(mesh, service.namespace, (), port.target)


def _miss(client: str, server: str) -> bool:
    return server == DISABLE if client == ISTIO_MUTUAL else server == STRICT
