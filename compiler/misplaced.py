"""A field that is known, but not where it was written: one level too deep, or not deep enough. The commonest slip of indentation."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
Path = tuple[str | int, ...]


def misplaced(root: Schema, path: Path, name: str) -> Path | None:
    """Where a field belongs that the object at ``path`` does not know: in one around it, nearest first, or in one directly inside it.

    None where it belongs to neither. A list between the two is left out of the answer where it would name no item.
    """
    around = _around(root, path)
    for depth in range(len(around) - 2, -1, -1):
        if name in around[depth].get("properties", {}):
            return path[:depth]
    for field, inner in around[-1].get("properties", {}).items():
        if name in _resolved(root, inner).get("properties", {}):
            return (*path, field)
    return None


def _around(root: Schema, path: Path) -> list[Schema]:
    """The schema of every value on a path, from the whole document to the last step."""
    schemas = [root]
    for step in path:
        schema = schemas[-1]
        inner = schema.get("items") if isinstance(step, int) else schema.get("properties", {}).get(step)
        if inner is None:
            inner = schema.get("additionalProperties")
        schemas.append(_resolved(root, inner if isinstance(inner, dict) else {}))
    return schemas


def _resolved(root: Schema, schema: Schema) -> Schema:
    target: Schema = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return target
