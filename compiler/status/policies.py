"""The status of BackendTLSPolicies, one entry per Gateway that leads to a target; a target that no Gateway leads to answers for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compiler.api_references import Verdict
from compiler.attachment import Standing
from compiler.backend_policies import backend_authorities
from compiler.mesh import Mesh
from compiler.resources.backend_tls import BackendTls
from compiler.resources.gateway_api import ApiGateway
from compiler.resources.meta import GATEWAY_API
from compiler.status.condition import CONTROLLER, ObjectStatus, ParentStatus, judged
from compiler.status.gateways import controller_of

Leading = Mapping[tuple[str, str], Sequence[ApiGateway]]
"""The Gateways whose routes lead to a Service, by its namespace and name."""


def policy_statuses(standing: Standing, leading: Leading) -> list[ObjectStatus]:
    """All BackendTLSPolicies, in order; of those with one target the first holds (creation, then name)."""
    taken: set[tuple[str, str, str]] = set()
    found = []
    for policy in standing.mesh.backend_policies:
        wanted = {(item.ref.namespace, item.ref.name, item.section) for item in policy.targets}
        found.append(_status(standing, policy, leading, conflicted=bool(wanted) and wanted <= taken))
        taken |= wanted
    return found


def _status(standing: Standing, policy: BackendTls, leading: Leading, *, conflicted: bool) -> ObjectStatus:
    mesh = standing.mesh
    unaccepted, unresolved = backend_authorities(mesh, policy, complete=standing.complete)
    problem = _target_problem(mesh, policy) or (
        Verdict("Conflicted", "an earlier policy has the same target") if conflicted else unaccepted
    )
    conditions = (
        judged("Accepted", problem, "Accepted", "the policy is accepted"),
        judged("ResolvedRefs", unresolved, "ResolvedRefs", "all references lead somewhere"),
    )
    ancestors: dict[tuple[tuple[str, str], ...], str] = {}
    for target in policy.targets:
        gateways = leading.get((target.ref.namespace, target.ref.name), ())
        for gateway in gateways:
            named = (
                ("group", GATEWAY_API),
                ("kind", "Gateway"),
                ("namespace", gateway.meta.namespace),
                ("name", gateway.meta.name),
            )
            ancestors[named] = controller_of(mesh, gateway, CONTROLLER)
        if not gateways:
            ref = target.ref
            ancestors[("group", ref.group), ("kind", ref.kind), ("name", ref.name)] = CONTROLLER
    entries = tuple(ParentStatus(reference, controller, conditions) for reference, controller in ancestors.items())
    return ObjectStatus(policy.meta, "BackendTLSPolicy", ancestors=entries)


def _target_problem(mesh: Mesh, policy: BackendTls) -> Verdict | None:
    for target in policy.targets:
        ref = target.ref
        if (ref.group, ref.kind) != ("", "Service"):
            return Verdict("Invalid", f"targetRefs must name a Service, not {ref.kind}")
        service = mesh.kubernetes_service(ref.namespace, ref.name)
        if service is None:
            return Verdict("TargetNotFound", f"Service {ref.namespace}/{ref.name} does not exist")
        if target.section and target.section not in {port.name for port in service.ports}:
            return Verdict("TargetNotFound", f"Service {ref.namespace}/{ref.name} has no port named {target.section}")
    return None
