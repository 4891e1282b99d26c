"""MeshConfig and MeshNetworks, wherever they are written, as documents.

Istio keeps them as texts inside a ConfigMap called ``istio`` (keys ``mesh`` and ``meshNetworks``); weft also reads them as documents of
their own (``apiVersion: weft/v1``, ``kind: MeshConfig``). Both come out as the second form, and positions in a text are those of the file.
"""

from __future__ import annotations

from typing import NamedTuple

from compiler.catalog import diagnostic
from compiler.composer import Place
from compiler.diagnostic import Diagnostic, Span
from compiler.node import Document, Mapping, Node, Scalar, find
from compiler.text import lines
from compiler.yaml_file import read_yaml

API_VERSION = "weft/v1"
KINDS_BY_KEY = {"mesh": "MeshConfig", "meshNetworks": "MeshNetworks"}


class EmbeddedDocument(NamedTuple):
    """A document that a ConfigMap holds as a text, in weft's form, and what was wrong with the text."""

    document: Document
    diagnostics: list[Diagnostic]


def embedded_in(document: Document, text: str) -> list[EmbeddedDocument]:
    """What the ConfigMap ``istio`` holds; nothing of every other document. ``text`` is the whole file."""
    if (document.api_version, document.kind, document.name) != ("v1", "ConfigMap", "istio"):
        return []
    embedded = []
    for key, kind in KINDS_BY_KEY.items():
        value = find(document.root, ("data", key))
        if isinstance(value, Scalar) and isinstance(value.value, str):
            spec, found = _embedded(document.file, value, text, kind)
            embedded.append(EmbeddedDocument(_as_document(document, value, spec, kind), found))
    return embedded


def _embedded(file: str, scalar: Scalar, text: str, kind: str) -> tuple[Mapping, list[Diagnostic]]:
    """Reads YAML inside a scalar. Where it is a literal block its lines are the file's, so positions are exact; else they are the scalar's."""
    assert isinstance(scalar.value, str)
    block = _literal_block(scalar, text)
    if block is None:
        roots, found = read_yaml(file, scalar.value, place=Place(file, within=scalar.span))
    else:
        body, column = block
        roots, found = read_yaml(file, body, place=Place(file, scalar.span.line, column))
    roots = [root for root in roots if not (isinstance(root, Scalar) and root.value is None)]
    empty = Mapping({}, {}, scalar.span)
    if not roots:
        return empty, found
    root = roots[0]
    if len(roots) > 1 or not isinstance(root, Mapping):
        message = f"the {kind} must be one mapping"
        return empty, [*found, diagnostic("IST0106", message, _start(roots[-1].span))]
    return root, found


def _literal_block(scalar: Scalar, text: str) -> tuple[str, int] | None:
    """The block's lines without their indentation, and how wide that was; None where the scalar is not written as a literal block."""
    rows = lines(text)[scalar.span.line : scalar.span.end_line]
    first = next((row for row in rows if row.strip()), "")
    column = len(first) - len(first.lstrip(" "))
    body = "\n".join(row[column:] for row in rows)
    if column == 0 or body.rstrip() != str(scalar.value).rstrip():
        rows = rows[:-1]
        body = "\n".join(row[column:] for row in rows)
        if column == 0 or body.rstrip() != str(scalar.value).rstrip():
            return None
    return body, column


def _as_document(config_map: Document, text: Scalar, spec: Mapping, kind: str) -> Document:
    start = _start(text.span)
    entries: dict[str, Node] = {
        "apiVersion": Scalar(API_VERSION, start),
        "kind": Scalar(kind, start),
        "spec": spec,
    }
    spans = dict.fromkeys(entries, start)
    metadata = find(config_map.root, ("metadata",))
    if metadata is not None:
        entries["metadata"] = metadata
        spans["metadata"] = metadata.span
    return Document(
        file=config_map.file,
        api_version=API_VERSION,
        kind=kind,
        namespace=config_map.namespace,
        name=config_map.name,
        root=Mapping(entries, spans, spec.span),
    )


def _start(span: Span) -> Span:
    return Span(span.file, span.line, span.column, span.line, span.column + 1)
