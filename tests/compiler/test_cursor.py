"""Reading positioned nodes: defaults where a document is silent, positions where it speaks."""

from __future__ import annotations

import pytest

from compiler.diagnostic import ResourceId
from compiler.documents import load_documents
from compiler.resources.cursor import Cursor, Positions, duration_ms
from compiler.tree import MemoryTree
from policies.source import Position, SourceRef

TEXT = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, labels: {b: '2', a: '1'}}
spec:
  nothing: null
  items:
  - {name: one, number: 80, flag: true}
  - {name: two, texts: [a, 1, true]}
"""


@pytest.fixture
def spec() -> Cursor:
    (document,), _ = load_documents(MemoryTree({"a.yaml": TEXT.encode()}))
    positions: Positions = {}
    found = Cursor(document.root, ResourceId("VirtualService", "default", "v"), positions).at("spec")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7s", 7000),
        ("0.5s", 500),
        ("1h30m", 5_400_000),
        ("1m0.5s", 60_500),
        ("100ms", 100),
        ("10us", 1),
        ("0s", 0),
        ("", 0),
    ],
)
def test_durations_are_milliseconds_and_what_is_over_zero_is_at_least_one(text: str, expected: int) -> None:
    assert duration_ms(text) == expected


def test_what_is_absent_or_null_has_the_default(spec: Cursor) -> None:
    assert not spec.has("nothing")
    assert (spec.text("gone", "x"), spec.number("gone", 7), spec.flag("gone"), spec.texts("gone")) == (
        "x",
        7,
        False,
        (),
    )
    assert (spec.at("gone"), spec.each("gone"), spec.located("nothing"), spec.duration_ms("gone")) == (
        None,
        [],
        None,
        None,
    )


def test_scalars_are_read_as_what_is_asked_for(spec: Cursor) -> None:
    one, two = spec.each("items")
    assert (one.text("name"), one.text("number"), one.number("number"), one.flag("flag")) == ("one", "80", 80, True)
    assert two.texts("texts") == ("a", "1", "true")


def test_a_source_names_the_part_and_remembers_its_place(spec: Cursor) -> None:
    second = spec.each("items")[1]
    source = second.source()
    assert source == SourceRef("VirtualService", "default", "v", "spec.items[1]")
    assert spec.positions[source] == Position("a.yaml", 8, 5)


def test_a_reference_knows_where_it_is_written(spec: Cursor) -> None:
    name = spec.each("items")[0].located("name")
    assert name is not None
    assert (name.value, name.span.line, name.span.column) == ("one", 7, 12)
