"""YAML to positioned nodes: every position is where an editor would put the cursor, and no input costs more than it is worth."""

from __future__ import annotations

import textwrap
import time

import pytest

from compiler.composer import MAX_DEPTH, MAX_FINDINGS, MAX_NODES, Place
from compiler.diagnostic import Span
from compiler.node import Mapping, Node, Plain, Scalar, Sequence, find
from compiler.yaml_file import MAX_FAULTS, read_yaml


def read(text: str) -> Node:
    roots, found = read_yaml("a.yaml", text)
    assert found == []
    assert len(roots) == 1
    return roots[0]


def faults(text: str) -> list[tuple[str, int, int]]:
    return [(item.code, item.span.line, item.span.column) for item in read_yaml("a.yaml", text).diagnostics]


def at(span: Span) -> tuple[int, int, int, int]:
    return span.line, span.column, span.end_line, span.end_column


def cut(text: str, span: Span) -> str:
    """The text that a span within one line covers."""
    assert span.line == span.end_line
    return text.splitlines()[span.line - 1][span.column - 1 : span.end_column - 1]


STYLES = textwrap.dedent("""\
    # a comment
    spec:
      hosts: [reviews, "ratings"]
      http:
      - match:
        - uri: {prefix: /a, 'regex': "b c"}
      -   route:
            - weight: 80
      note: |
        text
        more
      ünï: ok
      empty:
    """)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("spec",), "spec"),
        (("spec", "hosts"), "hosts"),
        (("spec", "http", 0, "match"), "match"),
        (("spec", "http", 0, "match", 0, "uri"), "uri"),
        (("spec", "http", 0, "match", 0, "uri", "prefix"), "prefix"),
        (("spec", "http", 0, "match", 0, "uri", "regex"), "'regex'"),
        (("spec", "http", 1, "route", 0, "weight"), "weight"),
        (("spec", "note"), "note"),
        (("spec", "ünï"), "ünï"),
        (("spec", "empty"), "empty"),
    ],
)
def test_a_key_stands_where_it_is_written(path: tuple[str | int, ...], key: str) -> None:
    parent = find(read(STYLES), path[:-1])
    assert isinstance(parent, Mapping)
    assert cut(STYLES, parent.key_spans[str(path[-1])]) == key


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("spec", "hosts", 0), "reviews"),
        (("spec", "hosts", 1), '"ratings"'),
        (("spec", "hosts"), '[reviews, "ratings"]'),
        (("spec", "http", 0, "match", 0, "uri"), "{prefix: /a, 'regex': \"b c\"}"),
        (("spec", "http", 0, "match", 0, "uri", "regex"), '"b c"'),
        (("spec", "http", 1, "route", 0, "weight"), "80"),
        (("spec", "ünï"), "ok"),
    ],
)
def test_a_value_covers_what_is_written(path: tuple[str | int, ...], text: str) -> None:
    node = find(read(STYLES), path)
    assert node is not None
    assert cut(STYLES, node.span) == text


def test_a_block_ends_with_its_last_value_and_not_at_the_next_key() -> None:
    root = read("a:\n  b: 1\n  c:\n  - x\n  - yy\nd: 2\n")
    inner, items = find(root, ("a",)), find(root, ("a", "c"))
    assert inner is not None
    assert items is not None
    assert at(inner.span) == (2, 3, 5, 7)
    assert at(items.span) == (4, 3, 5, 7)


def test_a_literal_block_starts_at_its_indicator() -> None:
    node = find(read(STYLES), ("spec", "note"))
    assert isinstance(node, Scalar)
    assert node.value == "text\nmore\n"
    assert at(node.span) == (9, 9, 12, 1)


def test_a_key_without_value_counts_as_absent_and_is_known_where_it_stands() -> None:
    spec = find(read(STYLES), ("spec",))
    assert isinstance(spec, Mapping)
    assert spec.get("empty") is None
    assert at(spec.key_spans["empty"]) == (13, 3, 13, 8)
    assert "empty" not in spec.plain()


def test_columns_count_characters_and_lines_count_every_yaml_break() -> None:
    root = read("a: 'é😀' \r\nb: {é: 1}\rc: 2\n")
    assert at(find(root, ("a",)).span) == (1, 4, 1, 8)  # type: ignore[union-attr]
    assert at(find(root, ("b", "é")).span) == (2, 8, 2, 9)  # type: ignore[union-attr]
    assert at(find(root, ("c",)).span) == (3, 4, 3, 5)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("p: &p {b: 1, c: 2}\nq: {<<: *p, c: 3}\n", {"p": {"b": 1, "c": 2}, "q": {"c": 3, "b": 1}}),
        ("x: &x {b: 1}\nw: &w {b: 2, d: 4}\nz: {<<: [*x, *w]}\n", {"z": {"b": 1, "d": 4}}),
        ("? a\n: 1\n? 80\n: 2\n", {"a": 1, "80": 2}),
        ("true: 1\n", {"true": 1}),
        ('{"a": [1, 2.0, "3"], "b": null, "c": {}}', {"a": [1, 2, "3"], "c": {}}),
        ("a: '<<'\n'<<': 1\n", {"a": "<<", "<<": 1}),
        ("&k a: 1\nb: *k\n", {"a": 1, "b": "a"}),
    ],
)
def test_what_yaml_can_say_reads_as_kubernetes_reads_it(text: str, plain: Plain) -> None:
    got = read(text).plain()
    assert isinstance(got, dict)
    assert isinstance(plain, dict)
    assert {key: got.get(key) for key in plain} == plain


@pytest.mark.parametrize(
    ("text", "faults_at"),
    [
        ("a: [1\nb: 2\n", [("WFT0001", 2, 2)]),
        ("a: b: c\n", [("WFT0001", 1, 5)]),
        ("a:\n\tb: 1\n", [("WFT0001", 2, 1)]),
        ("a: 'open\n", [("WFT0001", 2, 1)]),
        ("%YAML 3.0\n---\na: 1\n", [("WFT0001", 1, 1)]),
        ("a: 1\nb: 2\na: 3\n", [("WFT0002", 3, 1)]),
        ("a: {b: 1, 'b': 2}\n", [("WFT0002", 1, 11)]),
        ("a:\na: 1\n", [("WFT0002", 2, 1)]),
        ("a: *nobody\n", [("WFT0006", 1, 4)]),
        ("a: &a [*a]\n", [("WFT0006", 1, 8)]),
        ("a: !vault x\n", [("WFT0006", 1, 4)]),
        ("a: !set {x, z}\n", [("WFT0006", 1, 4)]),
        ("a: .nan\n", [("WFT0006", 1, 4)]),
        ("{a: 1}: b\n", [("WFT0006", 1, 1)]),
        ("a: {<<: 1}\n", [("WFT0006", 1, 9)]),
        ("~: 1\n", [("WFT0006", 1, 1)]),
    ],
)
def test_a_mistake_of_the_text_is_found_where_it_is(text: str, faults_at: list[tuple[str, int, int]]) -> None:
    assert faults(text) == faults_at


def test_a_key_that_becomes_a_boolean_is_warned_of() -> None:
    roots, found = read_yaml("a.yaml", "y: 1\n'on': 2\n")
    assert roots[0].plain() == {"true": 1, "on": 2}
    assert [(item.code, item.severity.name, item.span.line) for item in found] == [("WFT0013", "WARNING", 1)]


def test_a_duplicate_key_points_at_the_first_and_keeps_its_value() -> None:
    roots, found = read_yaml("a.yaml", "spec:\n  hosts: [a]\n  hosts: [b]\n")
    assert [at(other.span)[:2] for other in found[0].related] == [(2, 3)]
    assert roots[0].plain() == {"spec": {"hosts": ["a"]}}


def test_a_broken_document_does_not_hide_the_others() -> None:
    text = "a: 1\n---\nb: [\n---\nc: 3\n--- \nd: d: d\n---\ne: 5\n"
    roots, found = read_yaml("a.yaml", text)
    assert [root.plain() for root in roots] == [{"a": 1}, {"c": 3}, {"e": 5}]
    assert [(item.code, item.span.line) for item in found] == [("WFT0001", 4), ("WFT0001", 7)]
    assert [root.span.line for root in roots] == [1, 5, 9]


def test_a_file_of_broken_documents_is_given_up_after_a_while() -> None:
    assert len(read_yaml("a.yaml", "---\n]\n" * 1000).diagnostics) == MAX_FAULTS


def test_a_file_has_a_bounded_number_of_findings() -> None:
    started = time.process_time()
    assert len(read_yaml("a.yaml", "a: 1\n" * 1_000_000).diagnostics) == MAX_FINDINGS
    assert len(read_yaml("a.yaml", f"[{'.nan,' * 100_000}]").diagnostics) == MAX_FINDINGS
    assert time.process_time() - started < 2


def test_a_tab_and_a_template_get_their_own_advice() -> None:
    tab = read_yaml("a.yaml", "a:\n\tb: 1\n").diagnostics[0]
    template = read_yaml("a.yaml", "a: {{ .Values.name }}-x\n").diagnostics[0]
    assert "tabs" in tab.help
    assert "template" in template.help


@pytest.mark.parametrize(
    "opening", ["[", "{a: ", "- ", "[{a: ", "? "], ids=["flow list", "flow map", "list", "both", "key"]
)
def test_a_hundred_thousand_levels_are_refused_at_once(opening: str) -> None:
    started = time.process_time()
    found = read_yaml("a.yaml", opening * 100_000).diagnostics
    assert [item.code for item in found[:1]] in (["WFT0005"], ["WFT0006"])
    assert time.process_time() - started < 2


def test_the_deepest_document_that_is_allowed_is_read() -> None:
    assert faults("[" * MAX_DEPTH + "]" * MAX_DEPTH) == []
    assert faults("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) == [("WFT0005", 1, MAX_DEPTH + 1)]


def test_aliases_may_not_nest_deeper_than_what_is_written() -> None:
    half = MAX_DEPTH // 2 + 1
    text = f"a: &a {'[' * half}{']' * half}\nb: {'[' * half}*a{']' * half}\n"
    assert [fault[0] for fault in faults(text)] == ["WFT0005"]


def test_a_bomb_of_aliases_is_refused_before_it_expands() -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    started = time.process_time()
    found = faults("\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]", *levels]))
    assert [code for code, _, _ in found] == ["WFT0005"]
    assert time.process_time() - started < 1


def test_a_document_with_too_many_values_ends_its_file() -> None:
    text = f"[{'a,' * (MAX_NODES + 1)}]\n---\nb: 1\n"
    roots, found = read_yaml("a.yaml", text)
    assert roots == []
    assert [item.code for item in found] == ["WFT0005"]


def test_values_count_over_all_documents_of_a_file() -> None:
    half = "- " + "[" + "a," * (MAX_NODES // 2) + "]\n"
    assert [item.code for item in read_yaml("a.yaml", f"{half}---\n{half}").diagnostics] == ["WFT0005"]


def test_values_before_a_broken_document_count_too() -> None:
    half = "- " + "[" + "a," * (MAX_NODES // 2) + "]\n"
    found = read_yaml("a.yaml", f"{half}---\n]\n---\n{half}").diagnostics
    assert [item.code for item in found] == ["WFT0001", "WFT0005"]


def test_a_text_inside_a_file_has_the_positions_of_the_file() -> None:
    roots, found = read_yaml("a.yaml", "b: 1\nb: 2\n", place=Place("a.yaml", lines=7, columns=4))
    assert at(roots[0].span) == (8, 5, 9, 9)
    assert at(found[0].span) == (9, 5, 9, 6)


def test_an_empty_file_and_comments_hold_no_document() -> None:
    assert read_yaml("a.yaml", "").roots == []
    assert read_yaml("a.yaml", "# nothing\n").roots == []
    assert isinstance(read("[]"), Sequence)
