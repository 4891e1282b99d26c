"""The schemas of the kinds that weft reads, and validation against them.

Each kind has one closed JSON Schema (2020-12) in compiler/schema, maintained by hand. The keywords with ``x-`` are ours: ``x-message`` says in
words what a rule wants, and ``x-weft`` marks what is not described field by field: ``opaque`` is configuration that weft knows
and does not look into (one leaf), ``foreign`` belongs to others than the mesh (no leaf: nothing there is to be carried).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema_rs

from compiler.diagnostic import Diagnostic
from compiler.kinds import KINDS, Kind, kind_of
from compiler.mistakes import MAX_FINDINGS, describe
from compiler.node import Document
from compiler.rules import check_rules

Schema: TypeAlias = dict[str, Any]

_FOLDER = Path(__file__).with_name("schema")
_SHARED_FILES = ("types.json", "istio_types.json", "gateway_types.json", "mesh_types.json", "provider_types.json")
_SHARED_REFERENCE = re.compile(r'"(?:\w+_)?types\.json#/\$defs/')


def validate(document: Document) -> list[Diagnostic]:
    """What is wrong with the shape of a document, one finding per mistake, at the key or value that is wrong; at most MAX_FINDINGS.

    The document's kind and version must be known (``load_documents`` yields no others); raises KeyError otherwise.
    """
    kind = kind_of(document.api_version, document.kind)
    plain = document.plain()
    schema, validator = _schema(kind.schema), _validator(kind.schema)
    shape_is_right = validator.is_valid(plain)
    found = check_rules(document, schema, shape_is_right=shape_is_right)
    if not shape_is_right:
        found += describe(document, schema, validator.iter_errors(plain))
    return sorted(found, key=lambda diagnostic: diagnostic.span)[:MAX_FINDINGS]


def known_kinds() -> tuple[Kind, ...]:
    """The kinds that weft reads."""
    return KINDS


def schema_for(api_version: str, kind: str) -> Schema:
    """The schema of a kind, complete in itself; raises KeyError where weft does not read the kind in this version."""
    return _schema(kind_of(api_version, kind).schema)


def leaves(kind: str, api_version: str) -> Iterator[str]:
    """Every leaf of a kind's schema as a path: ``spec.http[].route[].weight``, with ``[]`` for the items of a list, ``{}`` for the values of a map.

    A leaf holds no fields of its own: a scalar, an object that says enough by being there, a list or map of scalars (whose path ends in
    ``[]`` or ``{}``), or what is opaque.
    """
    schema = schema_for(api_version, kind)
    return _leaves(schema, schema, "")


def _leaves(root: Schema, schema: Schema, path: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = {
            **root["$defs"][schema["$ref"].rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "$ref"},
        }
    mark = schema.get("x-weft")
    if schema.get("properties"):
        for name, inner in schema["properties"].items():
            yield from _leaves(root, inner, f"{path}.{name}" if path else name)
    elif mark == "foreign":
        return
    elif mark == "opaque":
        yield path
    elif "items" in schema:
        yield from _leaves(root, schema["items"], f"{path}[]")
    elif isinstance(schema.get("additionalProperties"), dict):
        yield from _leaves(root, schema["additionalProperties"], f"{path}{{}}")
    else:
        yield path


def _read(file: str) -> Schema:
    """One file, in which a reference to a shared definition reads as one to the file's own."""
    schema: Schema = json.loads(_SHARED_REFERENCE.sub('"#/$defs/', (_FOLDER / file).read_text("utf-8")))
    return schema


@cache
def _shared() -> Schema:
    return {name: part for file in _SHARED_FILES for name, part in _read(file)["$defs"].items()}


@cache
def _schema(file: str) -> Schema:
    """One schema with the shared definitions that it refers to copied in."""
    schema, shared = _read(file), _shared()
    definitions: Schema = schema.setdefault("$defs", {})
    wanted = _references(schema)
    while wanted:
        name = wanted.pop()
        if name not in definitions:
            definitions[name] = shared[name]
            wanted |= _references(shared[name])
    return schema


def _references(schema: object) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["$ref"].rpartition("/")[2]} if "$ref" in schema else set()
        return own.union(*map(_references, schema.values()))
    if isinstance(schema, list):
        return set().union(*map(_references, schema))
    return set()


@cache
def _validator(file: str) -> jsonschema_rs.Draft202012Validator:
    """Compiled on first use and kept: compiling costs more than a thousand validations."""
    return jsonschema_rs.Draft202012Validator(_schema(file))
