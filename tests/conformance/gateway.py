"""Gateway API's conformance traffic, both suites, for real: manifests compiled, proxies started, requests sent by httpx, grpcio and sockets.

Every step that sends something is run; the corpus ``status`` has those about conditions. ``--verbose`` shows a table by feature.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from typing import Any

import msgspec
import trio

from snapshot.prepared import prepare
from snapshot.section import ServerTls
from tests.conformance.corpus import Tally, read
from tests.conformance.gateway_checks import judged, judged_bytes, judged_grpc
from tests.conformance.gateway_town import Town
from tests.conformance.traffic_calls import Call, Reply, send
from tests.proxies import Running, slice_named

WEIGHTED_REQUESTS = 500
TOLERANCE = 0.06
LEFT_OUT = {
    "MeshFrontendHostname": "MeshClusterIPMatching: a sidecar chooses by the authority of a request, as Istio's does, and not by the address",
}
"""Tests that are left out, with the reason."""
_ODD = "the manifest's first rule takes every call of the method, so what this step expects of another rule cannot be"
ODD_STEPS = {("GRPCRouteRequestHeaderModifier", step): _ODD for step in (3, 4, 6, 7)}
DELETED = {("HTTPRouteReferenceGrant", 4): "ReferenceGrant"}
"""What the suite deletes before a step."""
LOST_METADATA = {
    "set": {"some-other-header": "this-header-should-be-set"},
    "add": {"x-header-add": "this-value-should-be-appended"},
    "remove": {"x-header-remove": "val"},
    "multi": {
        "x-header-set-2": "set-header-2",
        "x-header-add-2": "add-header-2",
        "x-header-remove-2": "remove-header-2",
    },
}
"""What the calls of the mesh's gRPC header test send besides; the data lack it. By the value of x-test-case."""
_GRPC = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho"


def run() -> Tally:
    """Every request."""
    tally = Tally()
    trio.run(_run, tally)
    return tally


async def _run(tally: Tally) -> None:
    tests: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for case in read("gateway-conformance/requests.json")["cases"]:
        why = LEFT_OUT.get(case["test"]) or ODD_STEPS.get((case["test"], case["step"]))
        if why:
            tally.leave(label(case), why)
        else:
            tests.setdefault((case["suite"], case["test"]), []).append(case)
    for (suite, _), cases in tests.items():
        hosts = [name for case in cases for name in _names(case)]
        town = Town(suite, cases[0]["manifests"], hosts)
        async with town.open():
            for case in cases:
                await town.without(DELETED.get((case["test"], case["step"]), ""))
                problem = town.problem or await _case(case, town)
                tally.count(label(case), problem or None)
                for feature in case["features"]:
                    tally.features.setdefault(feature, Counter())["wrong" if problem else "right"] += 1


def label(case: dict[str, Any]) -> str:
    """How a case is called in the table."""
    request = case.get("request") or {"method": case["call"], "host": "", "path": ""}
    return f"{case['test']} step {case['step']} {request['method']} {request['host'] or ''}{request['path']}"


def _names(case: dict[str, Any]) -> list[str]:
    request = case.get("request") or {}
    expected = (case.get("args") or {}).get("expected") or {}
    authority = (expected.get("RequestMetadata") or {}).get("Authority") or expected.get("Hostname")
    names = [request.get("host"), request.get("sni"), authority]
    return [name.rpartition(":")[0] or name for name in names if isinstance(name, str) and "." in name]


async def _case(case: dict[str, Any], town: Town) -> str | None:
    found = await _way(case, town)
    if isinstance(found, str):
        return found
    proxy, port = found
    call = _call(case, port, town)
    if case["call"] == "mesh.RequestBatch" or "Weight" in case["test"]:
        return await _weighted(case, call, town)
    if (case.get("expect") or {}).get("mirrored_to"):
        return await _mirrored(case, call, town)
    issuer = _issuer(case, proxy, town)
    (reply,) = await send(call, town.client_context(issuer))
    if "{uuid}" in (case.get("request") or {}).get("path", "") and "path" in reply.seen:
        # Each try has an id of its own.
        reply.seen["path"] = case["expect"]["backend_sees"]["path"]
    return _judged(case, reply)


def _judged(case: dict[str, Any], reply: Reply) -> str | None:
    kind = case["call"]
    if "ExpectEventuallyConnectionRejection" in kind:
        return None if reply.error or not reply.text else f"not rejected: {reply.text[:80]}"
    if kind.startswith("grpc."):
        return judged_grpc(case["args"]["expected"], reply)
    if kind.startswith(("tcp.", "udp.")):
        return judged_bytes((case.get("args") or {}).get("expected") or {}, reply)
    problem = judged(case, reply)
    told = case["request"].get("sni")
    if problem is None and case["test"].startswith("BackendTLS") and told and "sni" in reply.seen:
        wanted = told if kind.startswith("http.") else "abc.example.com"
        return None if reply.seen["sni"] == wanted else f"the back end was asked for {reply.seen['sni']}, not {wanted}"
    return problem


# --- which proxy, which port -----------------------------------------------------------------------------------------------------


async def _way(case: dict[str, Any], town: Town) -> tuple[Running, int] | str:
    if case["suite"] == "mesh":
        return await _mesh_way(case, town)
    gateway, wanted = _gateway(case, town)
    proxy = await town.proxy(f"gateway/{gateway}")
    if proxy is None:
        return f"no slice for gateway {gateway}"
    port = proxy.ports.get(f"{wanted}/udp" if case["call"].startswith("udp.") else wanted)
    return (proxy, port) if port else f"gateway {gateway} does not listen on {wanted}"


async def _mesh_way(case: dict[str, Any], town: Town) -> tuple[Running, int] | str:
    namespace = case["via"]["namespace"]
    version = case["via"]["mesh_client"].rpartition("=")[2]
    proxy = await town.proxy(f"sidecar/{namespace}/echo-{version}")
    assert proxy is not None
    host, _, number = (case["request"]["host"] or "echo").partition(":")
    full = f"{host}.svc.cluster.local" if "." in host else f"{host}.{namespace}.svc.cluster.local"
    listener = f"{full}:{number or 80}"
    port = proxy.ports.get(listener)
    return (proxy, port) if port else f"no listener {listener}"


def _gateway(case: dict[str, Any], town: Town) -> tuple[str, str]:
    """The gateway that a case calls, and the number of its port."""
    expression = case["via"].get("$expr", "")
    if expression:
        path = case["manifests"][0]
        found = next(item for item in town.documents[path] if item["kind"] == "Gateway")
        number = re.search(r'"(\d+)"', expression)
        assert number is not None
        return f"{found['metadata']['namespace']}/{found['metadata']['name']}", number[1]
    gateway = case["via"]["gateway"]
    namespace, _, name = gateway.partition("/")
    listeners = [
        listener
        for documents in town.documents.values()
        for item in documents
        if item["kind"] == "Gateway" and (item["metadata"]["namespace"], item["metadata"]["name"]) == (namespace, name)
        for listener in item["spec"]["listeners"]
    ]
    named = [listener for listener in listeners if listener["name"] in case["via"]["listeners"]]
    secure = case["call"].startswith("tls.") or (case.get("args") or {}).get("useTLS", False)
    fitting = [item for item in named or listeners if (item["protocol"] in ("HTTPS", "TLS")) == bool(secure)]
    # A host with a port names the listener, too.
    asked = ((case.get("request") or {}).get("host") or "").rpartition(":")[2]
    ports = [str(item["port"]) for item in fitting or listeners]
    return gateway, asked if asked in ports else ports[0]


def _issuer(case: dict[str, Any], proxy: Running, town: Town):  # type: ignore[no-untyped-def]
    """Who issued the certificate that the client shows, by the words of the step; None where it shows none."""
    words = " ".join(case["subtest"] or ())
    if "ClientCertificate" not in case["test"] or "without client certificate" in words:
        return None
    if "non-matching" in words or (case["expect"]["failure"] and "ClientCertificateValidation" in case["test"]):
        return town.others.setdefault("nobody's", type(town.authority)("nobody's"))
    assert town.snapshot is not None
    gateway, number = _gateway(case, town)
    prepared = prepare(slice_named(town.snapshot, f"gateway/{gateway}"))
    for listener in prepared.listeners.values():
        for chain in listener.chains:
            if listener.name.endswith(f":{number}") and isinstance(chain.tls, ServerTls) and chain.tls.client_ca:
                return town.others[chain.tls.client_ca]
    return None


# --- what is sent ----------------------------------------------------------------------------------------------------------------


def _call(case: dict[str, Any], port: int, town: Town) -> Call:
    kind = case["call"]
    if kind.startswith("grpc."):
        return _grpc_call(case["args"]["expected"], port)
    if kind.startswith("udp."):
        return Call(port, "", scheme="udp")
    if kind.startswith("tcp.") or "Rejection" in kind:
        arguments = case["args"]
        name = arguments["serverName"]
        name = name if isinstance(name, str) else town.route_host()
        secure = "Rejection" in kind or arguments["useTLS"]
        return Call(port, name, scheme="tls" if secure else "tcp")
    request = case["request"]
    headers = {
        name.lower(): ", ".join(value) if isinstance(value, list) else value
        for name, value in (request["headers"] or {}).items()
    }
    headers |= LOST_METADATA.get(headers.get("x-test-case", ""), {})
    host = headers.pop("host", None) or request["host"] or ("echo" if case["suite"] == "mesh" else "127.0.0.1")
    grpc = request["protocol"] == "grpc"
    return Call(
        port=port,
        host=host,
        scheme="grpc" if grpc else "https" if kind.startswith("tls.") else "http",
        path=(request["path"] or "/").replace("{uuid}", uuid.uuid4().hex),
        method=request["method"],
        headers=headers,
        http2=request["protocol"] in ("H2C_PRIOR_KNOWLEDGE", "H2"),
        server_name=(request["sni"] or "") if kind.startswith("tls.") else "",
    )


def _grpc_call(expected: dict[str, Any], port: int) -> Call:
    method = next(name for name in ("EchoThree", "EchoTwo", "Echo") if f"{name}Request" in expected)
    metadata = expected.get("RequestMetadata") or {}
    headers = {name.lower(): value for name, value in (metadata.get("Metadata") or {}).items()}
    return Call(port, metadata.get("Authority") or "127.0.0.1", "grpc", f"{_GRPC}/{method}", headers=headers)


async def _weighted(case: dict[str, Any], call: Call, town: Town) -> str | None:
    """Shares as the route's weights have them, within six points."""
    counts: Counter[str] = Counter()
    context = town.client_context()
    share = 25
    each = msgspec.structs.replace(call, count=WEIGHTED_REQUESTS // share)
    if call.scheme == "udp":
        each = msgspec.structs.replace(call, count=1)
        share = WEIGHTED_REQUESTS

    async def some() -> None:
        for reply in await send(each, context):
            counts[reply.seen.get("service") or f"{reply.status} {reply.error or reply.text[:60]}"] += 1

    for _ in range(share // 5):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(some)
    weights = _weights(case, town)
    total = sum(weights.values())
    sent = sum(counts.values())
    wrong = set(counts) - {name for name, weight in weights.items() if weight}
    wrong |= {name for name, weight in weights.items() if abs(counts[name] / sent - weight / total) > TOLERANCE}
    return f"shares {dict(counts)}, wanted {weights}" if wrong else None


def _weights(case: dict[str, Any], town: Town) -> dict[str, int]:
    """The weights of the test's route, by program."""
    routes = [item for path in case["manifests"] for item in town.documents[path] if item["kind"].endswith("Route")]
    (rule,) = routes[0]["spec"]["rules"]
    return {backend["name"]: backend.get("weight", 1) for backend in rule["backendRefs"]}


async def _mirrored(case: dict[str, Any], call: Call, town: Town) -> str | None:
    """Copies come to every back end that the route mirrors to: all requests, or about the share that is asked for."""
    wanted = case["expect"]["mirrored_to"]
    count = 300 if any("Percent" in item for item in wanted) else 5
    before = {name: len(program.seen) for name, program in town.programs.items()}
    replies = await send(msgspec.structs.replace(call, count=count), town.client_context())
    problem = next((why for reply in replies if (why := _judged(case, reply))), None)
    if problem:
        return problem
    for item in wanted:
        key = item["BackendRef"]["Namespace"], item["BackendRef"]["Name"]
        share = item.get("Percent", 100) / 100
        with trio.move_on_after(2):
            await town.programs[key].wait_seen(before[key] + round(share * count * 0.7))
        got = len(town.programs[key].seen) - before[key]
        if abs(got / count - share) > 0.12:
            return f"{got} of {count} came to {key[1]}, wanted {share:.0%}"
    return None
