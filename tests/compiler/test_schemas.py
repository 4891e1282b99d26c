"""One finding per mistake, at the key or value that is wrong, in words that name it and the next step."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import pytest

from compiler.diagnostic import Diagnostic
from compiler.documents import load_documents
from compiler.kinds import KINDS, Kind
from compiler.mistakes import MAX_FINDINGS
from compiler.node import Document
from compiler.schemas import known_kinds, leaves, schema_for, validate
from compiler.tree import MemoryTree
from compiler.worktree import WorkTree

CONFORMANCE = Path(os.environ.get("WEFT_CONFORMANCE") or Path(__file__).parents[3] / "shared" / "conformance")
GROUPS = {
    "Service": "v1",
    "Secret": "v1",
    "Pod": "v1",
    "Deployment": "apps/v1",
    "PeerAuthentication": "security.istio.io/v1",
    "AuthorizationPolicy": "security.istio.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "MeshConfig": "weft/v1",
}


def conformance(path: str) -> Path:
    """A file or folder of the conformance data; without it the test is skipped, unless everything is required."""
    if not (CONFORMANCE / path).exists():
        reason = f"no conformance data at {CONFORMANCE} (set WEFT_CONFORMANCE)"
        if os.environ.get("WEFT_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return CONFORMANCE / path


def document(kind: str, spec: str, api_version: str = "") -> Document:
    api_version = api_version or GROUPS.get(kind, "networking.istio.io/v1")
    head = f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a, namespace: shop}}\nspec:\n"
    text = head + textwrap.indent(textwrap.dedent(spec).strip(), "  ") + "\n"
    documents, _ = load_documents(MemoryTree({"a.yaml": text.encode()}))
    return documents[0]


def findings(kind: str, spec: str, api_version: str = "") -> list[tuple[int, int, str]]:
    """Line and column within the spec, and the message."""
    return [
        (item.span.line - 4, item.span.column - 2, item.message) for item in validate(document(kind, spec, api_version))
    ]


ROUTE = "- route: [{destination: {host: b}}]\n"


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        (
            "VirtualService",
            "hosts: [a]\nhttp:\n- rout: [{destination: {host: b}}]",
            [(3, 3, "unknown field `rout` in spec.http[0], did you mean `route`?")],
        ),
        (
            "VirtualService",
            "hosts: [a]\nhttp:\n- route:\n  - destination: {hst: b}\n    weigth: 5",
            [
                (4, 19, "unknown field `hst` in spec.http[0].route[0].destination, did you mean `host`?"),
                (5, 5, "unknown field `weigth` in spec.http[0].route[0], did you mean `weight`?"),
            ],
        ),
        (
            "VirtualService",
            "hosts: [a]\nexport_to: [.]\nhttp: [{route: [{destination: {host: b}}], Timeout: 5s, foo: 1}]",
            [
                (2, 1, "unknown field `export_to` in spec, did you mean `exportTo`?"),
                (3, 44, "unknown field `Timeout` in spec.http[0], did you mean `timeout`?"),
                (3, 57, "unknown field `foo` in spec.http[0]"),
            ],
        ),
        (
            "VirtualService",
            "hosts: [a]\nhttp:\n- route:\n  - host: b\n    destination: {host: b}\n    timeout: 5s",
            [
                (
                    4,
                    5,
                    "unknown field `host` in spec.http[0].route[0]; it belongs in spec.http[0].route[0].destination",
                ),
                (6, 5, "unknown field `timeout` in spec.http[0].route[0]; it belongs in spec.http[0]"),
            ],
        ),
        (
            "Service",
            "labels: {a: b}",
            [(1, 1, "unknown field `labels` in spec")],
        ),
        (
            "VirtualService",
            f"hosts: a\nhttp:\n{ROUTE}",
            [(1, 8, "spec.hosts: expected a list, found the string `a`")],
        ),
        (
            "VirtualService",
            f"hosts: [yes, 5]\nhttp:\n{ROUTE}",
            [
                (1, 9, "spec.hosts[0]: expected a string, found the boolean `true`"),
                (1, 14, "spec.hosts[1]: expected a string, found the number `5`"),
            ],
        ),
        (
            "VirtualService",
            f"hosts: [a]\nhttp:\n{ROUTE}  timeout: 5 s",
            [
                (
                    4,
                    12,
                    (
                        "spec.http[0].timeout: `5 s` cannot stand here: a duration is numbers with units,"
                        " for example `5s`, `1m30s` or `250ms`"
                    ),
                )
            ],
        ),
        (
            "VirtualService",
            "hosts: [a]\nhttp:\n- route:\n  - destination:\n      host:",
            [(5, 7, "`host` of spec.http[0].route[0].destination has no value")],
        ),
        (
            "VirtualService",
            "hosts: [a]\nhttp:\n- route:\n  - weight: 1",
            [(4, 5, "spec.http[0].route[0] has no `destination`")],
        ),
        (
            "VirtualService",
            f"hosts: [a]\nhttp:\n{ROUTE}  redirect: {{uri: /x}}",
            [(4, 3, "spec.http[0]: `route` and `redirect` exclude each other")],
        ),
        (
            "VirtualService",
            "hosts: [a]\nhttp: [{name: x}]",
            [(2, 9, "spec.http[0]: a rule needs `route`, `redirect`, `directResponse` or `delegate`")],
        ),
        (
            "VirtualService",
            f"hosts: [a]\nhttp:\n{ROUTE}  match: [{{headers: {{x: , z: {{regex: '('}}}}}}]",
            [
                (4, 22, "`x` of spec.http[0].match[0].headers has no value"),
                (
                    4,
                    38,
                    "spec.http[0].match[0].headers.z.regex: `(` is not an expression that RE2 takes: missing ): (",
                ),
            ],
        ),
        (
            "DestinationRule",
            "host: a\ntrafficPolicy: {loadBalancer: {simple: ROUND_ROBN}}",
            [
                (
                    2,
                    40,
                    (
                        "spec.trafficPolicy.loadBalancer.simple: `ROUND_ROBN` is not a value of this field,"
                        " did you mean `ROUND_ROBIN`?"
                    ),
                )
            ],
        ),
        (
            "DestinationRule",
            "host: a\nsubsets: [{name: v1, labels: {v: 1}}]",
            [(2, 34, "spec.subsets[0].labels.v: expected a string, found the number `1`")],
        ),
        (
            "PeerAuthentication",
            "selector: {matchLabels: {app: a}}\nportLevelMtls: {http: {mode: STRICT}}",
            [(2, 17, "`http` is no key of spec.portLevelMtls: the key is a port number from 1 to 65535")],
        ),
        (
            "AuthorizationPolicy",
            "rules: [{from: [{source: {ipBlocks: [10.0.0.0/40]}}]}]",
            [
                (
                    1,
                    38,
                    (
                        "spec.rules[0].from[0].source.ipBlocks[0]: `10.0.0.0/40` is not an IP address or a CIDR block,"
                        " for example 10.0.0.0/8"
                    ),
                )
            ],
        ),
        (
            "HTTPRoute",
            "rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: b, port: 80}]}]",
            [(1, 67, "spec.rules[0]: `backendRefs` may not be set where a filter redirects")],
        ),
        (
            "HTTPRoute",
            "parentRefs: [{name: gw}, {name: gw, sectionName: x}]",
            [
                (
                    1,
                    33,
                    "a second reference to `gw`: either all of them have `sectionName` (or `port`), or none",
                )
            ],
        ),
        (
            "HTTPRoute",
            "parentRefs: [{name: gw, port: 80}, {name: gw, kind: Gateway, port: 80}]",
            [(1, 43, "a second reference to the same part of `gw`")],
        ),
        (
            "HTTPRoute",
            "rules: [{timeouts: {request: 200ms, backendRequest: 1m}}]",
            [
                (
                    1,
                    53,
                    "the time-out of each try (`backendRequest`) is longer than that of the whole request (`request`)",
                )
            ],
        ),
        (
            "Service",
            "ports: [{port: 80, name: a}, {port: 81, name: a}, {port: http, name: c}]",
            [
                (1, 47, "spec.ports: a second entry has the name `a`"),
                (1, 58, "spec.ports[2].port: expected a whole number, found the string `http`"),
            ],
        ),
        ("ServiceEntry", "hosts: []", [(1, 1, "spec.hosts: nothing is in it")]),
        ("MeshConfig", "trustDomian: x", [(1, 1, "unknown field `trustDomian` in spec, did you mean `trustDomain`?")]),
    ],
)
def test_a_mistake_has_one_finding_where_it_is(kind: str, spec: str, expected: list[tuple[int, int, str]]) -> None:
    assert findings(kind, spec) == expected


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("VirtualService", f"hosts: [80]\nhttp:\n{ROUTE}", 'Quote it: "80"'),
        ("VirtualService", f"hosts: [on]\nhttp:\n{ROUTE}", "an unquoted yes"),
        ("VirtualService", f"hosts: [a]\nhttp:\n{ROUTE}  timeout: 5", "a duration is numbers with units"),
        ("Service", 'ports: [{port: "80"}]', "Remove the quotes: 80"),
        ("Service", "ports: {port: 80}", "put `- ` before it"),
        ("Service", "ports: [{prot: 80, zzz: 1}]", "Known here: appProtocol, name"),
        ("ServiceEntry", "hosts: [a.b]\nlocation: MESH", "Allowed: MESH_EXTERNAL, MESH_INTERNAL"),
        ("ServiceEntry", "location: MESH_EXTERNAL", "Add `hosts`"),
    ],
)
def test_a_finding_says_what_to_do(kind: str, spec: str, words: str) -> None:
    assert words in " ".join(item.help for item in validate(document(kind, spec)))


def test_a_finding_is_about_the_resource() -> None:
    (found,) = validate(document("Service", "port: []"))
    assert str(found.resource) == "Service shop/a"
    assert found.code == "IST0106"


def test_null_means_absent_as_in_kubernetes() -> None:
    assert findings("VirtualService", f"hosts: [a]\ngateways:\ntls: ~\nhttp:\n{ROUTE}") == []


@pytest.mark.parametrize(
    ("kind", "spec", "api_version"),
    [
        ("HTTPRoute", "rules: [{}, {}, {name: a}, {name: b}]", ""),
        ("HTTPRoute", "parentRefs: [{name: gw, sectionName: a}, {name: gw, sectionName: b}, {name: other}]", ""),
        (
            "Gateway",
            "gatewayClassName: a\nlisteners: [{name: a, port: 80, protocol: HTTP}]\naddresses: [{}, {}]",
            "gateway.networking.k8s.io/v1",
        ),
    ],
)
def test_items_that_only_look_alike_may_repeat(kind: str, spec: str, api_version: str) -> None:
    assert findings(kind, spec, api_version) == []


def test_a_label_without_value_is_dropped_as_kubernetes_drops_it() -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {b: }, labels: {c: ~}}\nspec: {}\n"
    documents, _ = load_documents(MemoryTree({"a.yaml": text.encode()}))
    assert validate(documents[0]) == []


def test_a_listener_that_may_have_no_tls_is_not_told_what_its_tls_lacks() -> None:
    spec = "gatewayClassName: a\nlisteners: [{name: a, port: 80, protocol: HTTP, tls: {}}]"
    assert findings("Gateway", spec, "gateway.networking.k8s.io/v1") == [
        (2, 49, "spec.listeners[0]: `tls` may not be set for protocol HTTP, TCP or UDP")
    ]


def test_a_document_of_mistakes_has_a_bounded_number_of_findings() -> None:
    fields = ", ".join(f"field{number}: 1" for number in range(5000))
    ports = ", ".join(f"{{port: a, name: n{number}}}" for number in range(5000))
    assert len(validate(document("Service", f"{{{fields}}}"))) == MAX_FINDINGS
    assert len(validate(document("Service", f"ports: [{ports}]"))) == MAX_FINDINGS


def test_the_versions_of_a_kind_share_a_schema() -> None:
    for version in ("v1", "v1beta1", "v1alpha3"):
        assert findings("VirtualService", f"hosts: [a]\nhttp:\n{ROUTE}", f"networking.istio.io/{version}") == []


def test_a_secrets_content_is_never_repeated() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {tls.key: {deep: hunter2}, pin: 4711}\n"
    documents, _ = load_documents(MemoryTree({"a.yaml": text.encode()}))
    found = validate(documents[0])
    assert [(item.span.column, item.message) for item in found] == [
        (8, "data.tls.key: expected a string"),
        (34, "data.pin: expected a string"),
    ]
    assert not any("hunter2" in item.help or "4711" in item.help for item in found)


# --- the schemas themselves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}.{kind.group}")
def test_every_schema_is_valid_closed_and_described(kind: Kind) -> None:
    for api_version in kind.api_versions:
        schema = schema_for(api_version, kind.name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]["apiVersion"]["enum"]) == set(kind.api_versions)
    for path, part in parts(schema, ""):
        if "properties" in part and "additionalProperties" in part:
            assert part["additionalProperties"] is False or part["x-weft"] == "foreign", path
        if "properties" in part and "additionalProperties" not in part:
            assert "if" in path or "then" in path or "Of[" in path or "not" in path or "contains" in path, path
        for name, field in part.get("properties", {}).items():
            if part.get("additionalProperties") is False and not set(field) & {"$ref", "description"}:
                pytest.fail(f"{path}.{name} has no description")


def parts(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield path, schema
        for key, inner in schema.items():
            yield from parts(inner, f"{path}/{key}")
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from parts(inner, f"{path}[{number}]")


def test_leaves_are_paths_with_lists_and_maps_marked() -> None:
    found = set(leaves("VirtualService", "networking.istio.io/v1"))
    assert {
        "metadata.name",
        "metadata.labels{}",
        "spec.hosts[]",
        "spec.http[].match[].headers{}.exact",
        "spec.http[].route[].weight",
        "spec.http[].fault.abort.percentage.value",
    } <= found
    assert not any(leaf.startswith("status") for leaf in found)
    assert "spec.configPatches[].patch.value" in set(leaves("EnvoyFilter", "networking.istio.io/v1alpha3"))
    assert "spec.template.spec.containers[].ports[].containerPort" in set(leaves("Deployment", "apps/v1"))


def test_known_kinds_are_those_with_a_schema() -> None:
    assert all(schema_for(kind.api_versions[0], kind.name)["title"] == kind.name for kind in known_kinds())


# --- other people's cases --------------------------------------------------------------------------------------------------------


def every_object() -> Iterator[dict[str, Any]]:
    """The objects of the validation tables that are of a kind that weft reads, and those of bookinfo."""
    served = {(api_version, kind.name) for kind in KINDS for api_version in kind.api_versions}
    tables = conformance("validation")
    for name in ("istio_crd_cases", "gateway_cel_cases", "istio_validation_table", "gateway_yaml_examples"):
        for case in json.loads((tables / f"{name}.json").read_text())["cases"]:
            arguments = [item.get("object") for item in case.get("args", ()) if isinstance(item, dict)]
            for item in (case.get("object"), *case.get("objects", ()), *arguments):
                if isinstance(item, dict) and (item.get("apiVersion"), item.get("kind")) in served:
                    yield item
    for item in load_documents(WorkTree(conformance("golden/samples/bookinfo")))[0]:
        plain = item.plain()
        assert isinstance(plain, dict)
        yield plain


def test_the_fast_validator_and_the_reference_one_agree() -> None:
    fast: dict[str, Any] = {}
    judges: dict[str, Any] = {}
    invalid = total = 0
    for item in every_object():
        key = f"{item['apiVersion']} {item['kind']}"
        if key not in fast:
            schema = schema_for(item["apiVersion"], item["kind"])
            fast[key] = jsonschema_rs.Draft202012Validator(schema)
            judges[key] = jsonschema.Draft202012Validator(schema)
        verdict = fast[key].is_valid(item)
        assert verdict == judges[key].is_valid(item), item
        total += 1
        invalid += not verdict
    assert total > 400
    assert invalid > 100


def test_every_file_of_bookinfo_is_valid_unchanged() -> None:
    documents, found = load_documents(WorkTree(conformance("golden/samples/bookinfo")))
    mistakes: list[Diagnostic] = [item for document in documents for item in validate(document)]
    assert mistakes == []
    assert [item for item in found if item.severity.name != "NOTE"] == []
    assert len(documents) > 100


def test_every_schema_stays_readable() -> None:
    for path in (Path(__file__).parents[2] / "compiler" / "schema").iterdir():
        assert path.read_text().count("\n") <= 600, path


def test_ports_of_init_containers_are_ports_too() -> None:
    init = "initContainers: [{name: b, ports: [{containerPort: 1e300}]}]"
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: a}}], {init}}}\n"
    documents, _ = load_documents(MemoryTree({"a.yaml": text.encode()}))
    assert [item.code for item in validate(documents[0])] == ["IST0106"]
