"""All schemas as one, for an editor's YAML extension: completion, hover and marks while a resource is written.

Editors read JSON Schema with JavaScript's expressions and with ``errorMessage`` for the words of a rule, so those are what they get.
``weft check`` says more: an editor knows neither CEL nor the rest of the repository.
"""

from __future__ import annotations

import re
from typing import Any

from compiler.kinds import KINDS, Kind
from compiler.schemas import schema_for

Schema = dict[str, Any]

# JavaScript has no inline flags before ES2025; such a pattern would make an editor reject the whole schema.
_NOT_JAVASCRIPT = re.compile(r"\(\?[a-z]+[:)]")


def editor_schema() -> Schema:
    """One JSON Schema that describes a document by its apiVersion and kind; documents of other kinds are left alone."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A resource that weft reads",
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string", "description": "The API and its version.", "examples": _api_versions()},
            "kind": {
                "type": "string",
                "description": "The kind.",
                "examples": sorted({kind.name for kind in KINDS}),
            },
        },
        "allOf": [_when(kind) for kind in KINDS],
        "definitions": {_key(kind): _portable(schema_for(kind.api_versions[0], kind.name), kind) for kind in KINDS},
    }


def _api_versions() -> list[str]:
    return sorted({api_version for kind in KINDS for api_version in kind.api_versions})


def _key(kind: Kind) -> str:
    return f"{kind.name}.{kind.group}" if kind.group else kind.name


def _when(kind: Kind) -> Schema:
    is_it = {"apiVersion": {"enum": list(kind.api_versions)}, "kind": {"const": kind.name}}
    return {
        "if": {"required": ["apiVersion", "kind"], "properties": is_it},
        "then": {"$ref": f"#/definitions/{_key(kind)}"},
    }


def _portable(part: Any, kind: Kind) -> Any:
    """A part of a kind's schema as it may stand among the definitions of the whole."""
    if isinstance(part, list):
        return [_portable(item, kind) for item in part]
    if not isinstance(part, dict):
        return part
    portable: Schema = {}
    for keyword, value in part.items():
        if keyword == "x-message":
            portable["errorMessage"] = value
        elif keyword == "$ref":
            portable["$ref"] = value.replace("#/$defs/", f"#/definitions/{_key(kind)}/$defs/")
        elif keyword == "$schema" or keyword.startswith("x-"):
            continue
        elif not (keyword == "pattern" and isinstance(value, str) and _NOT_JAVASCRIPT.search(value)):
            portable[keyword] = _portable(value, kind)
    return portable
