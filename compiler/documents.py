"""Files -> documents: every Kubernetes-shaped object of a tree, each with its positions.

A document is only recognised here, not judged: whether its fields are right is its schema's to say (compiler/schemas.py). What is
not an object at all is noted, what is nearly one is an error, and what cannot be read is an error at its position.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from compiler.catalog import diagnostic
from compiler.composer import MAX_FINDINGS
from compiler.diagnostic import Diagnostic, ResourceId, Span
from compiler.kinds import Kind, group_of, is_known, kind_of, meant_by, versions_of
from compiler.meshconfig import embedded_in
from compiler.node import Document, Mapping, Node, Scalar, Sequence, find
from compiler.text import NotTextError, decode, lines
from compiler.tree import GUARDRAILS, MAX_FILE_BYTES, Tree
from compiler.unread import Unread, broken_part, concerned
from compiler.yaml_file import MAX_FAULTS, YamlFile, read_yaml

SYNTAX = "WFT0001"


def load_documents(tree: Tree) -> tuple[list[Document], list[Diagnostic]]:
    """All documents of the kinds that weft reads, in the order of files and lines, and what could not be read.

    Documents with mistakes in their text (a duplicate key) are among them, so that their other mistakes are found in the same run.
    """
    loaded = [load_file(file, content) for file, content in tree.files()]
    found = [
        *tree.refusals(),
        *(item for one in loaded for item in one.found),
        *skipped_kinds(one.skipped for one in loaded),
    ]
    return [document for one in loaded for document in one.documents], found


Skipped: TypeAlias = "abc.Mapping[tuple[str, str], abc.Sequence[Span]]"
"""The objects of kinds that weft does not read, by apiVersion and kind."""


class LoadedFile(NamedTuple):
    """What one file holds. ``skipped`` are the objects of kinds that weft does not read, by apiVersion and kind; ``unread`` is what should
    be a document and cannot be used."""

    documents: list[Document]
    found: list[Diagnostic]
    skipped: dict[tuple[str, str], list[Span]]
    unread: list[Unread] = []  # noqa: RUF012  a NamedTuple's default; nobody changes it


def load_file(file: str, content: bytes) -> LoadedFile:
    """The documents of one file. It depends on the path and the content alone, so it may be kept for as long as they stay."""
    loading = _Loading()
    loading.load(file, content)
    return LoadedFile(loading.documents, loading.found, loading.skipped, loading.unread)


def skipped_kinds(files: Iterable[Skipped]) -> Iterator[Diagnostic]:
    """One note per kind that is not read, at its first object, and not one per object. Each of ``files`` is what one file skipped."""
    skipped: dict[tuple[str, str], list[Span]] = {}
    for one in files:
        for kind_and_version, spans in one.items():
            skipped.setdefault(kind_and_version, []).extend(spans)
    for (api_version, kind), spans in skipped.items():
        times = "one document" if len(spans) == 1 else f"{len(spans)} documents"
        message = f"weft does not read {kind} ({api_version}); {times} of this kind skipped"
        yield diagnostic("WFT0011", message, spans[0])


class _Loading:
    """Collects what one file holds."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.found: list[Diagnostic] = []
        self.skipped: dict[tuple[str, str], list[Span]] = {}
        self.unread: list[Unread] = []

    def load(self, file: str, content: bytes) -> None:
        text, yaml_file = read_file(file, content)
        self.found += yaml_file.diagnostics
        self.unread += _unread(text, yaml_file)
        others = []
        for root in yaml_file.roots:
            for node in _objects(root):
                if isinstance(node, Mapping) and _means_a_resource(node):
                    self._take(file, node, text)
                elif isinstance(node, Scalar):
                    self.found.append(_stray_value(node))
                elif isinstance(node, Mapping) and _is_trust_metadata(node):
                    continue
                else:
                    others.append(node)
        if others:
            number = f"{len(others)} documents of this file are" if len(others) > 1 else "the document is"
            message = f"{number} no resource (apiVersion, kind and metadata are missing); skipped"
            self.found.append(diagnostic("WFT0009", message, _head(others[0])))

    def _take(self, file: str, root: Mapping, text: str) -> None:
        document = _document(file, root)
        group, kind, api_version = group_of(document.api_version), document.kind, document.api_version
        lacks = [field for field in ("apiVersion", "kind") if not _text(root, (field,))]
        if lacks:
            self._refuse(document, *(_lacking(document, field) for field in lacks))
            return
        if embedded := embedded_in(document, text):
            for item in embedded:
                self.documents.append(item.document)
                self.found += item.diagnostics
        elif (api_version, kind) == ("weft/v1", "Guardrail"):
            message = f"guardrails are read from the folder `{GUARDRAILS}` alone"
            self.found.append(diagnostic("WFT0300", message, _at(root, "kind"), resource=id_of(document)))
        elif meant := None if is_known(group, kind) else meant_by(group, kind):
            self._refuse(document, _misspelt(document, meant))
        elif not is_known(group, kind):
            self.skipped.setdefault((api_version, kind), []).append(_at(root, "kind"))
        elif api_version not in versions_of(group, kind):
            message = f"{kind} has no version `{api_version}`; use {' or '.join(versions_of(group, kind))}"
            self._refuse(document, diagnostic("WFT0012", message, _at(root, "apiVersion"), resource=id_of(document)))
        elif not document.name and kind_of(api_version, kind).named:
            self._refuse(document, _lacking(document, "metadata.name"))
        else:
            self.documents.append(document)

    def _refuse(self, document: Document, *found: Diagnostic) -> None:
        """Takes note of what means a resource and is none."""
        self.found += found
        namespace = concerned(document.api_version, document.kind, document.namespace, document.name)
        self.unread += (Unread(item.span, namespace) for item in found)


def _unread(text: str, read: YamlFile) -> Iterator[Unread]:
    """The documents in which reading stopped. Where it may have stopped before the end of the file, nobody can tell what is lost."""
    faults = [item for item in read.diagnostics if item.code == SYNTAX]
    rows = lines(text) if faults else []
    yield from (broken_part(rows, item) for item in faults)
    if len(faults) >= MAX_FAULTS or len(read.diagnostics) >= MAX_FINDINGS:
        yield Unread(read.diagnostics[-1].span, None)


def read_file(file: str, content: bytes) -> tuple[str, YamlFile]:
    """The text of a file and what it holds; what cannot be read is a diagnostic, never an exception."""
    if len(content) > MAX_FILE_BYTES:
        message = f"the file is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB"
        return "", YamlFile([], [diagnostic("WFT0004", message, Span(file, 1, 1, 1, 1))])
    try:
        text = decode(file, content)
    except NotTextError as error:
        return "", YamlFile([], [diagnostic("WFT0003", str(error), error.span)])
    return text, read_yaml(file, text)


def _objects(root: Node) -> Iterator[Node]:
    """What stands for one object each: the root itself, or the items of a List. An empty document is none."""
    if isinstance(root, Scalar) and root.value is None:
        return
    items = find(root, ("items",))
    kind = find(root, ("kind",))
    if isinstance(items, Sequence) and isinstance(kind, Scalar) and str(kind.value).endswith("List"):
        for item in items:
            yield from _objects(item)
        return
    yield root


def _means_a_resource(root: Mapping) -> bool:
    """Whether somebody wrote this as a resource, if incompletely: other tools keep YAML in repositories too, some with an apiVersion."""
    return sum(field in root.key_spans for field in ("apiVersion", "kind", "metadata", "spec")) > 1


def id_of(document: Document) -> ResourceId:
    """Which resource a finding in this document is about; the namespace is as written."""
    return ResourceId(kind=document.kind, namespace=document.namespace, name=document.name)


def _is_trust_metadata(node: Mapping) -> bool:
    """A root of trust lies beside the configuration it is for, as `weft init` puts it; its shape is that of TUF's signed metadata."""
    return find(node, ("signatures",)) is not None and find(node, ("signed", "_type")) is not None


def _document(file: str, root: Mapping) -> Document:
    name = find(root, ("metadata", "name"))
    return Document(
        file=file,
        api_version=_text(root, ("apiVersion",)),
        kind=_text(root, ("kind",)),
        namespace=_text(root, ("metadata", "namespace")),
        # A name that is no string is there, if wrong: the schema says so.
        name=str(name.value) if isinstance(name, Scalar) else "",
        root=root,
    )


def _lacking(document: Document, field: str) -> Diagnostic:
    called = f"the {document.kind}" if document.kind else "the resource"
    if document.name:
        called = f"{called} `{document.name}`"
    metadata = find(document.root, ("metadata",))
    if field == "metadata.name" and isinstance(metadata, Mapping) and "generateName" in metadata.entries:
        message = f"{called} has metadata.generateName, a name that only a cluster knows; in Git it needs metadata.name"
        return diagnostic("WFT0010", message, metadata.key_spans["generateName"])
    return diagnostic("WFT0010", f"{called} has no {field}", _nearest(document.root, field))


def _misspelt(document: Document, meant: Kind) -> Diagnostic:
    field, wrong, right = "kind", document.kind, meant.name
    if document.kind == meant.name:
        field, wrong, right = "apiVersion", document.api_version, meant.api_versions[0]
    message = f"there is no {document.kind} in {document.api_version}; `{wrong}` was probably meant to be `{right}`"
    return diagnostic("WFT0014", message, _at(document.root, field), resource=id_of(document))


def _stray_value(node: Scalar) -> Diagnostic:
    text = str(node.value).strip()
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    return diagnostic("WFT0010", f"a document must be a mapping, not the single value `{shown}`", node.span)


def _text(root: Mapping, path: tuple[str, ...]) -> str:
    """A string field, or "" where it is absent or no string (which the schema then reports)."""
    node = find(root, path)
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else ""


def _nearest(root: Mapping, field: str) -> Span:
    """The field's own key where it is written, else its parent's, else the start of the object."""
    node: Node | None = root
    span = _head(root)
    for step in field.split("."):
        if not isinstance(node, Mapping) or step not in node.key_spans:
            break
        span = node.key_spans[step]
        node = node.entries.get(step)
    return span


def _at(mapping: Mapping, key: str) -> Span:
    node = mapping.get(key)
    return mapping.key_spans[key] if node is None else node.span


def _head(node: Node) -> Span:
    """The first line of a node: a whole document would be too much to underline."""
    span = node.span
    if isinstance(node, Mapping) and node.key_spans:
        return next(iter(node.key_spans.values()))
    return Span(span.file, span.line, span.column, span.line, span.column + 1)
