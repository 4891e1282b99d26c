"""What holds for every text: reading never fails but by a finding, positions are inside the file, and what was written is read back."""

from __future__ import annotations

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.documents import load_documents
from compiler.node import Mapping, Node, Plain, Sequence
from compiler.text import lines
from compiler.tree import MemoryTree
from compiler.yaml_file import read_yaml

FRAGMENTS = st.sampled_from(
    [
        *"abk:-?,[]{}&*!|>'\"%@`#~\n \t0.",
        "\n  ",
        "\n- ",
        ": ",
        "- ",
        "---\n",
        "...\n",
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "é",
        "\r\n",
        "|\n ",
    ]
)
TEXTS = st.lists(FRAGMENTS, max_size=40).map("".join)
# Line breaks that YAML has and JSON does not, and control characters, have no form that both read alike.
WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufeff"), max_size=8)
VALUES: st.SearchStrategy[Plain] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_any_text_gives_nodes_and_findings_inside_the_file(text: str) -> None:
    roots, found = read_yaml("a.yaml", text)
    rows = lines(text)
    for span in [item.span for item in found] + [node.span for root in roots for node in nodes(root)]:
        assert 1 <= span.line <= span.end_line <= len(rows) + 1
        assert 1 <= span.column <= len(rows[span.line - 1] if span.line <= len(rows) else "") + 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | TEXTS.map(str.encode))
def test_any_bytes_load_without_an_exception(content: bytes) -> None:
    load_documents(MemoryTree({"a.yaml": content}))


@settings(max_examples=150, deadline=None)
@given(VALUES, st.sampled_from([None, 1, 4]), st.booleans())
def test_what_a_writer_wrote_is_read_back(value: Plain, indent: int | None, flow: bool) -> None:
    # Quoted, because writers disagree with Kubernetes about which strings need it.
    for text in (
        json.dumps(value, indent=indent, ensure_ascii=False),
        yaml.safe_dump(value, default_flow_style=flow, default_style='"'),
    ):
        roots, _ = read_yaml("a.yaml", text)
        assert [root.plain() for root in roots] == [value]


def nodes(root: Node) -> list[Node]:
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting += (
            node.items if isinstance(node, Sequence) else node.entries.values() if isinstance(node, Mapping) else ()
        )
    return found
