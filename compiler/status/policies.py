"""The status of BackendTLSPolicies, one entry per Gateway that leads to a target; a target that no Gateway leads to answers for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from compiler.api_references import Verdict, authority_problem
from compiler.attachment import Standing
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor
from compiler.resources.gateway_api import ApiGateway, ObjectRef, object_ref
from compiler.resources.meta import GATEWAY_API, Meta
from compiler.resources.written import Written
from compiler.status.condition import CONTROLLER, ObjectStatus, ParentStatus, judged
from compiler.status.gateways import controller_of

Leading = Mapping[tuple[str, str], Sequence[ApiGateway]]
"""The Gateways whose routes lead to a Service, by its namespace and name."""
_SYSTEM = "System"


class _Target(msgspec.Struct, frozen=True):
    """What a policy is for: a Service, or one port of it by name."""

    ref: ObjectRef
    section: str


class BackendTls(msgspec.Struct, frozen=True):
    """A BackendTLSPolicy, as far as its status asks."""

    meta: Meta
    targets: tuple[_Target, ...]
    authorities: tuple[ObjectRef, ...]
    well_known: str


def read_backend_tls(document: Written) -> BackendTls:
    """A BackendTLSPolicy document; its references cannot leave its namespace."""
    namespace = document.meta.namespace
    validation = document.spec.at("validation") or document.spec.empty("validation")
    return BackendTls(
        meta=document.meta,
        targets=tuple(_target(item, namespace) for item in document.spec.each("targetRefs")),
        authorities=tuple(object_ref(item, namespace, kind="") for item in validation.each("caCertificateRefs")),
        well_known=validation.text("wellKnownCACertificates"),
    )


def policy_statuses(standing: Standing, leading: Leading) -> list[ObjectStatus]:
    """All BackendTLSPolicies, in order; of those with one target the first holds (creation, then name)."""
    taken: set[tuple[str, str, str]] = set()
    found = []
    for document in standing.mesh.written("BackendTLSPolicy"):
        policy = read_backend_tls(document)
        wanted = {(item.ref.namespace, item.ref.name, item.section) for item in policy.targets}
        found.append(_status(standing, policy, leading, conflicted=bool(wanted) and wanted <= taken))
        taken |= wanted
    return found


def _status(standing: Standing, policy: BackendTls, leading: Leading, *, conflicted: bool) -> ObjectStatus:
    mesh = standing.mesh
    unaccepted, unresolved = _authorities(standing, policy)
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


def _target(item: Cursor, namespace: str) -> _Target:
    return _Target(object_ref(item, namespace, kind=""), item.text("sectionName"))


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


def _authorities(standing: Standing, policy: BackendTls) -> tuple[Verdict | None, Verdict | None]:
    """Why backends cannot be proved at all, and what is wrong with a reference."""
    if policy.well_known:
        known = policy.well_known == _SYSTEM
        return None if known else Verdict("Invalid", f"{policy.well_known} is no well-known set of authorities"), None
    found = [
        authority_problem(standing.mesh, policy.meta, ref, "InvalidKind", complete=standing.complete)
        for ref in policy.authorities
    ]
    problems = [problem for problem in found if problem is not None]
    if not problems:
        return None, None
    none_left = len(problems) == len(found)
    return Verdict("NoValidCACertificate", problems[0].message) if none_left else None, problems[0]
