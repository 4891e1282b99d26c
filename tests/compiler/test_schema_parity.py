"""Our schemas have the fields, types and values that the published CRDs have: no field more, none fewer, no value refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from compiler.kinds import KINDS, Kind
from compiler.schemas import schema_for

CONFORMANCE = Path(os.environ.get("WEFT_CONFORMANCE") or Path(__file__).parents[3] / "shared" / "conformance")
CRD_KINDS = [kind for kind in KINDS if kind.group.endswith("istio.io") or kind.group == "gateway.networking.k8s.io"]
# Values that the CRDs' types allow and that Istio's own validation, or the Gateway API's rules, refuse everywhere.
NARROWER = (
    "spec.http[].redirect.redirectCode",
    "spec.trafficPolicy.tunnel.protocol",
    "spec.subsets[].trafficPolicy.tunnel.protocol",
    "matchExpressions[].operator",
)
# Where the served versions of a kind differ, the schema says so by a condition on apiVersion (test_kinds.py).
BY_VERSION = {
    "TLSRoute": {"spec", "spec.hostnames", "spec.rules"},
    "TCPRoute": {"spec.rules"},
    "UDPRoute": {"spec.rules"},
}
# Still in repositories, no longer in the published CRDs.
OLD = ("ReferenceGrant", "v1alpha2")


def crd(kind: Kind, version: str) -> dict[str, Any]:
    """The CRD's schema; Gateway API's is that of the experimental channel, which has all fields of the standard one."""
    folder = "gateway-api-experimental" if kind.group.startswith("gateway") else "istio"
    path = CONFORMANCE / "crd" / folder / f"{kind.group}_{version}_{kind.name}.json"
    if not path.exists():
        reason = f"no conformance data at {CONFORMANCE} (set WEFT_CONFORMANCE)"
        if os.environ.get("WEFT_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    schema: dict[str, Any] = json.loads(path.read_text())["openAPIV3Schema"]
    return schema


def fields(root: dict[str, Any], schema: dict[str, Any], path: str, found: dict[str, dict[str, Any]]) -> None:
    """Every field below a schema, by path."""
    if "$ref" in schema:
        named = root["$defs"][schema["$ref"].rpartition("/")[2]]
        schema = {**named, **{key: value for key, value in schema.items() if key != "$ref"}}
    found[path] = schema
    if "x-weft" in schema:
        return
    for name, inner in schema.get("properties", {}).items():
        fields(root, inner, f"{path}.{name}", found)
    if "items" in schema:
        fields(root, schema["items"], f"{path}[]", found)
    if isinstance(schema.get("additionalProperties"), dict):
        fields(root, schema["additionalProperties"], f"{path}{{}}", found)


def both(kind: Kind, version: str) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    theirs: dict[str, dict[str, Any]] = {}
    ours: dict[str, dict[str, Any]] = {}
    published = crd(kind, version)
    fields(published, published["properties"]["spec"], "spec", theirs)
    own = schema_for(f"{kind.group}/{version}", kind.name)
    fields(own, own["properties"]["spec"], "spec", ours)
    opaque = tuple(path for path, schema in ours.items() if "x-weft" in schema)
    theirs = {path: schema for path, schema in theirs.items() if not path.startswith(opaque) or path in opaque}
    return theirs, ours


VERSIONS = [(kind, version) for kind in CRD_KINDS for version in kind.versions if (kind.name, version) != OLD]
IDS = [f"{kind.name}.{kind.group}.{version}" for kind, version in VERSIONS]


@pytest.mark.parametrize(("kind", "version"), VERSIONS, ids=IDS)
def test_the_fields_are_those_of_the_crd(kind: Kind, version: str) -> None:
    theirs, ours = both(kind, version)
    assert sorted(theirs.keys() - ours.keys()) == []
    assert sorted(ours.keys() - theirs.keys()) == []


@pytest.mark.parametrize(("kind", "version"), VERSIONS, ids=IDS)
def test_types_and_values_are_those_of_the_crd(kind: Kind, version: str) -> None:
    theirs, ours = both(kind, version)
    for path, published in theirs.items():
        own = ours[path]
        if path.endswith(NARROWER) or path in BY_VERSION.get(kind.name, ()):
            continue
        assert set(own.get("enum", ())) == set(published.get("enum", ())), path
        if "type" in published and "enum" not in own:
            assert own.get("type") == published["type"], path
        for limit in ("maxItems", "maxProperties"):
            if limit in published:
                assert own.get(limit) == published[limit], f"{path} {limit}"
        if "maxLength" in published:
            assert own.get("maxLength", 0) <= published["maxLength"], path
        assert set(published.get("required", ())) <= set(own.get("required", ())), path
