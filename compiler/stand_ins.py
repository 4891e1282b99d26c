"""What stands in the place of a broken resource when the rest of a mesh is published: something of the same scope that fails.

A broken resource must not be left out: without it requests would be routed, let in or encrypted by whatever holds in its absence. So each
kind has a stand-in that keeps the part that says *whom* the resource is about (hosts, gateways, selector), as far as that can be read, and
replaces the rest by a refusal: a VirtualService answers 503, an HTTPRoute 500, an AuthorizationPolicy denies, a PeerAuthentication asks for
mutual TLS, a Sidecar lets nothing out, a RateLimit lets one request a year pass, and the upstreams of a DestinationRule or a ServiceEntry
have no endpoint. Where whom it is about cannot be read, or where the kind has no such form (a Service, a workload, the settings of the
mesh), there is no stand-in and nothing can be published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from compiler.diagnostic import Diagnostic, Span
from compiler.mistakes import MAX_FINDINGS
from compiler.node import Document, Mapping, Node, Scalar, Sequence, find
from compiler.resources.meta import kind_of
from compiler.schemas import validate
from compiler.wording import nearest

NOWHERE = "nowhere.invalid"
"""A host that no mesh has (RFC 2606); connections to it are closed."""

Value: TypeAlias = "Node | str | int | list[Value] | dict[str, Value]"


class UnreadableScopeError(Exception):
    """Whom a broken resource is about cannot be told."""


class StandIns(msgspec.Struct, frozen=True):
    """The documents of a tree with stand-ins for the broken ones. ``places`` are the spans of what was replaced."""

    documents: list[Document]
    failing: frozenset[Document]
    places: tuple[Span, ...]


def stand_ins(documents: Iterable[Document], errors: Iterable[Diagnostic]) -> StandIns | None:
    """The documents with a stand-in for each that an error stands in, or None where some error has none."""
    made: list[Document] = []
    failing: list[Document] = []
    places: list[Span] = []
    left = list(errors)
    for document in documents:
        own = [item.span for item in left if _inside(item.span, document.root.span)]
        if not own:
            made.append(document)
            continue
        left = [item for item in left if not _inside(item.span, document.root.span)]
        # Of a document with so many findings not all errors are known.
        form = FORMS.get(kind_of(document)) if len(own) < MAX_FINDINGS else None
        try:
            replaced = None if form is None else _Broken(document, own).replaced(form)
        except UnreadableScopeError:
            replaced = None
        if replaced is None or validate(replaced):
            return None
        made.append(replaced)
        failing.append(replaced)
        places.append(document.root.span)
    return None if left else StandIns(made, frozenset(failing), tuple(places))


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

    def replaced(self, form: Callable[[_Broken], dict[str, Value]]) -> Document:
        """The stand-in, at the positions of what it stands for."""
        root, span = self.document.root, self.document.root.span
        entries = {key: root.entries[key] for key in ("apiVersion", "kind")}
        metadata = find(root, ("metadata",))
        names = metadata.entries if isinstance(metadata, Mapping) else {}
        named: dict[str, Value] = {key: names[key] for key in ("name", "namespace") if key in names}
        entries["metadata"] = metadata if metadata and self.is_clean(root, "metadata") else _node(named, span)
        entries["spec"] = _node(form(self), span)
        return msgspec.structs.replace(self.document, root=Mapping(entries, dict.fromkeys(entries, span), span))

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
    nothing: Value = [{"hosts": ["~/*"]}]
    policy: Value = {"mode": "REGISTRY_ONLY"}
    return {**broken.optional("workloadSelector"), "egress": nothing, "outboundTrafficPolicy": policy}


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
}
"""Kind, as sources name it, to the ``spec`` of its stand-in."""


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
