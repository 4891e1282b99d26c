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
from collections.abc import Iterable

import msgspec

from compiler.broken import Broken, UnreadableScopeError, Value, node_of, starts_within
from compiler.diagnostic import Diagnostic, Span
from compiler.mistakes import MAX_FINDINGS
from compiler.node import Document, Mapping
from compiler.resources.load import READERS
from compiler.resources.meta import CLUSTER_SCOPED, DEFAULT_NAMESPACE, kind_of
from compiler.schemas import validate
from compiler.stand_in_forms import FORMS, KNOWS_NOBODY, WHOLE
from compiler.unread import Unread


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
        own = [item.span for item in left if starts_within(item.span, document.root.span)]
        left = [item for item in left if not starts_within(item.span, document.root.span)]
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
        ("networking.istio.io/v1", "Sidecar", KNOWS_NOBODY),
    )
    made = []
    for api_version, kind, spec in kinds:
        metadata: Value = {"name": name, "namespace": namespace}
        root = node_of({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}, place)
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
    broken = Broken(document, errors)
    try:
        replaced = broken.replaced(form) if form is not None else broken.whole(WHOLE[kind])
    except UnreadableScopeError:
        return None
    return None if validate(replaced) else replaced


def is_within(finding: Diagnostic, places: Iterable[Span]) -> bool:
    """Whether a finding is about something that a stand-in has replaced at one of these places."""
    return any(starts_within(finding.span, place) for place in places)
