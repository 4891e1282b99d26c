"""What fuzzing starts from: the project's own cases and, where they are, the conformance corpora. Nothing is copied; files are read in place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from compiler.node import Mapping, Node, Sequence
from compiler.yaml_file import read_yaml
from tests.conformance.corpus import DATA, read

ROOT = Path(__file__).parents[2]
OWN = ("examples", "tests/compiler/catalog", "weft/starter")
CORPORA = (
    "analyzer/testdata",
    "authz/testdata",
    "gateway-conformance/manifests",
    "golden/gateway-to-istio",
    "golden/inject",
    "golden/mixed-config",
    "golden/samples",
)
TABLES = ("validation/istio_crd_cases.json", "validation/gateway_cel_cases.json")
MAX_SEED_BYTES = 32 * 1024
SUFFIXES = {".yaml", ".yml", ".json"}

Plain = Any
"""What JSON can hold."""


@cache
def files() -> tuple[bytes, ...]:
    """The files' bytes, in the order of their paths; large ones are left out, because their mutants say nothing new."""
    return tuple(path.read_bytes() for path in _paths())


@cache
def meshes() -> tuple[tuple[Plain, ...], ...]:
    """The objects of each file that holds any; those of one file belong together."""
    found = [tuple(_objects(path)) for path in _paths()]
    return tuple(mesh for mesh in found if mesh)


@cache
def objects() -> tuple[Plain, ...]:
    """Single objects of all kinds: those of the files, and the valid and invalid ones of the tables."""
    found = [item for mesh in meshes() for item in mesh]
    for table in TABLES if DATA.is_dir() else ():
        found += [case["object"] for case in read(table)["cases"] if isinstance(case.get("object"), dict)]
    return tuple(found)


@cache
def values() -> dict[str, list[Plain]]:
    """What stands under each key anywhere in the seeds, so that a mutant often keeps the shape that a reader expects."""
    found: dict[str, list[Plain]] = {}
    for item in objects():
        for key, value in _entries(item):
            held = found.setdefault(key, [])
            if len(held) < 200 and value not in held[-20:]:
                held.append(value)
    return found


def _paths() -> list[Path]:
    folders = [*(ROOT / name for name in OWN), *(DATA / name for name in CORPORA)]
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES]
    return [path for path in paths if path.is_file() and path.stat().st_size <= MAX_SEED_BYTES]


def _objects(path: Path) -> Iterator[Plain]:
    text = path.read_bytes().decode("utf-8", "replace")
    for root in read_yaml(path.name, text).roots:
        if isinstance(root, Mapping) and "kind" in root.entries:
            yield _plain(root)


def _plain(node: Node) -> Plain:
    """The values with the nulls, which ``Node.plain`` leaves out."""
    match node:
        case Mapping():
            return {key: _plain(node.entries[key]) if key in node.entries else None for key in node.key_spans}
        case Sequence():
            return [_plain(item) for item in node]
    return node.value


def _entries(value: Plain) -> Iterator[tuple[str, Plain]]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
