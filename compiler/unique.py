"""Lists whose items must differ in certain fields, which JSON Schema cannot say.

A schema marks such a list with ``x-unique``: sets of fields, each of which may occur once. A field that an item lacks counts as
absent, and two absences are equal, except where all fields of a set are absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, ResourceId, Span
from compiler.mistakes import Path, dotted, where
from compiler.node import Document, Mapping, Node, Scalar, Sequence

Schema = dict[str, Any]


def check_unique(document: Document, schema: Schema) -> list[Diagnostic]:
    """The items of a valid document that repeat another."""
    about = ResourceId(kind=document.kind, namespace=document.namespace, name=document.name)
    found = []
    for path, items, fields in _marked(schema, schema, document.root, ()):
        for index, first, values in _repeated(items, fields):
            span, earlier = _place(document, (*path, index), fields), _place(document, (*path, first), fields)
            what = " and ".join(f"{name} `{value}`" for name, value in values)
            message = f"{dotted(path)}: a second entry has the {what}"
            related = (Related(span=earlier, message="the first one"),)
            found.append(
                diagnostic(
                    "IST0106", message, span, resource=about, related=related, help="Change or remove one of the two."
                )
            )
    return found


def _marked(root: Schema, schema: Schema, node: Node, path: Path) -> Iterator[tuple[Path, Sequence, list[str]]]:
    """The marked lists of a document, once for each set of fields."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if isinstance(node, Sequence):
        for fields in schema.get("x-unique", ()):
            yield path, node, fields
        for index, item in enumerate(node):
            if "items" in schema:
                yield from _marked(root, schema["items"], item, (*path, index))
    elif isinstance(node, Mapping):
        inner = schema.get("properties", {})
        for name, value in node.entries.items():
            if name in inner and not isinstance(value, Scalar):
                yield from _marked(root, inner[name], value, (*path, name))


def _repeated(items: Sequence, fields: list[str]) -> Iterator[tuple[int, int, list[tuple[str, object]]]]:
    seen: dict[tuple[object, ...], int] = {}
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            continue
        values = tuple(node.value if isinstance(node := item.get(name), Scalar) else None for name in fields)
        if all(value is None for value in values):
            continue
        if values in seen:
            yield (
                index,
                seen[values],
                [(name, value) for name, value in zip(fields, values, strict=True) if value is not None],
            )
        else:
            seen[values] = index


def _place(document: Document, path: Path, fields: list[str]) -> Span:
    return where(document, (*path, fields[0]))
