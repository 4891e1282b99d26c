"""What is fuzzed: each target takes one input and raises where weft breaks a promise that holds for every input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hypothesis import strategies as st

from compiler.carried import not_carried
from compiler.diagnostic import Diagnostic, Severity
from compiler.documents import load_documents, load_file
from compiler.examined import examine
from compiler.guardrails import Guards, load_guardrails
from compiler.pipeline import Compilation, check, compile_tree
from compiler.render import (
    Sources,
    render_github,
    render_gitlab,
    render_json,
    render_junit,
    render_sarif,
    render_text,
)
from compiler.resources.load import read_document
from compiler.schemas import validate
from compiler.text import lines
from compiler.tree import MemoryTree
from snapshot.index import assemble
from snapshot.prepared import prepare
from tests.fuzz import mutants
from tests.fuzz.seeds import Plain

CEL = (
    *("object", "resources", "object.spec", "object.metadata.name", "has(object.spec.http)", "size(resources)", "1", "0"),
    *("'a'", "true", "null", "[]", "{}", "1.5", "-9223372036854775808", "b'x'", "x", "object.spec.hosts[0]", "object[0]"),
)  # fmt: skip
CEL_FORMS = (
    *("({} == {})", "({} / {})", "({} % {})", "({} + {})", "({} in {})", "({} ? {} : false)", "({} && {})", "{}.matches({})"),
    *("{}.all(x, {})", "{}.filter(x, {})", "{}.exists_one(x, {})", "{}.map(x, {})", "{}[{}]", "size({}) > {}", "timestamp({}) < {}"),
)  # fmt: skip


class Target(NamedTuple):
    """Inputs, and what is done with each. ``run`` raises where a promise is broken."""

    inputs: Callable[[], st.SearchStrategy[Any]]
    run: Callable[[Any], None]


def load(content: bytes) -> None:
    """Bytes to documents, and every way in which findings are written."""
    tree = MemoryTree({"a.yaml": content})
    loaded = load_file("a.yaml", content)
    require_places(loaded.found, tree)
    examine("a.yaml", content, Guards(()))
    write(loaded.found, tree)


def map_schema(item: Plain) -> None:
    """One object to its findings, and to a resource where it is right."""
    tree = _tree([item])
    documents, found = load_documents(tree)
    for document in documents:
        wrong = validate(document)
        found += wrong or list(not_carried(document))
        if not any(one.severity is Severity.ERROR for one in wrong):
            read_document(document)
    require_places(found, tree)
    write(found, tree)


def link(items: Plain) -> None:
    """A mesh without the objects of the wrong shape, to slices that a proxy can prepare."""
    tree = _tree([item for item in _list(items) if not _misshapen(item)])
    compilation = compile_tree(tree, allow_partial=True)
    require_places(compilation.diagnostics, tree)
    prepare_slices(compilation)


def pipeline(items: Plain) -> None:
    """A mesh with whatever is wrong with it, as ``weft check`` and ``weft publish --allow-partial`` take it."""
    tree = _tree(_list(items))
    require_places(check(tree), tree)
    prepare_slices(compile_tree(tree, allow_partial=True))


def prepare_slices(compilation: Compilation) -> None:
    """Loads every slice as a proxy would: what compiles also loads, stand-ins for broken resources included."""
    if compilation.snapshot is not None:
        for entry in compilation.snapshot.index.slices:
            prepare(assemble(compilation.snapshot.digest, entry, compilation.snapshot.blobs))


def guard(case: tuple[Plain, Plain, list[str]]) -> None:
    """Guardrails of odd shapes and expressions, held against an object."""
    guardrail, item, expressions = case
    rules = [{"cel": text} for text in expressions]
    written = {"apiVersion": "weft/v1", "kind": "Guardrail", "metadata": {"name": "g"}}
    spec = {"message": "m", "rules": rules, "mesh": [{"cel": text} for text in expressions]}
    files = {"guardrails/a.json": json.dumps({**written, "spec": spec}).encode()}
    files["guardrails/b.json"] = json.dumps(guardrail).encode()
    tree = MemoryTree({"a.json": json.dumps(item).encode(), **files})
    guards, found = load_guardrails(tree)
    documents, _ = load_documents(tree)
    for document in documents:
        if not validate(document):
            found += Guards(guards).check(document)
    found += Guards(guards).check_mesh(documents)
    require_places(found, tree)


def require_places(found: Iterable[Diagnostic], tree: MemoryTree) -> None:
    """Raises AssertionError for a finding that does not stand inside its file."""
    texts = {
        name: lines(content.decode("utf-8-sig", "replace")) for name, content in (*tree.files(), *tree.guardrails())
    }
    for item in found:
        for span in (item.span, *(other.span for other in item.related)):
            rows = texts[span.file]
            assert 1 <= span.line <= span.end_line <= len(rows) + 1, item
            assert 1 <= span.column <= len(rows[span.line - 1] if span.line <= len(rows) else "") + 1, item
            assert (span.line, span.column) <= (span.end_line, span.end_column), item


def write(found: list[Diagnostic], tree: MemoryTree) -> None:
    """Renders findings in every format; raises where a format's own syntax is broken."""
    render_text(found, Sources(tree))
    render_github(found)
    render_junit(found, ["a.yaml"])
    for text in (render_json(found), render_sarif(found), render_gitlab(found)):
        json.loads(text)


def _misshapen(item: Plain) -> bool:
    documents, found = load_documents(_tree([item]))
    found += [one for document in documents for one in validate(document)]
    return any(one.severity is Severity.ERROR for one in found)


def _list(items: Plain) -> list[Plain]:
    return items if isinstance(items, list) else [items]


def _tree(items: list[Plain]) -> MemoryTree:
    return MemoryTree({f"{number}.json": json.dumps(item).encode() for number, item in enumerate(items)})


def _guarded() -> st.SearchStrategy[tuple[Plain, Plain, list[str]]]:
    expressions = st.recursive(
        st.sampled_from(CEL) | st.text(max_size=6),
        lambda inner: st.builds(
            lambda form, *parts: form.format(*parts, "x", "x"), st.sampled_from(CEL_FORMS), inner, inner
        ),
        max_leaves=6,
    )
    return st.tuples(mutants.guardrails(), mutants.singles(), st.lists(expressions, min_size=1, max_size=3))


TARGETS: dict[str, Target] = {
    "loader": Target(mutants.contents, load),
    "schema": Target(mutants.singles, map_schema),
    "linker": Target(mutants.several, link),
    "pipeline": Target(mutants.several, pipeline),
    "guardrails": Target(_guarded, guard),
}
