"""What others need to know of one document without opening it: enough to say whom it concerns, and to tell two states of it apart.

An outline follows from its document alone, so it is kept with its file. Namespaces of the mesh are put together from outlines
(compiler/inventory.py); a document is opened, and its resource read, only where something is to be checked or linked anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from compiler.diagnostic import ResourceId, Span
from compiler.hosts import full_host
from compiler.node import Document
from compiler.resources.api_route import ROUTE_KINDS, ParentRef, read_api_route
from compiler.resources.cursor import Labels
from compiler.resources.destination_rule import DestinationRule
from compiler.resources.gateway import Gateway
from compiler.resources.gateway_api import ApiGateway, ApiListener, ListenerSet
from compiler.resources.kubernetes import Namespace, Service, Workload
from compiler.resources.load import Read, Resource
from compiler.resources.meta import GATEWAY_API, kind_of
from compiler.resources.service_entry import ServiceEntry
from compiler.resources.virtual_service import MESH, VirtualService, targets_of
from compiler.resources.written import Written, written
from snapshot.encode import encode

Place = tuple[str, str]
"""A namespace and a name in it."""

API_GATEWAY = f"Gateway.{GATEWAY_API}"
"""How sources name the Gateway of Gateway API."""
DECLARING = ("Service", "ServiceEntry")
"""Kinds that declare hosts."""
WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


class Facts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whom a resource concerns. Hosts are complete and lower-case.

    ``hosts`` are those that it declares or rules, ``leads`` those that it sends requests to or is an alias of. ``labels`` are a workload's pods', a
    Namespace's own and a Gateway's selector. ``parents`` of a route are kind and namespace of what it attaches to; ``refs`` are the
    Services behind a route, a VirtualService's delegates, and the Secrets and ConfigMaps of listeners. ``traits`` say what only a few have.
    """

    exports: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    labels: Labels = ()
    parents: tuple[tuple[str, str], ...] = ()
    refs: tuple[Place, ...] = ()
    traits: tuple[str, ...] = ()


ADDRESSED = "addressed"
"""A workload whose address Git knows."""
AT_GATEWAY = "at a gateway"
"""A VirtualService that some gateway obeys."""
ASKS_CLAIMS = "asks claims"
"""A VirtualService that routes by the claims of a token."""
SETS_TLS = "sets TLS"
"""A DestinationRule that says what clients speak."""
BUDGETS_RETRIES = "budgets retries"
"""A DestinationRule with a retry budget."""
CONTROL_PLANE = "control plane"
"""A workload that is Istio's own control plane."""

_NO_FACTS = Facts()


class Outline(msgspec.Struct, frozen=True, array_like=True, eq=False, gc=False):
    """One document of a file: its ``number`` there, its name, its place among competitors and its facts.

    ``digest`` tells two states of its resource and positions apart, ``content`` two states of what it says, wherever that stands; both are
    empty for kinds that are no resource. ``fails`` marks a stand-in (compiler/stand_ins.py).
    """

    number: int
    kind: str
    namespace: str
    name: str
    span: Span
    priority: int
    created: str
    digest: bytes
    content: bytes = b""
    fails: bool = False
    facts: Facts = _NO_FACTS

    @property
    def id(self) -> ResourceId:
        """What diagnostics call it."""
        return ResourceId(self.kind, self.namespace, self.name)

    @property
    def home(self) -> str:
        """The namespace that it is a part of."""
        return home_of(self.id)

    @property
    def order(self) -> tuple[int, bool, str, str, str]:
        """Its place among competitors, as ``Meta.order`` has it."""
        return -self.priority, not self.created, self.created, self.namespace, self.name


def home_of(named: ResourceId) -> str:
    """The namespace that a resource is a part of: a Namespace's is itself, "" is that of other kinds without one."""
    return named.name if named.kind == "Namespace" else named.namespace


def outline(document: Document, number: int, read: Read | None, *, fails: bool = False) -> Outline:
    """The outline of a schema-valid document and what was read of it."""
    opened = written(document) if read is None or read.resource.meta is None else None
    meta = opened.meta if opened is not None else read.resource.meta if read is not None else None
    assert meta is not None
    resource = read.resource if read is not None else None
    return Outline(
        number=number,
        kind=kind_of(document),
        namespace=meta.namespace,
        name=meta.name,
        span=meta.span,
        priority=meta.priority,
        created=meta.created,
        digest=read.digest if read is not None else b"",
        content=_content(document, read, fails=fails) if read is not None else b"",
        fails=fails,
        facts=_facts(document, resource),
    )


def _content(document: Document, read: Read, *, fails: bool) -> bytes:
    try:
        return hashlib.sha256(encode([kind_of(document), fails, document.plain()])).digest()
    except (OverflowError, UnicodeEncodeError):
        # A number or a text that cannot be written down: any change counts.
        return read.digest


def _facts(document: Document, resource: Resource | None) -> Facts:
    kind = kind_of(document)
    match resource:
        case Service():
            host = full_host(resource.meta.name, resource.meta.namespace)
            alias = (resource.external_name,) if resource.external_name else ()
            return Facts(exports=resource.export_to, hosts=(host,), leads=alias)
        case ServiceEntry():
            return Facts(exports=resource.export_to, hosts=tuple(host.value.lower() for host in resource.hosts))
        case VirtualService():
            return _virtual_service(document, resource)
        case DestinationRule():
            return _destination_rule(written(document), resource)
        case Workload():
            return _workload(kind, resource)
        case Namespace():
            return Facts(labels=resource.meta.labels)
        case Gateway():
            return Facts(labels=resource.selector)
        case ListenerSet():
            parent = resource.parent
            return Facts(parents=((parent.kind, parent.namespace),), refs=_certificates(resource.listeners))
        case ApiGateway():
            authorities = [ref for validation in resource.validations for ref in validation.authorities]
            named = [*authorities, *([resource.client_certificate] if resource.client_certificate else ())]
            held = tuple(dict.fromkeys((ref.namespace, ref.name) for ref in named))
            return Facts(refs=(*_certificates(resource.listeners), *held))
    if kind == "Sidecar":
        return _sidecar(written(document))
    if kind in ROUTE_KINDS:
        return _route(written(document))
    return _webhooks(written(document)) if kind in WEBHOOKS else _NO_FACTS


def _virtual_service(document: Document, item: VirtualService) -> Facts:
    namespace = item.meta.namespace
    # Two rules for the same short name at one gateway meet there, whatever the name is short for.
    hosts = [name for host in item.hosts for name in (full_host(host.value, namespace), host.value.lower())]
    targets = [*targets_of(item), *(mirror.target for rule in item.http for mirror in rule.mirrors)]
    traits = [AT_GATEWAY] if any(gateway.value != MESH for gateway in item.gateways) else []
    if _asks_claims(document):
        traits.append(ASKS_CLAIMS)
    return Facts(
        exports=item.export_to,
        hosts=tuple(dict.fromkeys(hosts)),
        leads=tuple(dict.fromkeys(full_host(target.host.value, namespace) for target in targets)),
        refs=tuple((rule.delegate.namespace, rule.delegate.name) for rule in item.http if rule.delegate),
        traits=tuple(traits),
    )


def _destination_rule(document: Written, item: DestinationRule) -> Facts:
    policies = [item.policy, *(subset.policy for subset in item.subsets)]
    traits = []
    if any(policy.tls or any(own.tls for _, own in policy.ports) for policy in policies if policy is not None):
        traits.append(SETS_TLS)
    written_policies = (owner.at("trafficPolicy") for owner in (document.spec, *document.spec.each("subsets")))
    if any(policy is not None and policy.has("retryBudget") for policy in written_policies):
        traits.append(BUDGETS_RETRIES)
    host = full_host(item.host.value, item.meta.namespace)
    return Facts(exports=item.export_to, hosts=(host,), traits=tuple(traits))


def _asks_claims(document: Document) -> bool:
    matches = (match for rule in written(document).spec.each("http") for match in rule.each("match"))
    headers = (match.at(field) for match in matches for field in ("headers", "withoutHeaders"))
    return any(name.startswith("@request.auth") for item in headers if item for name in item.node.key_spans)


def _workload(kind: str, item: Workload) -> Facts:
    traits = [ADDRESSED] if item.address else []
    if kind == "Deployment" and ("app", "istiod") in item.meta.labels:
        traits.append(CONTROL_PLANE)
    return Facts(labels=item.labels, traits=tuple(traits))


def _sidecar(item: Written) -> Facts:
    outbound = item.spec.at("outboundTrafficPolicy")
    proxy = outbound.at("egressProxy") if outbound else None
    return Facts(leads=(full_host(proxy.text("host"), item.meta.namespace),)) if proxy else _NO_FACTS


def _route(item: Written) -> Facts:
    route = read_api_route(item.meta, item.spec)
    services = [backend.target for backend in route.backends] + [parent.target for parent in _services(route.parents)]
    return Facts(
        leads=tuple(dict.fromkeys(full_host(target.name, target.namespace) for target in services)),
        parents=tuple(dict.fromkeys((parent.target.kind, parent.target.namespace) for parent in route.parents)),
        refs=tuple(dict.fromkeys((backend.target.namespace, backend.target.name) for backend in route.backends)),
    )


def _services(parents: Iterable[ParentRef]) -> list[ParentRef]:
    return [parent for parent in parents if parent.target.kind == "Service"]


def _certificates(listeners: Iterable[ApiListener]) -> tuple[Place, ...]:
    return tuple(dict.fromkeys((ref.namespace, ref.name) for item in listeners for ref in item.certificates))


def _webhooks(item: Written) -> Facts:
    hosts = []
    for hook in item.root.each("webhooks"):
        client = hook.at("clientConfig")
        service = client.at("service") if client else None
        if service is not None:
            hosts.append(full_host(service.text("name"), service.text("namespace")))
    return Facts(leads=tuple(dict.fromkeys(hosts)))
