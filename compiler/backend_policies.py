"""Which BackendTLSPolicy holds for a port of a Service, and what is wrong with one: the answer for link and status."""

from __future__ import annotations

from compiler.api_references import Verdict, authority_problem
from compiler.mesh import Mesh, MeshService
from compiler.resources.backend_tls import SYSTEM, BackendTls
from compiler.resources.kubernetes import Port, Service


def backend_policy(mesh: Mesh, service: MeshService, port: Port) -> BackendTls | None:
    """The policy of a port: one that names the port before one that is for all of them; of equal ones the first in order."""
    if not isinstance(service.origin, Service):
        return None
    place = ("", "Service", service.namespace, service.meta.name)
    found: dict[str, BackendTls] = {}
    for policy in mesh.backend_policies:
        for target in policy.targets:
            ref = target.ref
            if (ref.group, ref.kind, ref.namespace, ref.name) == place:
                found.setdefault(target.section, policy)
    return (found.get(port.name) if port.name else None) or found.get("")


def backend_authorities(
    mesh: Mesh, policy: BackendTls, *, complete: bool = False
) -> tuple[Verdict | None, Verdict | None]:
    """Why backends cannot be proved at all, and what is wrong with a reference. ``complete`` is as for references."""
    if policy.well_known:
        known = policy.well_known == SYSTEM
        return None if known else Verdict("Invalid", f"{policy.well_known} is no well-known set of authorities"), None
    found = [authority_problem(mesh, policy.meta, ref, "InvalidKind", complete=complete) for ref in policy.authorities]
    problems = [problem for problem in found if problem is not None]
    if not problems:
        return None, None
    none_left = len(problems) == len(found)
    return Verdict("NoValidCACertificate", problems[0].message) if none_left else None, problems[0]


def authority_slot(mesh: Mesh, policy: BackendTls) -> str:
    """The slot of the authorities that prove a policy's back ends: of the first reference that may be followed; "" is the machine's own."""
    if policy.well_known:
        return ""
    usable = (ref for ref in policy.authorities if authority_problem(mesh, policy.meta, ref, "InvalidKind") is None)
    ref = next(usable, None)
    return f"{ref.namespace}/{ref.name}" if ref else ""
