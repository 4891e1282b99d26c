"""Field trees: every field path of every served version in the published CRDs is one that our schema of that kind knows.

A case is one field of one version. Which types and limits a field has is judged by tests/compiler/test_schema_parity.py, and which values
by the corpus ``validation``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compiler.kinds import is_known, versions_of
from compiler.schemas import schema_for
from tests.conformance.corpus import DATA, Tally, read

FOLDERS = ("istio", "gateway-api-standard", "gateway-api-experimental")
EXPERIMENTAL = "gateway.networking.x-k8s.io"


def run() -> Tally:
    """The three folders of CRDs."""
    tally = Tally()
    for folder in FOLDERS:
        for path in sorted((DATA / "crd" / folder).glob("*.json")):
            crd = read(f"crd/{folder}/{path.name}")
            if isinstance(crd, dict):
                judge(tally, folder, crd)
    return tally


def judge(tally: Tally, folder: str, crd: dict[str, Any]) -> None:
    """Counts the fields of one version of one kind."""
    group, version, kind = crd["group"], crd["version"], crd["kind"]
    published = sorted(fields(crd["openAPIV3Schema"]["properties"].get("spec", {}), "spec"))
    name = f"{folder} {kind} {group}/{version}"
    if group == EXPERIMENTAL:
        tally.leave(name, "a trial group of the Gateway API that gives no promise; its kinds are noted as not read")
    elif not crd["served"]:
        tally.leave(name, "a version that is not served in this channel")
    elif not is_known(group, kind) or f"{group}/{version}" not in versions_of(group, kind):
        tally.count(name, "weft does not read this kind and version")
    else:
        schema = schema_for(f"{group}/{version}", kind)
        for path in published:
            tally.count(f"{name} {path}", None if knows(schema, path) else "an unknown field")


def fields(schema: dict[str, Any], path: str) -> Iterator[str]:
    """Every field below a part of a CRD."""
    yield path
    for name, inner in schema.get("properties", {}).items():
        yield from fields(inner, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from fields(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from fields(schema["additionalProperties"], f"{path}{{}}")


def knows(root: dict[str, Any], path: str) -> bool:
    """Whether a schema describes a field by name; what is opaque describes none."""
    schema: dict[str, Any] | None = root
    for step in path.replace("[]", ".[]").replace("{}", ".{}").split("."):
        schema = inner(root, schema, step) if schema is not None else None
    return schema is not None


def inner(root: dict[str, Any], schema: dict[str, Any], step: str) -> dict[str, Any] | None:
    """The part of a schema that one step leads to."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    found = {"[]": schema.get("items"), "{}": schema.get("additionalProperties")}.get(
        step, schema.get("properties", {}).get(step)
    )
    return found if isinstance(found, dict) else None
