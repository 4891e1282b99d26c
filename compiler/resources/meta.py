"""What every resource says of itself, and the order between resources that compete."""

from __future__ import annotations

import msgspec

from compiler.diagnostic import ResourceId, Span
from compiler.kinds import KINDS
from compiler.node import Document, Mapping
from compiler.resources.cursor import Cursor, Labels, Positions
from policies.source import SourceRef

BY_DEFAULT = ("*", "by default")
"""``exportTo`` of a resource that says nothing of it: everybody, unless MeshConfig says otherwise. The second is the name of no namespace."""
DEFAULT_NAMESPACE = "default"
PRIORITY_ANNOTATION = "weft.dev/priority"
GATEWAY_API = "gateway.networking.k8s.io"
CLUSTER_SCOPED = frozenset(kind.name for kind in KINDS if kind.cluster_scoped)


class Meta(msgspec.Struct, frozen=True):
    """One resource's name, place and age. ``id.kind`` is the kind as diagnostics print it; ``source`` names the whole resource."""

    id: ResourceId
    source: SourceRef
    span: Span
    labels: Labels = ()
    annotations: Labels = ()
    created: str = ""
    priority: int = 0

    @property
    def namespace(self) -> str:
        """The namespace, ``default`` where the document names none."""
        return self.id.namespace

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.id.name

    @property
    def order(self) -> tuple[int, bool, str, str, str]:
        """Sorts competitors: higher priority annotation, then older creationTimestamp (written before unwritten), then namespace and name."""
        return -self.priority, not self.created, self.created, self.namespace, self.name

    def annotation(self, key: str) -> str:
        """One annotation's value, "" where absent."""
        return dict(self.annotations).get(key, "")


def kind_of(document: Document) -> str:
    """The kind as sources name it. Gateway API's Gateway bears its group, because Istio has a kind of the same name."""
    if document.kind == "Gateway" and document.api_version.startswith(GATEWAY_API):
        return f"Gateway.{GATEWAY_API}"
    return document.kind


def open_document(document: Document, positions: Positions) -> tuple[Meta, Cursor]:
    """A document's metadata and the cursor at its root; positions of named parts are added to ``positions``."""
    kind = kind_of(document)
    namespace = "" if document.kind in CLUSTER_SCOPED else document.namespace or DEFAULT_NAMESPACE
    root = Cursor(document.root, ResourceId(kind, namespace, document.name), positions)
    meta = root.at("metadata") or Cursor(Mapping({}, {}, document.root.span), root.owner, positions, "metadata")
    annotations = meta.labels("annotations")
    priority = dict(annotations).get(PRIORITY_ANNOTATION, "")
    name = meta.located("name")
    return Meta(
        id=root.owner,
        source=root.source(),
        span=name.span if name else document.root.span,
        labels=meta.labels("labels"),
        annotations=annotations,
        created=meta.text("creationTimestamp"),
        priority=int(priority) if priority.lstrip("-").isdigit() else 0,
    ), root
