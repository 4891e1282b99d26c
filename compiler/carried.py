"""What a document sets and this version does not carry yet: nothing is accepted and ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from compiler.carried_annotations import annotated_config
from compiler.carried_leaves import CARRIED_KEYS, KINDS_NOT_CARRIED, REFUSED, REFUSED_VALUES
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, ResourceId, Span
from compiler.envoy_patches import answer_patches
from compiler.node import Document, Mapping, Node, Scalar, Sequence
from compiler.resources.meta import CLUSTER_SCOPED, DEFAULT_NAMESPACE, kind_of
from compiler.resources.proxy_config import ANNOTATION

NOT_CARRIED = "WFT0200"
ITEMS, VALUES = "[]", "{}"
DEFAULT_CONFIG = "spec.defaultConfig"
_STEP = re.compile(r"[^.\[\]{}]+|\[\]|\{\}")


class Branch:
    """One step of the refused paths of a kind. ``refused`` covers everything below; ``values`` are refused of a scalar here. A step for one key
    of a map is asked before that for all keys."""

    __slots__ = ("refused", "steps", "values")

    def __init__(self) -> None:
        self.steps: dict[str, Branch] = {}
        self.refused = False
        self.values: frozenset[str] = frozenset()

    def grow(self, path: str) -> Branch:
        """The branch at the end of a path, made where it is not there."""
        branch = self
        for step in _STEP.findall(path):
            branch = branch.steps.setdefault(step, Branch())
        return branch


@cache
def _tree(kind: str) -> Branch:
    root = Branch()
    for path in REFUSED.get(kind, ()):
        root.grow(path).refused = True
    for path, values in REFUSED_VALUES.get(kind, {}).items():
        root.grow(path).values = values
    for path, keys in CARRIED_KEYS.get(kind, {}).items():
        entries = root.grow(path)
        entries.steps = {VALUES: Branch(), **{key: Branch() for key in keys}}
        entries.steps[VALUES].refused = True
    return root


def not_carried(document: Document) -> Iterator[Diagnostic]:
    """One warning per part of a document that link would not consume, at its key."""
    kind = kind_of(document)
    namespace = "" if document.kind in CLUSTER_SCOPED else document.namespace or DEFAULT_NAMESPACE
    resource = ResourceId(kind, namespace, document.name)
    if kind == "EnvoyFilter":
        yield from answer_patches(document, _is_refused, NOT_CARRIED, resource)
        return
    found = list(_walk(document.root, _tree(kind), "", document.root.span))
    said = annotated_config(document)
    if said is not None:
        found += _walk(said, _tree("MeshConfig").grow(DEFAULT_CONFIG), ANNOTATION, said.span)
    for path, span, value in found:
        # A kind of which nothing is carried refuses its whole spec; its name then says more than the path.
        shown = f"`{path}: {value}`" if value else f"a `{document.kind}`" if path == "spec" else f"`{path}`"
        yield diagnostic(
            NOT_CARRIED, f"{shown} is valid, but this version does not carry it yet", span, resource=resource
        )


def _is_refused(kind: str, path: str) -> bool:
    """Whether a path of a kind, or everything above it, is not carried."""
    whole = kind in KINDS_NOT_CARRIED
    return whole or any(path == one or path.startswith(f"{one}.") for one in REFUSED.get(kind, ()))


def _walk(node: Node, branch: Branch, path: str, span: Span) -> Iterator[tuple[str, Span, str]]:
    if branch.refused:
        if not (isinstance(node, Scalar) and node.value is None):
            yield path, span, ""
        return
    match node:
        case Scalar():
            if isinstance(node.value, str) and node.value in branch.values:
                yield path, node.span, node.value
        case Sequence():
            inner = branch.steps.get(ITEMS)
            if inner is not None:
                for index, item in enumerate(node):
                    yield from _walk(item, inner, f"{path}[{index}]", item.span)
        case Mapping():
            for key, value in node.entries.items():
                inner = branch.steps.get(key) or branch.steps.get(VALUES)
                if inner is not None:
                    yield from _walk(
                        value, inner, f"{path}.{key}" if path else key, node.key_spans.get(key, value.span)
                    )
