"""What stands in the place of a broken resource when the rest of a mesh is published: something of the same scope that fails.

A broken resource must not be left out: without it requests would be routed, let in or encrypted by whatever holds in its absence. So each
kind has a stand-in that keeps the part that says *whom* the resource is about (hosts, gateways, selector), as far as that can be read, and
replaces the rest by a refusal: a VirtualService answers 503, an HTTPRoute 500, an AuthorizationPolicy denies, a PeerAuthentication asks for
mutual TLS, a Sidecar lets nothing out, a RateLimit lets one request a year pass, the upstreams of a DestinationRule, a ServiceEntry or a
Service have no endpoint, and a workload's proxy lets nobody in or out.

Where whom it is about cannot be read, or where a document is no YAML at all, its namespace is closed: everything in it is replaced by a
stand-in, nobody is let in, and its proxies know no host. Other namespaces go on. Only what may concern all of them forbids a publication
altogether: the settings of the mesh, the root namespace, kinds without a namespace, and a text of which not even the namespace can be told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from compiler.diagnostic import Diagnostic, Span
from compiler.mistakes import MAX_FINDINGS
from compiler.node import Document, Mapping, Node, Scalar, Sequence, find
from compiler.resources.load import READERS
from compiler.resources.meta import CLUSTER_SCOPED, DEFAULT_NAMESPACE, GATEWAY_API, kind_of
from compiler.schemas import validate
from compiler.unread import Unread
from compiler.wording import nearest

NOWHERE = "nowhere.invalid"
"""A host that no mesh has (RFC 2606); connections to it are closed."""

Value: TypeAlias = "Node | str | int | list[Value] | dict[str, Value]"


class UnreadableScopeError(Exception):
    """Whom a broken resource is about cannot be told."""


class StandIns(msgspec.Struct, frozen=True):
    """The documents of a file with stand-ins for the broken ones. ``places`` are the spans of what was replaced or left out.

    ``closed`` are the namespaces of which something cannot be read at all: nobody can tell what it was about, so they fail as a whole.
    """

    documents: list[Document]
    failing: frozenset[Document]
    places: tuple[Span, ...]
    closed: frozenset[str] = frozenset()


def stand_ins(
    documents: Iterable[Document],
    errors: Iterable[Diagnostic],
    unread: Iterable[Unread] = (),
    *,
    closing: frozenset[str] = frozenset(),
) -> StandIns | None:
    """The documents with a stand-in for each that an error stands in, and for each in the namespaces that are ``closing``.

    None where an error may concern every namespace.
    """
    replacing = _Replacing(closing)
    left = list(errors)
    for document in documents:
        own = [item.span for item in left if _inside(item.span, document.root.span)]
        left = [item for item in left if not _inside(item.span, document.root.span)]
        if not replacing.take(document, own):
            return None
    known = {item.span: item.namespace for item in unread}
    for item in left:
        namespace = known.get(item.span)
        if namespace is None:
            return None
        replacing.lose(namespace, item.span)
    # Where reading stopped for good, what was not read is nobody's.
    return None if None in known.values() else replacing.finish()


class _Replacing:
    """Collects the stand-ins of one file."""

    def __init__(self, closing: frozenset[str]) -> None:
        self._closing = closing
        self._made: list[Document] = []
        self._failing: list[Document] = []
        self._places: list[Span] = []
        self._closed: dict[str, Span] = {}

    def take(self, document: Document, errors: list[Span]) -> bool:
        """Takes a document or its stand-in; False where it is broken and may concern every namespace."""
        kind = kind_of(document)
        namespace = "" if document.kind in CLUSTER_SCOPED else document.namespace or DEFAULT_NAMESPACE
        if not errors and namespace not in self._closing:
            self._made.append(document)
            return True
        replaced = _replaced(document, errors)
        if replaced is not None:
            self._made.append(replaced)
            self._failing.append(replaced)
            self._places.append(document.root.span)
        elif not errors:
            self._made.append(document)
        elif kind not in READERS:
            # Nothing that a proxy does follows from it.
            self._places.append(document.root.span)
        elif not namespace:
            return False
        else:
            self.lose(namespace, document.root.span)
        return True

    def lose(self, namespace: str, place: Span) -> None:
        """Something of a namespace is not there; "" is nobody's."""
        self._places.append(place)
        if namespace:
            self._closed.setdefault(namespace, place)

    def finish(self) -> StandIns:
        """What was collected; of closing namespaces what closes them stands where they lost something."""
        for namespace in self._closed.keys() & self._closing:
            for document in closing_documents(namespace, self._closed[namespace]):
                self._made.append(document)
                self._failing.append(document)
        return StandIns(self._made, frozenset(self._failing), tuple(self._places), frozenset(self._closed))


def closing_documents(namespace: str, place: Span) -> list[Document]:
    """What holds for all of a namespace that is closed: nobody is let in, and its proxies know no host."""
    name = f"closed-{hashlib.sha256(f'{place.file}:{place.line}'.encode()).hexdigest()[:12]}"
    deny: Value = {"action": "DENY", "rules": [{}]}
    kinds = (
        ("security.istio.io/v1", "AuthorizationPolicy", deny),
        ("networking.istio.io/v1", "Sidecar", _KNOWS_NOBODY),
    )
    made = []
    for api_version, kind, spec in kinds:
        metadata: Value = {"name": name, "namespace": namespace}
        root = _node({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}, place)
        assert isinstance(root, Mapping)
        made.append(
            Document(file=place.file, api_version=api_version, kind=kind, namespace=namespace, name=name, root=root)
        )
    return made


def _replaced(document: Document, errors: list[Span]) -> Document | None:
    """The stand-in of one document, None where there is none."""
    kind = kind_of(document)
    form = FORMS.get(kind)
    # Of a document with so many findings not all errors are known.
    if len(errors) >= MAX_FINDINGS or (form is None and kind not in WHOLE):
        return None
    broken = _Broken(document, errors)
    try:
        replaced = broken.replaced(form) if form is not None else broken.whole(WHOLE[kind])
    except UnreadableScopeError:
        return None
    return None if validate(replaced) else replaced


def is_within(finding: Diagnostic, places: Iterable[Span]) -> bool:
    """Whether a finding is about something that a stand-in has replaced at one of these places."""
    return any(_inside(finding.span, place) for place in places)


class _Broken:
    """One broken document: its ``spec``, and which parts of it no error stands in."""

    def __init__(self, document: Document, errors: list[Span]) -> None:
        self.document = document
        self._errors = errors
        self._starts = {(error.line, error.column) for error in errors}
        spec = find(document.root, ("spec",))
        self.spec = spec if isinstance(spec, Mapping) else Mapping({}, {}, document.root.span)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong with it: it is replaced because its namespace is closed."""
        return not self._errors

    def replaced(self, form: Callable[[_Broken], dict[str, Value]]) -> Document:
        """The stand-in, at the positions of what it stands for."""
        return self.whole({"spec": form(self)})

    def whole(self, body: dict[str, Value]) -> Document:
        """A stand-in of a kind whose fields stand beside its metadata."""
        root, span = self.document.root, self.document.root.span
        entries = {key: root.entries[key] for key in ("apiVersion", "kind")}
        entries["metadata"] = self._metadata(root, span)
        entries |= {key: _node(value, span) for key, value in body.items()}
        return msgspec.structs.replace(self.document, root=Mapping(entries, dict.fromkeys(entries, span), span))

    def _metadata(self, root: Mapping, span: Span) -> Node:
        """The metadata, or of broken ones what names the resource; a Pod's labels are whom it is about."""
        metadata = root.entries.get("metadata")
        if not isinstance(metadata, Mapping):
            raise UnreadableScopeError("metadata")
        if self.is_clean(root, "metadata"):
            return metadata
        named: dict[str, Value] = {
            key: metadata.entries[key] for key in ("name", "namespace") if key in metadata.entries
        }
        if not all(self.is_clean(metadata, key) for key in named):
            raise UnreadableScopeError("metadata")
        labels = self.kept("labels", within=metadata) if self.document.kind in _LABELLED else None
        return _node(named if labels is None else {**named, "labels": labels}, span)

    def is_clean(self, mapping: Mapping, key: str) -> bool:
        """Whether no error stands at a key or in its value."""
        places = (
            mapping.key_spans[key],
            mapping.entries[key].span if key in mapping.entries else mapping.key_spans[key],
        )
        return not any(_inside(error, place) for error in self._errors for place in places)

    def kept(self, field: str, *, within: Mapping | None = None) -> Node | None:
        """A field that is about the scope, None where it is not written; raises UnreadableScopeError where it is wrong, or may be misspelt."""
        mapping = self.spec if within is None else within
        if field in mapping.entries:
            if not self.is_clean(mapping, field):
                raise UnreadableScopeError(field)
            return mapping.entries[field]
        wrong = (key for key, span in mapping.key_spans.items() if (span.line, span.column) in self._starts)
        if any(nearest(key, [field]) for key in wrong):
            raise UnreadableScopeError(field)
        return None

    def needed(self, field: str, *, within: Mapping | None = None) -> Node:
        """A field that is about the scope and must be there; raises UnreadableScopeError."""
        node = self.kept(field, within=within)
        if node is None:
            raise UnreadableScopeError(field)
        return node

    def either(self, field: str) -> dict[str, Value]:
        """A field that narrows the scope, left out where it is wrong: the refusal then reaches further than the resource did."""
        return (
            {field: self.spec.entries[field]} if field in self.spec.entries and self.is_clean(self.spec, field) else {}
        )

    def optional(self, *fields: str) -> dict[str, Value]:
        """Those of the fields that are written; raises UnreadableScopeError where one is wrong."""
        held = {field: self.kept(field) for field in fields}
        return {field: node for field, node in held.items() if node is not None}

    def items(self, field: str) -> list[Mapping]:
        """The entries of a list; raises UnreadableScopeError where it is none."""
        node = self.spec.entries.get(field)
        if not isinstance(node, Sequence) or not all(isinstance(item, Mapping) for item in node):
            raise UnreadableScopeError(field)
        return [item for item in node if isinstance(item, Mapping)]


def _virtual_service(broken: _Broken) -> dict[str, Value]:
    """503 for what its matches take; for its hosts altogether where the matches cannot be read and no other VirtualService can share them."""
    hosts = broken.needed("hosts")
    scope = broken.optional("gateways")
    refusal: dict[str, Value] = {"directResponse": {"status": 503}}
    http: list[Value] = []
    try:
        for rule in broken.items("http"):
            match = broken.kept("match", within=rule)
            http.append(refusal if match is None else {"match": match, **refusal})
    except UnreadableScopeError:
        if _names(scope.get("gateways")) - {"mesh"}:
            raise
        http = [refusal]
    route: Value = [{"destination": {"host": NOWHERE}}]
    connections: dict[str, Value] = {
        "tcp": [{"route": route}],
        "tls": [{"match": [{"sniHosts": hosts}], "route": route}],
    }
    return {"hosts": hosts, **scope, **broken.either("exportTo"), "http": http, **connections}


def _destination_rule(broken: _Broken) -> dict[str, Value]:
    subsets: list[Value] = []
    for subset in broken.items("subsets") if "subsets" in broken.spec.entries else ():
        if "name" in subset.entries and broken.is_clean(subset, "name"):
            subsets.append({"name": subset.entries["name"]})
    return {"host": broken.needed("host"), **broken.either("exportTo"), **({"subsets": subsets} if subsets else {})}


def _service_entry(broken: _Broken) -> dict[str, Value]:
    scope: dict[str, Value] = {"hosts": broken.needed("hosts"), "ports": broken.needed("ports")}
    scope |= broken.optional("addresses", "location") | broken.either("exportTo")
    return {**scope, "resolution": "STATIC"}


def _gateway(broken: _Broken) -> dict[str, Value]:
    servers: list[Value] = []
    for server in broken.items("servers"):
        kept: dict[str, Value] = {field: broken.needed(field, within=server) for field in ("port", "hosts")}
        tls = broken.kept("tls", within=server)
        servers.append(kept if tls is None else {**kept, "tls": tls})
    return {"selector": broken.needed("selector"), "servers": servers}


def _authorization_policy(broken: _Broken) -> dict[str, Value]:
    """Denies whatever the policy is about, and the whole namespace where that cannot be read: it must not let in by mistake."""
    scope = next((found for field in _SELECTORS if (found := broken.either(field))), {})
    return {**scope, "action": "DENY", "rules": [{}]}


def _peer_authentication(broken: _Broken) -> dict[str, Value]:
    return {**broken.optional("selector"), "mtls": {"mode": "STRICT"}}


def _sidecar(broken: _Broken) -> dict[str, Value]:
    return {**broken.optional("workloadSelector"), **_KNOWS_NOBODY}


def _http_route(broken: _Broken) -> dict[str, Value]:
    """A rule without backends answers 500, and keeps what it takes."""
    rules: list[Value] = []
    for rule in broken.items("rules"):
        matches = broken.kept("matches", within=rule)
        rules.append({} if matches is None else {"matches": matches})
    return {"parentRefs": broken.needed("parentRefs"), **broken.optional("hostnames"), "rules": rules}


def _connection_route(broken: _Broken) -> dict[str, Value]:
    """Its connections are closed, because its backend does not exist."""
    rules: Value = [{"backendRefs": [{"name": "nowhere", "port": 1}]}]
    return {"parentRefs": broken.needed("parentRefs"), **broken.optional("hostnames"), "rules": rules}


def _rate_limit(broken: _Broken) -> dict[str, Value]:
    """One request a year for all that it limits: what limits are meant to protect is not left open."""
    return {"targetRefs": broken.needed("targetRefs"), "limits": [{"requests": 1, "per": "8760h"}]}


def _service(broken: _Broken) -> dict[str, Value]:
    """The ports that can be read, so that clients' listeners stay, and nothing behind them: a workload must not be reached by a protocol that
    was not meant, past policies that read another. ``fails`` says the rest (compiler/resources/load.py).
    """
    if broken.is_whole:
        return dict(broken.spec.entries)
    written = broken.spec.entries.get("ports")
    ports: list[Value] = []
    for index, port in enumerate(written if isinstance(written, Sequence) else ()):
        if isinstance(port, Mapping) and "port" in port.entries and broken.is_clean(port, "port"):
            kept = (
                key for key in ("name", "port", "appProtocol") if key in port.entries and broken.is_clean(port, key)
            )
            ports.append({"name": f"port-{index}", **{key: port.entries[key] for key in kept}})
    return {"ports": ports} if ports else {}


def _workload(broken: _Broken) -> dict[str, Value]:
    """Its labels and its account say which proxy it is; ``fails`` closes that (compiler/resources/load.py)."""
    template = broken.spec.entries.get("template")
    if not isinstance(template, Mapping):
        raise UnreadableScopeError("template")
    return {"selector": {}, "template": _pod_template(broken, template)}


def _cron_job(broken: _Broken) -> dict[str, Value]:
    place: Node | None = find(broken.spec, ("jobTemplate", "spec", "template"))
    if not isinstance(place, Mapping):
        raise UnreadableScopeError("jobTemplate")
    return {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": _pod_template(broken, place)}}}


def _pod(broken: _Broken) -> dict[str, Value]:
    return {**_account(broken, broken.spec), "containers": _CONTAINERS}


def _pod_template(broken: _Broken, template: Mapping) -> dict[str, Value]:
    metadata, spec = template.entries.get("metadata"), template.entries.get("spec")
    kept: dict[str, Value] = {}
    if isinstance(metadata, Mapping):
        labels = broken.kept("labels", within=metadata)
        kept = {} if labels is None else {"labels": labels}
    account = _account(broken, spec) if isinstance(spec, Mapping) else {}
    return {"metadata": kept, "spec": {**account, "containers": _CONTAINERS}}


def _account(broken: _Broken, spec: Mapping) -> dict[str, Value]:
    held = {field: broken.kept(field, within=spec) for field in ("serviceAccountName", "serviceAccount")}
    return {field: node for field, node in held.items() if node is not None}


def _workload_entry(broken: _Broken) -> dict[str, Value]:
    """At no address: no endpoint of any service."""
    return {"address": NOWHERE, **broken.either("labels")}


def _workload_group(broken: _Broken) -> dict[str, Value]:
    """Its labels and its account say which proxies it is for; ``fails`` closes those."""
    template = broken.spec.entries.get("template")
    if not isinstance(template, Mapping):
        raise UnreadableScopeError("template")
    kept = {field: broken.kept(field, within=template) for field in ("labels", "serviceAccount")}
    metadata = broken.kept("metadata")
    return {
        "template": {field: node for field, node in kept.items() if node is not None},
        **({"metadata": metadata} if metadata is not None else {}),
    }


def _api_gateway(broken: _Broken) -> dict[str, Value]:
    """Its listeners stay, and no route may attach to them: 404, or a closed connection."""
    nobody: Value = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"weft.invalid/nobody": "nobody"}}}}
    listeners: list[Value] = []
    for listener in broken.items("listeners"):
        kept: dict[str, Value] = {
            field: broken.needed(field, within=listener) for field in ("name", "port", "protocol")
        }
        held = {field: broken.kept(field, within=listener) for field in ("hostname", "tls")}
        kept |= {field: node for field, node in held.items() if node is not None}
        listeners.append({**kept, "allowedRoutes": nobody})
    return {"gatewayClassName": broken.needed("gatewayClassName"), "listeners": listeners}


def _reference_grant(_: _Broken) -> dict[str, Value]:
    """Grants nothing to anybody."""
    return {
        "from": [{"group": NOWHERE, "kind": "Nobody", "namespace": "nowhere"}],
        "to": [{"group": NOWHERE, "kind": "Nothing"}],
    }


def _nothing(_: _Broken) -> dict[str, Value]:
    return {}


_KNOWS_NOBODY: dict[str, Value] = {"egress": [{"hosts": ["~/*"]}], "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}
_LABELLED = frozenset({"Pod", "EndpointSlice"})
"""Kinds whose own labels say whom they are about."""
_CONTAINERS: Value = [{"name": "broken", "image": "broken"}]
_SELECTORS = ("selector", "targetRefs", "targetRef")
FORMS: dict[str, Callable[[_Broken], dict[str, Value]]] = {
    "VirtualService": _virtual_service,
    "DestinationRule": _destination_rule,
    "ServiceEntry": _service_entry,
    "Gateway": _gateway,
    "AuthorizationPolicy": _authorization_policy,
    "PeerAuthentication": _peer_authentication,
    **dict.fromkeys(("HTTPRoute", "GRPCRoute"), _http_route),
    "Sidecar": _sidecar,
    "RateLimit": _rate_limit,
    **dict.fromkeys(("TLSRoute", "TCPRoute"), _connection_route),
    "Service": _service,
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "Job"), _workload),
    "CronJob": _cron_job,
    "Pod": _pod,
    "WorkloadEntry": _workload_entry,
    "WorkloadGroup": _workload_group,
    f"Gateway.{GATEWAY_API}": _api_gateway,
    "ReferenceGrant": _reference_grant,
    "Namespace": _nothing,
}
"""Kind, as sources name it, to the ``spec`` of its stand-in."""

WHOLE: dict[str, dict[str, Value]] = {
    "ServiceAccount": {},
    "Secret": {"type": "Opaque"},
    "Endpoints": {},
    "EndpointSlice": {"addressType": "IPv4", "endpoints": []},
}
"""Kinds without a ``spec``, and what their stand-ins hold: no certificate, no endpoint."""


def _names(node: Any) -> set[object]:
    return {item.value for item in node if isinstance(item, Scalar)} if isinstance(node, Sequence) else set()


def _node(value: Value, span: Span) -> Node:
    match value:
        case dict():
            return Mapping({key: _node(item, span) for key, item in value.items()}, dict.fromkeys(value, span), span)
        case list():
            return Sequence([_node(item, span) for item in value], span)
        case str() | int():
            return Scalar(value, span)
    return value


def _inside(inner: Span, outer: Span) -> bool:
    """Whether a span starts within another."""
    at, start, end = (inner.line, inner.column), (outer.line, outer.column), (outer.end_line, outer.end_column)
    return inner.file == outer.file and (start <= at < end or start == at)
