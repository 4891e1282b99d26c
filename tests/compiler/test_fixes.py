"""Fixes: what is changed, and that nothing else is."""

from __future__ import annotations

import pytest

from compiler.fixes import fixed_text
from compiler.pipeline import check
from compiler.tree import MemoryTree

HEAD = "# Why this is here.\napiVersion: v1\nkind: Namespace\n"


def fixed(text: str) -> str:
    content = text.encode()
    found = check(MemoryTree({"a.yaml": content}))
    return fixed_text("a.yaml", content, found)[0].decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("metadata: {name: a, lables: {x: y}} # keep\n", "metadata: {name: a, labels: {x: y}} # keep\n"),
        ("metadata:\r\n  name: a\r\n  lables:   {}\r\n", "metadata:\r\n  name: a\r\n  labels:   {}\r\n"),
        (
            "metadata: {name: ä, 'lables': {日: y}, anotations: {}}\n",
            "metadata: {name: ä, labels: {日: y}, annotations: {}}\n",
        ),
        ("metadata: {name: a} # weft: ignore[IST0130] old\n", "metadata: {name: a}\n"),
        ("metadata: {name: a}\n# weft: ignore[IST0130] old\n", "metadata: {name: a}\n\n"),
    ],
)
def test_only_what_is_wrong_changes(before: str, after: str) -> None:
    assert fixed(HEAD + before) == HEAD + after


@pytest.mark.parametrize(
    "text",
    [
        "metadata: {name: a, labels: {}, lables: {x: y}}\n",
        "metadata: {name: a, nothing: {x: y}}\n",
        "metadata: {name: a}\n",
    ],
)
def test_what_could_mean_two_things_stays(text: str) -> None:
    assert fixed(HEAD + text) == HEAD + text


def test_a_byte_order_mark_stays() -> None:
    content = b"\xef\xbb\xbfapiVersion: v1\nkind: Namespace\nmetadata: {name: a, lables: {}}\n"
    found = check(MemoryTree({"a.yaml": content}))
    assert fixed_text("a.yaml", content, found) == (content.replace(b"lables", b"labels"), 1)
