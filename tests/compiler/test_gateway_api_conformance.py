"""Gateway API's own conformance requests, decided on compiled slices: status, backend, rewritten path and authority.

What only running proxies can show (retries that happen, time-outs that pass, endpoints behind services) is left to the runner that
sends requests.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from snapshot.decision import Decision
from snapshot.prepared import PreparedSlice
from tests.compiler.compiled import CONFORMANCE, CompiledMesh, ask, compiled, conformance, request

ROOT = CONFORMANCE / "gateway-conformance"
LEFT_OUT = {
    "HTTPRouteBackendRequestRedirect": "filters of a backend that redirect are not carried yet",
    "HTTPRouteBackendURLRewrite": "filters of a backend that rewrite are not carried yet",
    "HTTPRouteRetry": "what retries come to is the runtime's",
    "HTTPRouteRetryConnectionError": "what retries come to is the runtime's",
    "HTTPRouteRetryWithTimeouts": "what retries come to is the runtime's",
    "HTTPRouteTimeoutRequest": "time passes only in a running proxy",
    "HTTPRouteTimeoutBackendRequest": "time passes only in a running proxy",
    "HTTPRouteServiceTypes": "which endpoints stand behind a service is the runtime's",
}
AFTER_A_CHANGE = {("HTTPRouteReferenceGrant", 4): "asked after the grant has been deleted"}
Case = dict[str, Any]


def cases(suite: str) -> list[Case]:
    path = ROOT / "requests.json"
    if not path.exists():
        return []
    carried = ("Gateway", "HTTPRoute", "Mesh", "ReferenceGrant")
    return [
        case
        for case in json.loads(path.read_text())["cases"]
        if case["suite"] == suite
        and case.get("expect")
        and case["test"] not in LEFT_OUT
        and (case["test"], case["step"]) not in AFTER_A_CHANGE
        and all(
            feature in carried or feature.startswith(("HTTPRoute", "GatewayPort", "GatewayHTTP", "Mesh"))
            for feature in case["features"]
        )
        and not any("GRPC" in feature for feature in case["features"])
    ]


@cache
def mesh_of(suite: str, manifests: tuple[str, ...]) -> CompiledMesh:
    base = ROOT / "manifests" / ("mesh" if suite == "mesh" else "base") / "manifests.yaml"
    texts = [path.read_text() for path in (base, *(ROOT / "manifests" / name for name in manifests))]
    filled = [
        text.replace("{GATEWAY_CLASS_NAME}", "weft").replace("{GATEWAY_CONTROLLER_NAME}", "weft.dev/gateway-controller")
        for text in texts
    ]
    return compiled(*filled, allow_partial=True)


def named(case: Case) -> str:
    return f"{case['test']}-{case['step']}-{case['request']['host']}{case['request']['path']}"


def decided(prepared: PreparedSlice, case: Case, listener: str, chain: str, scheme: str, host: str) -> Decision:
    asked = case["request"]
    head = request(
        asked["path"] or "/",
        host=asked["host"] or host,
        method=asked["method"] or "GET",
        headers=asked["headers"] or {},
        scheme=scheme,
    )
    return ask(prepared, head, listener=listener, chain=chain)


def agrees(decision: Decision, case: Case) -> bool:
    expected = case["expect"]
    allowed = set(expected["status_codes"] or [200])
    if decision.reply is not None:
        return decision.reply.status in allowed
    live = [item for item in decision.destinations if item.weight]
    statuses = {200 if item.cluster else item.status for item in live}
    if not statuses & allowed:
        return False
    if 200 not in statuses:
        return True
    sees = expected.get("backend_sees") or {}
    path = (sees.get("path") or "").partition("?")[0]
    right_path = not path or decision.path is None or decision.path == path
    right_host = not sees.get("host") or decision.authority is None or decision.authority == sees["host"]
    backend = expected.get("backend")
    services = {item.cluster.rpartition("|")[2].partition(".")[0] for item in live}
    # In the mesh a service `echo` stands for the workloads `echo-v1` and `echo-v2`.
    return right_path and right_host and (not backend or any(backend.startswith(name) for name in services if name))


def test_the_corpus_is_here() -> None:
    conformance("gateway-conformance", "requests.json")
    assert len(cases("gateway")) > 200
    assert len(cases("mesh")) > 60


@pytest.mark.parametrize("case", cases("gateway"), ids=named)
def test_a_gateway_decides_as_the_conformance_request_says(case: Case) -> None:
    prepared = mesh_of("gateway", tuple(case["manifests"])).slice(f"gateway/{case['via']['gateway']}")
    asked = case["request"]
    server_name = asked.get("sni") or asked["host"] or "x"
    ways = []
    for listener in sorted(prepared.listeners.values(), key=lambda item: item.name):
        for chain in listener.chains:
            fits = not chain.server_names or any(
                name == server_name or (name.startswith("*") and server_name.endswith(name[1:]))
                for name in chain.server_names
            )
            if not chain.name.startswith("mtls") and fits:
                ways.append((listener.name, chain.name, "https" if chain.tls else "http"))
    # A case without a listener's name goes to whichever listener of its Gateway answers it so.
    assert any(agrees(decided(prepared, case, *way, host="203.0.113.9"), case) for way in ways)


@pytest.mark.parametrize("case", cases("mesh"), ids=named)
def test_a_sidecar_decides_as_the_conformance_request_says(case: Case) -> None:
    mesh = mesh_of("mesh", tuple(case["manifests"]))
    wanted = {tuple(pair.split("=")) for pair in case["via"]["mesh_client"].split(",")}
    name = next(
        entry.name
        for entry in mesh.snapshot.index.slices
        if entry.namespace == case["via"]["namespace"] and wanted <= set(entry.labels)
    )
    decision = decided(mesh.slice(name), case, "virtualOutbound", "http", "http", host="echo")
    assert agrees(decision, case)
