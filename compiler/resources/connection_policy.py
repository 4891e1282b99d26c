"""ConnectionPolicy (weft/v1): what becomes of the open connections of some workloads when the policies over them change."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Labels, Positions
from compiler.resources.meta import Meta, open_document


class ConnectionPolicy(msgspec.Struct, frozen=True):
    """A ConnectionPolicy. ``selector`` is None for a whole namespace, or for the mesh in the root namespace; ``on_policy_change`` is ``keep``,
    ``revalidate`` or ``close``."""

    meta: Meta
    selector: Labels | None
    on_policy_change: str


def read_connection_policy(document: Document, positions: Positions) -> ConnectionPolicy:
    """A ConnectionPolicy document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root.empty("spec")
    selector = spec.at("selector")
    labels = selector.labels("matchLabels") if selector else ()
    return ConnectionPolicy(meta, labels or None, spec.text("onPolicyChange"))
