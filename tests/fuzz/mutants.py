"""Mutants of seeds as Hypothesis strategies: a seed and a list of edits, so that what fails is shrunk to the edits that matter."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.fuzz.seeds import Plain, files, meshes, objects, values

FRAGMENTS = (
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\t", b"\n", b"\xe2\x80\xa8", b"\xc2\x85", b"\x1b[0m"),
    *(b"---\n", b"...\n", b"- ", b": ", b"? ", b"{", b"}", b"[", b"]", b",", b"'", b'"', b"|\n", b">-\n", b"#", b"%YAML 1.2\n"),
    *(b"&a ", b"*a", b"<<: *a\n", b"<<: ", b"!!int ", b"!!python/object:os.system ", b"!!binary ", b"!x ", b"!!timestamp "),
    *(b"~", b"null", b"on", b"yes", b"0777", b"0o7", b"1_000", b".inf", b".nan", b"1e400", b"9" * 400, b"-0", b"1:30"),
    *(b"apiVersion: v1\n", b"kind: List\n", b"items:\n", b"metadata: ", b"# weft: ignore[WFT0001] why\n", b"{{ .Values.x }}"),
)  # fmt: skip
ODD: tuple[Plain, ...] = (
    *(None, True, False, 0, -1, 1, 65536, 2**31, 2**63, 2**64 - 1, 1.5, 1e300, "", " ", "*", "**", "a" * 300, "\u2028é😀"),
    *({}, [], [{}], [[]], [None], {"a": None}, {"": ""}, [1, "1"], {"a": {"b": {"c": [{}]}}}),
    *("*.*", "*.a.test", "a..b", ".", "-", "/", "//", "%", "\x00", "0.0.0.0/0", "::1/128", "300.1.2.3", "10.0.0.0/33", "::ffff:1.2.3.4"),
    *("1s", "0s", "-1s", "1h1h", "99999999999h", "1.5ms", "P1D", "2026-01-01T00:00:00Z", "9999-99-99"),
    *("(", "[", "a{1001}", "(?i)x", "(?=a)", "\\", ".*", "^$", "[[:alpha:]]", "\\pN"),
    *("HTTP", "http", "STRICT", "ISTIO_MUTUAL", "PASSTHROUGH", "SIMPLE", "MESH_EXTERNAL", "NONE", "DNS", "shop/*", "./*", "~/*", "mesh"),
    *("${name}", "request.auth.claims[a]", "request.headers[]", "source.ip", "@request.auth.claims.a", "%REQ(X)%", "spiffe://a/b"),
)  # fmt: skip
NUMBERS = st.integers(0, 2**16 - 1)


class ByteEdit(NamedTuple):
    """One change of a text: ``at`` and ``length`` are counted modulo what there is."""

    action: str
    at: int
    length: int
    piece: bytes


class TreeEdit(NamedTuple):
    """One change of a tree of plain values: ``at`` picks the place and ``other`` what is put there, modulo what there is."""

    action: str
    at: int
    other: int
    value: Plain


_BYTE_EDITS = st.builds(
    ByteEdit,
    st.sampled_from(("insert", "replace", "delete", "repeat", "cut")),
    st.integers(0, 2**20),
    st.integers(0, 64),
    st.sampled_from(FRAGMENTS) | st.binary(max_size=4),
)
_TREE_EDITS = st.builds(
    TreeEdit,
    st.sampled_from(("odd", "odd", "graft", "graft", "graft", "delete", "repeat", "rename", "wrap", "swap")),
    NUMBERS,
    NUMBERS,
    st.sampled_from(ODD),
)


def contents() -> st.SearchStrategy[bytes]:
    """Files with a few changes of their bytes."""
    return st.builds(edited_bytes, st.sampled_from(files()), st.lists(_BYTE_EDITS, max_size=6))


def singles() -> st.SearchStrategy[Plain]:
    """Objects with a few changes of their values."""
    return st.builds(edited_tree, st.sampled_from(objects()), st.lists(_TREE_EDITS, max_size=4))


def guardrails() -> st.SearchStrategy[Plain]:
    """Guardrails with a few changes of their values."""
    known = [item for item in objects() if isinstance(item, dict) and item.get("kind") == "Guardrail"]
    return st.builds(edited_tree, st.sampled_from(known), st.lists(_TREE_EDITS, max_size=4))


def several() -> st.SearchStrategy[list[Plain]]:
    """The objects of one file with those of another, with a few changes."""
    both = st.tuples(st.sampled_from(meshes()), st.just(()) | st.sampled_from(meshes())).map(
        lambda two: [*two[0], *two[1]]
    )
    return st.builds(edited_tree, both, st.lists(_TREE_EDITS, max_size=6))


def edited_bytes(content: bytes, edits: list[ByteEdit]) -> bytes:
    """A text after its edits, one after the other."""
    for edit in edits:
        at = edit.at % (len(content) + 1)
        until = at + edit.length
        match edit.action:
            case "insert":
                content = content[:at] + edit.piece + content[at:]
            case "replace":
                content = content[:at] + edit.piece + content[at + len(edit.piece) :]
            case "delete":
                content = content[:at] + content[until:]
            case "repeat":
                content = content[:at] + content[at:until] * 3 + content[until:]
            case _:
                content = content[:at]
    return content


def edited_tree(tree: Plain, edits: list[TreeEdit]) -> Plain:
    """A copy of a tree after its edits, one after the other."""
    root = [copy.deepcopy(tree)]
    for edit in edits:
        places = _places(root)
        parent, key = places[edit.at % len(places)]
        _apply(parent, key, edit)
    return root[0] if root else None


def _apply(parent: Any, key: Any, edit: TreeEdit) -> None:
    held = parent[key]
    match edit.action:
        case "odd":
            parent[key] = copy.deepcopy(edit.value)
        case "graft":
            parent[key] = _graft(key, edit.other)
        case "delete":
            del parent[key]
        case "wrap":
            parent[key] = [held] if edit.other % 2 else {"a": held}
        case "repeat" if isinstance(held, list) and held:
            held.append(copy.deepcopy(held[edit.other % len(held)]))
        case "rename" if isinstance(parent, dict):
            names = sorted(values())
            parent[names[edit.other % len(names)] if names else "a"] = parent.pop(key)
        case "swap" if isinstance(held, list):
            held.reverse()


def _graft(key: Any, number: int) -> Plain:
    """What stands under the same key elsewhere in the seeds."""
    known = values().get(key) if isinstance(key, str) else None
    pool = known or list(ODD)
    return copy.deepcopy(pool[number % len(pool)])


def _places(root: list[Plain]) -> list[tuple[Any, Any]]:
    """Every value of a tree as its parent and its key."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [root]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item))
        found += ((item, key) for key in keys)
        waiting += (item[key] for key in keys if isinstance(item[key], dict | list))
    return found or [(root, 0)] if root else [([None], 0)]
