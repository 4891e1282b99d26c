"""References of Gateway API objects: which may be followed, and the specification's reason for each that may not.

A tree rarely holds its Secrets and ConfigMaps, so one that it lacks is taken to exist elsewhere, unless the tree is said to be complete.
"""

from __future__ import annotations

import msgspec

from compiler.mesh import Mesh
from compiler.resources.api_route import Attachable
from compiler.resources.gateway_api import ObjectRef
from compiler.resources.meta import GATEWAY_API, Meta
from compiler.resources.written import held_data

_CERTIFICATE_BEGINS = b"-----BEGIN CERTIFICATE-----"
_TRANSPORTS = {"UDPRoute": "UDP"}


class Verdict(msgspec.Struct, frozen=True):
    """Why something is refused: the reason that Gateway API's condition names, and a sentence for people."""

    reason: str
    message: str


def certificate_problem(
    mesh: Mesh, owner: Meta, ref: ObjectRef, invalid: str = "InvalidCertificateRef", *, complete: bool = False
) -> Verdict | None:
    """Why a Gateway or ListenerSet must not use a certificate; ``invalid`` is the reason for all but a missing grant."""
    if (ref.group, ref.kind) != ("", "Secret"):
        return Verdict(invalid, f"certificateRefs must name a Secret, not {ref.kind}")
    refused = _not_granted(mesh, owner, ref)
    if refused is not None:
        return refused
    held = mesh.secrets.get((ref.namespace, ref.name))
    if held is None:
        return Verdict(invalid, f"Secret {ref.namespace}/{ref.name} does not exist") if complete else None
    if not held.broken:
        return None
    return Verdict(invalid, f"Secret {ref.namespace}/{ref.name} holds no certificate and key (tls.crt and tls.key)")


def authority_problem(
    mesh: Mesh, owner: Meta, ref: ObjectRef, invalid_kind: str = "InvalidCACertificateKind", *, complete: bool = False
) -> Verdict | None:
    """Why certificate authorities must not be taken from where a reference points: a ConfigMap or a Secret with a ``ca.crt``."""
    if ref.group != "" or ref.kind not in ("ConfigMap", "Secret"):
        return Verdict(invalid_kind, f"caCertificateRefs must name a ConfigMap or a Secret, not {ref.kind}")
    refused = _not_granted(mesh, owner, ref)
    if refused is not None:
        return refused
    name = f"{ref.kind} {ref.namespace}/{ref.name}"
    held = mesh.authority_holders.get((ref.kind, ref.namespace, ref.name))
    if held is None:
        return Verdict("InvalidCACertificateRef", f"{name} does not exist") if complete else None
    if not any(held.root.has(key) for key in ("data", "stringData", "binaryData")):
        return None
    if _CERTIFICATE_BEGINS in held_data(held, ("ca.crt", "cacert")):
        return None
    return Verdict("InvalidCACertificateRef", f"{name} holds no certificate in ca.crt")


def backend_problem(mesh: Mesh, route: Attachable, target: ObjectRef, port: int) -> Verdict | None:
    """Why a backendRef must not be followed: HTTP requests for it are answered 500, connections are closed, datagrams dropped."""
    kind = route.meta.id.kind
    if (target.group, target.kind) != ("", "Service"):
        return Verdict("InvalidKind", f"backendRefs must name a Service, not {target.kind}")
    name = f"Service {target.namespace}/{target.name}"
    # In the mesh a route may lead to where its own parent Service is: its clients could go there without it (GAMMA's consumer routes).
    beside_parent = any(
        (parent.target.kind, parent.target.namespace) == ("Service", target.namespace) for parent in route.parents
    )
    if not beside_parent and not mesh.granted(kind, route.meta.namespace, target):
        return Verdict("RefNotPermitted", f"no ReferenceGrant lets {kind}s of {route.meta.namespace} use {name}")
    ports = mesh.service_ports.get((target.namespace, target.name))
    if ports is None:
        return Verdict("BackendNotFound", f"{name} does not exist")
    transport = _TRANSPORTS.get(kind, "TCP")
    known = ", ".join(str(number) for number, protocol in sorted(ports) if protocol == transport) or "none"
    if not port:
        return Verdict("BackendNotFound", f"a backendRef to a Service needs a port; {target.name} has {known}")
    if (port, transport) not in ports:
        which = "UDP port" if transport == "UDP" else "port"
        return Verdict("BackendNotFound", f"{name} has no {which} {port}; it has {known}")
    return None


def _not_granted(mesh: Mesh, owner: Meta, ref: ObjectRef) -> Verdict | None:
    kind = owner.id.kind.removesuffix(f".{GATEWAY_API}")
    if mesh.granted(kind, owner.namespace, ref):
        return None
    name = f"{ref.kind} {ref.namespace}/{ref.name}"
    return Verdict("RefNotPermitted", f"no ReferenceGrant lets {kind}s of {owner.namespace} use {name}")
