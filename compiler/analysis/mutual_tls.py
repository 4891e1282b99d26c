"""What a DestinationRule makes clients speak, against what the servers' PeerAuthentication accepts."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.hosts import full_host
from compiler.link.authentication import peer_mode
from compiler.link.clusters import target_port
from compiler.mesh import Mesh, MeshService
from compiler.resources.destination_rule import ClientTls, DestinationRule, TrafficPolicy
from compiler.resources.kubernetes import Port, Service
from policies.source import SourceRef

ISTIO_MUTUAL, DISABLE, STRICT = "ISTIO_MUTUAL", "DISABLE", "STRICT"
_CLIENTS = {ISTIO_MUTUAL: "speak mutual TLS (ISTIO_MUTUAL)", DISABLE: "speak plain text (DISABLE)"}
_SERVERS = {STRICT: "mutual TLS alone (STRICT)", DISABLE: "plain text alone (DISABLE)"}


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0128 at the tls block, once for each, with the PeerAuthentication that does not fit it."""
    policies = {policy.meta.source: policy.meta for policy in mesh.peer_authentications}
    for rule in mesh.destination_rules:
        service = mesh.service(full_host(rule.host.value, rule.meta.namespace), rule.meta.namespace)
        if service is None or not isinstance(service.origin, Service):
            continue
        seen: set[ClientTls] = set()
        for policy in _policies(rule):
            for port in service.ports:
                tls = policy.at_port(port.number).tls
                if tls is None or tls in seen:
                    continue
                for mode, source in _servers(mesh, service, port):
                    if _miss(tls.mode, mode) and tls not in seen:
                        seen.add(tls)
                        meta = policies.get(source)
                        related = (Related(meta.span, "what the servers obey"),) if meta else ()
                        ways = f"{_CLIENTS.get(tls.mode, 'speak their own TLS')}, and its servers take {_SERVERS[mode]}"
                        message = f"clients of {service.host} port {port.number} {ways}"
                        yield diagnostic("WFT0128", message, tls.span, resource=rule.meta.id, related=related)


def _policies(rule: DestinationRule) -> Iterator[TrafficPolicy]:
    if rule.policy is not None:
        yield rule.policy
    yield from (subset.policy.over(rule.policy) for subset in rule.subsets if subset.policy is not None)


def _servers(mesh: Mesh, service: MeshService, port: Port) -> Iterator[tuple[str, SourceRef]]:
    """The mode of each workload of a service on a port; the namespace's own where Git has no workload."""
    workloads = mesh.selected(service.namespace, service.selector)
    for workload in workloads:
        yield peer_mode(mesh, service.namespace, workload.labels, target_port(port, workload))
    if not workloads:
        yield peer_mode(mesh, service.namespace, (), port.target)


def _miss(client: str, server: str) -> bool:
    return server == DISABLE if client == ISTIO_MUTUAL else server == STRICT
