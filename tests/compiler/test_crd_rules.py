"""Every rule (CEL) of the published CRDs is carried: what breaks one of them is refused by our schemas too.

The CRDs' own expressions are the judge. Right objects are changed in one place each, where a rule is about: fields left out or added, other
values, list items twice. Where the changed object breaks a rule, ours must refuse it. A rule that no change breaks proves nothing, so those
are listed, with the reason, and the list is exact.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from compiler.cel_rules import holds
from compiler.diagnostic import Severity
from compiler.documents import load_documents
from compiler.kinds import is_known, versions_of
from compiler.schemas import validate
from compiler.tree import MemoryTree

CONFORMANCE = Path(os.environ.get("WEFT_CONFORMANCE") or Path(__file__).parents[3] / "shared" / "conformance")
FOLDERS = ("istio", "gateway-api-experimental")
TEXTS = (
    "*",
    "a*",
    "",
    "0s",
    "unix://a",
    "unix:///a/",
    "/a//b",
    "/a/./b",
    "/a/../b",
    "/a%2f",
    "/a%2F",
    "/a#b",
    "/a/..",
    "/a/.",
    "a",
    "/a|b",
    "10.0.0.0/8",
    "Service",
    "https://a",
    "unix://a/b",
    "HOST",
    "INLINE",
    "ftp://a",
    "10.0.0.1",
    "a..b",
    "*.a.*",
)
NUMBERS = (0, 3, 70000)

Value = Any


@cache
def crds() -> list[dict[str, Any]]:
    """The CRDs of the versions that we read; none where there is no data."""
    if not CONFORMANCE.is_dir():
        return []
    files = [
        json.loads(path.read_text())
        for folder in FOLDERS
        for path in sorted((CONFORMANCE / "crd" / folder).glob("*.json"))
    ]
    return [
        crd
        for crd in files
        if isinstance(crd, dict)
        and crd["served"]
        and is_known(crd["group"], crd["kind"])
        and f"{crd['group']}/{crd['version']}" in versions_of(crd["group"], crd["kind"])
    ]


@cache
def right_objects() -> list[Value]:
    """Whole objects that are valid, from the tables of others."""
    folder = CONFORMANCE / "validation"
    rows = [
        json.loads((folder / f"{name}.json").read_text())["cases"] for name in ("istio_crd_cases", "gateway_cel_cases")
    ]
    found = [row["object"] for cases in rows for row in cases if row["valid"]]
    examples = json.loads((folder / "gateway_yaml_examples.json").read_text())["cases"]
    found += [item for row in examples if row["valid"] for item in row["objects"]]
    table = json.loads((folder / "istio_validation_table.json").read_text())["cases"]
    found += [
        argument["object"]
        for row in table
        if row["valid"]
        for argument in row["args"]
        if isinstance(argument, dict) and isinstance(argument.get("object"), dict)
    ]
    return found


def spots(
    schema: Value, node: Value, steps: list[str], path: tuple[str | int, ...] = ()
) -> Iterator[tuple[Value, tuple[str | int, ...]]]:
    """The parts of an object that a rule's path leads to, each with its schema."""
    if not steps:
        yield schema, path
    elif steps[0] == "[]":
        for index, item in enumerate(node if isinstance(node, list) else ()):
            yield from spots(schema.get("items", {}), item, steps[1:], (*path, index))
    elif steps[0] == "{}":
        for name, item in node.items() if isinstance(node, dict) else ():
            yield from spots(schema.get("additionalProperties", {}), item, steps[1:], (*path, name))
    elif isinstance(node, dict) and steps[0] in node:
        yield from spots(schema.get("properties", {}).get(steps[0], {}), node[steps[0]], steps[1:], (*path, steps[0]))


def at(node: Value, path: tuple[str | int, ...]) -> Value:
    for step in path:
        node = node[step]
    return node


def with_defaults(schema: Value, node: Value) -> Value:
    """The object as an API server would complete it."""
    if isinstance(node, dict):
        fields = schema.get("properties", {})
        given = {name: copy.deepcopy(inner["default"]) for name, inner in fields.items() if "default" in inner}
        others = schema.get("additionalProperties")
        inner = others if isinstance(others, dict) else {}
        return {name: with_defaults(fields.get(name, inner), value) for name, value in {**given, **node}.items()}
    if isinstance(node, list):
        return [with_defaults(schema.get("items", {}), item) for item in node]
    return node


def grown(schema: Value, node: Value, steps: list[str], text: str) -> Value:
    """The object with what a rule's path leads to, where it has none."""
    if not steps:
        return node if node is not None else sample(schema, text)
    inner = schema.get(
        "items" if steps[0] == "[]" else "additionalProperties" if steps[0] == "{}" else "properties", {}
    )
    if steps[0] == "[]":
        rest = node[1:] if node else []
        return [grown(inner, node[0] if node else None, steps[1:], text), *rest]
    name = "a" if steps[0] == "{}" else steps[0]
    inner = inner if steps[0] == "{}" else inner.get(name, {})
    own = node if isinstance(node, dict) else sample(schema, text)
    return {**own, name: grown(inner, own.get(name), steps[1:], text)}


def sample(schema: Value, text: str = "a") -> Value:
    """A small value of a schema's type."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {
                name: sample(schema["properties"][name], text)
                for name in schema.get("required", ())
                if name in schema.get("properties", {})
            }
        case "array":
            return [sample(schema.get("items", {}), text)]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return text


def changed(schema: Value, value: Value) -> Iterator[Value]:
    """Values near this one, in depth one and, for the fields of an object, two."""
    if isinstance(value, dict):
        yield {}
        fields = schema.get("properties", {})
        others = schema.get("additionalProperties")
        if isinstance(others, dict):
            first = next(iter(value.values()), sample(others))
            yield from ({**value, name: first} for name in ("", "a*", "70000", "b_", "-a", "a/b/c", f"{'a' * 254}/b"))
        for name in value:
            yield {other: inner for other, inner in value.items() if other != name}
        for name, inner in fields.items():
            if name in value:
                yield from ({**value, name: other} for other in changed_once(inner, value[name]))
            else:
                yield from ({**value, name: other} for other in (sample(inner), *changed_once(inner, sample(inner))))
    else:
        yield from changed_once(schema, value)


def changed_once(schema: Value, value: Value) -> Iterator[Value]:
    match value:
        case str():
            yield from schema.get("enum", ()) or TEXTS
        case bool():
            yield not value
        case int() | float():
            yield from NUMBERS
        case list():
            yield []
            yield [*value, *copy.deepcopy(value[:1])]
            if value and isinstance(value[0], dict):
                fields = schema.get("items", {}).get("properties", {})
                for name, inner in fields.items():
                    for other in changed_shallow(inner, value[0].get(name, sample(inner))):
                        yield [{**value[0], name: other}, *value[1:]]
                        yield [*value, {**value[0], name: other}]
            else:
                yield from ([*value, text] for text in TEXTS)
        case dict():
            yield {}
            for name, inner in schema.get("properties", {}).items():
                yield {**value, name: value.get(name, sample(inner))}
                yield from ({**value, name: other} for other in changed_shallow(inner, value.get(name, sample(inner))))


def changed_shallow(schema: Value, value: Value) -> Iterator[Value]:
    if isinstance(value, str):
        yield from schema.get("enum", ()) or TEXTS
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from NUMBERS
    else:
        yield value


def put(node: Value, path: tuple[str | int, ...], value: Value) -> Value:
    """A copy of the object with another value at a path."""
    if not path:
        return value
    result = copy.copy(node)
    result[path[0]] = put(node[path[0]], path[1:], value)
    return result


def refused(item: Value) -> bool:
    documents, found = load_documents(MemoryTree({"a.json": json.dumps(item).encode()}))
    found = [*found, *(finding for document in documents for finding in validate(document))]
    return any(finding.severity is Severity.ERROR for finding in found)


MOST_BROKEN = 6
"""How many changes that break a rule are tried of each; more of one kind prove little more."""


def breaking(crd: Value, rule: Value, objects: list[Value]) -> Iterator[Value]:
    """Changed objects that break a rule."""
    schema, expression = crd["openAPIV3Schema"], rule["rule"].replace("__namespace__", "namespace")
    steps = [step for step in rule["path"].replace("[]", ".[]").replace("{}", ".{}").split(".") if step]
    bases = [item for item in objects if any(True for _ in spots(schema, item, steps))]
    if not bases:
        made = (
            grown(schema, item, steps, text) for item in objects[:4] for text in ("a", "1s", "https://a", "10.0.0.1")
        )
        bases = [item for item in made if not refused(item)]
    tried = 0
    for item in bases:
        for part, path in spots(schema, item, steps):
            for value in changed(part, at(item, path)):
                if holds(expression, with_defaults(part, value)) is False:
                    tried += 1
                    yield put(item, path, value)
                if tried >= MOST_BROKEN:
                    return


def _route(rule: str) -> str:
    return f"{{parentRefs: [{{name: g}}], rules: [{rule}]}}"


def _listeners(*items: str) -> str:
    return f"{{parentRef: {{name: g}}, listeners: [{', '.join(items)}]}}"


SESSIONS = {
    "AbsoluteTimeout must be specified when cookie lifetimeType is Permanent": "{cookie: {lifetimeType: Permanent}}",
    "cookie must be nil if type is not Cookie": "{type: Header, header: {}, cookie: {}}",
    "cookie must be specified for Cookie type": "{type: Cookie}",
    "header must be nil if type is not Header": "{type: Cookie, cookie: {}, header: {}}",
    "header must be specified for Header type": "{type: Header}",
}
AUTHS = {
    "grpc must be specified when protocol is set to 'GRPC'": "{protocol: GRPC, backendRef: {name: a, port: 1}}",
    "http must be specified when protocol is set to 'HTTP'": "{protocol: HTTP, backendRef: {name: a, port: 1}}",
    "protocol must be 'GRPC' when grpc is set": "{protocol: HTTP, http: {}, grpc: {}, backendRef: {name: a, port: 1}}",
    "protocol must be 'HTTP' when http is set": "{protocol: GRPC, http: {}, grpc: {}, backendRef: {name: a, port: 1}}",
}
LISTENERS = {
    ": Combination of port, protocol and hostname must be unique for each listener": (
        "{name: a, port: 80, protocol: HTTP}",
        "{name: b, port: 80, protocol: HTTP}",
    ),
    ": Listener name must be unique within the Gateway": (
        "{name: a, port: 80, protocol: HTTP}",
        "{name: a, port: 81, protocol: HTTP}",
    ),
    ": hostname must not be specified for protocols ['TCP', 'UDP']": (
        "{name: a, port: 80, protocol: TCP, hostname: a.b}",
    ),
    ": tls mode must be Terminate for protocol HTTPS": (
        "{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}",
    ),
    ": tls mode must be set for protocol TLS": ("{name: a, port: 443, protocol: TLS}",),
    ": tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']": (
        "{name: a, port: 80, protocol: HTTP, tls: {mode: Passthrough}}",
    ),
    "[].tls: certificateRefs or options must be specified when mode is Terminate": (
        "{name: a, port: 443, protocol: HTTPS, tls: {mode: Terminate}}",
    ),
}
CREDENTIALS = {
    "only one of credentialName or credentialNames can be set": "credentialName: a, credentialNames: [b]",
    "only one of credentialName or tlsCertificates can be set": "credentialNames: [b], tlsCertificates: [{serverCertificate: a, privateKey: b}]",
    "only one of credentialNames or tlsCertificates can be set": "credentialNames: [b], tlsCertificates: [{serverCertificate: a, privateKey: b}]",
}
TARGETS = "targetRefs: [{kind: Service, name: a, namespace: b}]"
BACKEND = "backendRefs: [{name: a, port: 80}]"
PORT = "{number: 1, name: a, protocol: TLS}"
MIRROR = "{backendRef: {name: a, port: 1}, percent: 1, fraction: {numerator: 1}}"
BY_HAND: dict[str, str] = {
    **{
        f"HTTPRoute.spec.rules[].sessionPersistence: {rule}": _route(f"{{sessionPersistence: {spec}, {BACKEND}}}")
        for rule, spec in SESSIONS.items()
    },
    **{
        f"GRPCRoute.spec.rules[].sessionPersistence: {rule}": _route(f"{{sessionPersistence: {spec}, {BACKEND}}}")
        for rule, spec in SESSIONS.items()
    },
    **{
        f"HTTPRoute.spec.rules[].filters[].externalAuth: {rule}": _route(
            f"{{filters: [{{type: ExternalAuth, externalAuth: {spec}}}], {BACKEND}}}"
        )
        for rule, spec in AUTHS.items()
    },
    **{f"ListenerSet.spec.listeners{rule}": _listeners(*items) for rule, items in LISTENERS.items()},
    **{
        f"Gateway.spec.listeners{rule}": f"{{gatewayClassName: a, listeners: [{items[0]}]}}"
        for rule, items in LISTENERS.items()
        if "tls mode" in rule or "[].tls" in rule
    },
    **{
        f"Gateway.spec.servers[].tls: {rule}": (
            f"{{servers: [{{hosts: [a.b], port: {PORT}, tls: {{mode: SIMPLE, {spec}}}}}]}}"
        )
        for rule, spec in CREDENTIALS.items()
    },
    **{
        f"Sidecar.spec.ingress[].tls: {rule}": f"{{ingress: [{{port: {{number: 1, protocol: TLS}}, tls: {{mode: SIMPLE, {spec}}}}}]}}"
        for rule, spec in CREDENTIALS.items()
    },
    **{
        f"{kind}.spec.targetRefs[].namespace: cross namespace referencing is not currently supported": f"{{{TARGETS}{rest}}}"
        for kind, rest in {
            "AuthorizationPolicy": "",
            "EnvoyFilter": "",
            "RequestAuthentication": "",
            "Telemetry": "",
            "TrafficExtension": ", lua: {inlineCode: a}",
            "WasmPlugin": ", url: a",
        }.items()
    },
    "EnvoyFilter.spec: only one of targetRefs or workloadSelector can be set": (
        "{targetRefs: [{kind: Service, name: a}], workloadSelector: {labels: {a: b}}}"
    ),
    "EnvoyFilter.spec.configPatches[].match.waypoint.portNumber: port must be between 1-65535": (
        "{configPatches: [{applyTo: LISTENER, match: {context: WAYPOINT, waypoint: {portNumber: 70000}}, patch: {operation: REMOVE}}]}"
    ),
    "GRPCRoute.spec.rules: Rule name must be unique within the route": _route(
        f"{{name: a, {BACKEND}}}, {{name: a, {BACKEND}}}"
    ),
    "GRPCRoute.spec.rules[].filters[].requestMirror: Only one of percent or fraction may be specified in HTTPRequestMirrorFilter": _route(
        f"{{filters: [{{type: RequestMirror, requestMirror: {MIRROR}}}], {BACKEND}}}"
    ),
    "Gateway.spec.addresses: Hostname values must be unique": (
        "{gatewayClassName: a, addresses: [{type: Hostname, value: a}, {type: Hostname, value: a}], listeners: [{name: a, port: 80, protocol: HTTP}]}"
    ),
    "Gateway.spec.infrastructure.labels: If specified, the label key's prefix must be a DNS subdomain not longer than 253 characters in total.": (
        f"{{gatewayClassName: a, infrastructure: {{labels: {{{'a' * 253}/b: c}}}}, listeners: [{{name: a, port: 80, protocol: HTTP}}]}}"
    ),
    "HTTPRoute.spec.rules[].matches[].path: type must be one of ['Exact', 'PathPrefix', 'RegularExpression']": _route(
        f"{{matches: [{{path: {{type: Suffix, value: /}}}}], {BACKEND}}}"
    ),
    "HTTPRoute.spec.rules[].timeouts: backendRequest timeout cannot be longer than request timeout": _route(
        f"{{timeouts: {{request: 1s, backendRequest: 2s}}, {BACKEND}}}"
    ),
    "RequestAuthentication.spec.jwtRules[].jwksUri: url must have scheme http:// or https://": "{jwtRules: [{issuer: a, jwksUri: 'ftp://a/b'}]}",
    "ServiceEntry.spec.endpoints[].address: UDS must be an absolute path or abstract socket": (
        "{hosts: [a.b], resolution: STATIC, endpoints: [{address: 'unix://a'}], ports: [{number: 1, name: a, protocol: HTTP}]}"
    ),
    "TLSRoute.spec.hostnames: Hostnames cannot contain an IP": f"{{hostnames: [10.0.0.1], rules: [{{{BACKEND}}}]}}",
    "TrafficExtension.spec.wasm.url: url must have schema one of [http, https, file, oci]": "{wasm: {url: 'ftp://a/b'}}",
    "TrafficExtension.spec.wasm.vmConfig.env[]: value may only be set when valueFrom is INLINE": (
        "{wasm: {url: 'https://a/b', vmConfig: {env: [{name: a, valueFrom: HOST, value: b}]}}}"
    ),
    "WasmPlugin.spec.url: url must have schema one of [http, https, file, oci]": "{url: 'ftp://a/b'}",
    "WasmPlugin.spec.vmConfig.env[]: value may only be set when valueFrom is INLINE": (
        "{url: 'https://a/b', vmConfig: {env: [{name: a, valueFrom: HOST, value: b}]}}"
    ),
    "WorkloadEntry.spec.address: UDS must be an absolute path or abstract socket": "{address: 'unix://a'}",
    "WorkloadGroup.spec.probe.httpGet.scheme: scheme must be one of [HTTP, HTTPS]": "{template: {}, probe: {httpGet: {port: 1, scheme: ftp}}}",
    "WorkloadGroup.spec.template.address: UDS must be an absolute path or abstract socket": "{template: {address: 'unix://a'}}",
    "WorkloadGroup.spec.template: UDS may not include ports": "{template: {address: 'unix:///a', ports: {a: 1}}}",
}
"""What breaks the rules that no change of a right object breaks, or that our judge of CEL cannot decide, by rule."""


def by_hand(crd: Value, label: str) -> bool:
    """Whether the object written for a rule is refused."""
    text = f"{{apiVersion: {crd['group']}/{crd['version']}, kind: {crd['kind']}, metadata: {{name: x, namespace: shop}}, spec: {BY_HAND[label]}}}"
    documents, found = load_documents(MemoryTree({"a.yaml": text.encode()}))
    assert [item.kind for item in documents] == [crd["kind"]], found
    return any(finding.severity is Severity.ERROR for document in documents for finding in validate(document))


def about(crd: Value) -> list[Value]:
    """The right objects of a CRD's kind, in its version."""
    version = f"{crd['group']}/{crd['version']}"
    named = {"name": "x", "namespace": "shop"}
    found = [
        {**item, "apiVersion": version, "metadata": {**named, **item.get("metadata", {})}}
        for item in right_objects()
        if (item["apiVersion"].rpartition("/")[0], item["kind"]) == (crd["group"], crd["kind"])
    ]
    return [item for item in found if not refused(item)]


def test_what_breaks_a_rule_of_a_crd_is_refused_by_ours() -> None:
    if not crds():
        reason = f"no conformance data at {CONFORMANCE} (set WEFT_CONFORMANCE)"
        if os.environ.get("WEFT_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    newest = {(crd["group"], crd["kind"]): crd for crd in reversed(crds())}
    accepted, written = [], set()
    for crd in newest.values():
        objects = about(crd)
        labels: dict[str, str] = {}
        broken: set[str] = set()
        for rule in crd["cel_rules"]:
            expression = rule["rule"]
            # An update rule compares with an earlier object, which Git does not have; status is not configuration.
            if "oldSelf" in expression or rule["path"].startswith(".status") or expression in broken:
                continue
            labels[expression] = f"{crd['kind']}{rule['path']}: {rule['message']}"
            for item in breaking(crd, rule, objects):
                broken.add(expression)
                if not refused(item):
                    accepted.append((labels[expression], item["spec"]))
        for label in sorted({labels[expression] for expression in labels.keys() - broken}):
            written.add(label)
            if not by_hand(crd, label):
                accepted.append((label, BY_HAND[label]))
    assert accepted == []
    assert written == BY_HAND.keys()
