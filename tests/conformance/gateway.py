"""Gateway API's conformance traffic, for real: manifests compiled, a proxy started per gateway, requests sent by httpx, echo back ends.

Only tests whose features are all in ``FEATURES``, and their steps that send requests; the corpus ``status`` has those about conditions.
"""

from __future__ import annotations

import json
import ssl
from collections import Counter
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import trio
import trustme
import yaml

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.index import Snapshot
from snapshot.live import Credential, RegisteredWorkload
from tests.conformance.corpus import DATA, Tally, read
from tests.echo import Echo
from tests.echo import running as running_origins
from tests.proxies import Running, running, slice_named

ROOT = DATA / "gateway-conformance"
FEATURES = {
    "Gateway",
    "GatewayHTTPListenerIsolation",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteCORS",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestPercentageMirror",
}
WEIGHTED_REQUESTS = 500


def run() -> Tally:
    """Every request of the tests in scope."""
    tally = Tally()
    trio.run(_run, tally)
    return tally


async def _run(tally: Tally) -> None:
    tests: dict[str, list[dict[str, Any]]] = {}
    for case in read("gateway-conformance/requests.json")["cases"]:
        if case["suite"] == "gateway" and set(case["features"]) <= FEATURES:
            tests.setdefault(case["test"], []).append(case)
    authority = trustme.CA()
    for name, cases in tests.items():
        await _test(tally, name, cases, authority)


async def _test(tally: Tally, name: str, cases: list[dict[str, Any]], authority: trustme.CA) -> None:
    paths = ["base/manifests.yaml", *cases[0]["manifests"]]
    text = {path: (ROOT / "manifests" / path).read_text().replace("{GATEWAY_CLASS_NAME}", "istio") for path in paths}
    deployments = [
        item
        for content in text.values()
        for item in yaml.safe_load_all(content)
        if item and item["kind"] == "Deployment"
    ]
    origins = [Echo(item["metadata"]["name"], item["metadata"]["namespace"]) for item in deployments]
    async with running_origins(*origins):
        first = next(origin for origin in origins if origin.name == "infra-backend-v1")
        # Not below tests/, which is set aside in a mesh repository.
        tree = {
            path.replace("tests/", "case/"): with_addresses(content, first).encode() for path, content in text.items()
        }
        compilation = compile_tree(MemoryTree(tree), allow_partial=True)
        workloads = [registered(item, origin) for item, origin in zip(deployments, origins, strict=True)]
        for case in cases:
            if compilation.snapshot is None:
                errors = [
                    f"{item.span.file}:{item.span.line} {item.message}"
                    for item in compilation.diagnostics
                    if item.severity == 3
                ]
                tally.count(label(case), f"does not compile: {errors[:2]}")
            else:
                tally.count(label(case), await _case(case, compilation.snapshot, workloads, authority))


def with_addresses(content: str, origin: Echo) -> str:
    """The manifests with their EndpointSlices filled in, as the suite itself does once the pods run; there is no origin for IPv6."""
    documents = [document for document in yaml.safe_load_all(content) if document]
    if not any(document["kind"] == "EndpointSlice" for document in documents):
        return content
    kept = [document for document in documents if document.get("addressType") != "IPv6"]
    for document in kept:
        if document["kind"] == "EndpointSlice":
            document["endpoints"] = [{"addresses": [origin.address]}]
            document["ports"][0]["port"] = origin.port
    return yaml.safe_dump_all(kept)


def registered(item: dict[str, Any], origin: Echo) -> RegisteredWorkload:
    """A deployment's one pod, as a workload without a sidecar."""
    labels = item["spec"]["template"]["metadata"]["labels"]
    ports = tuple((str(number), origin.port) for number in (3000, 3001, 8080, 8443))
    return RegisteredWorkload(
        namespace=origin.namespace,
        name=origin.name,
        address=origin.address,
        labels=tuple(sorted(labels.items())),
        identity="",
        mesh=False,
        ports=ports,
    )


def label(case: dict[str, Any]) -> str:
    """How a case is called in the table."""
    request = case["request"]
    return f"{case['test']} step {case['step']} {request['method']} {request['host'] or ''}{request['path']}"


async def _case(
    case: dict[str, Any], snapshot: Snapshot, workloads: list[RegisteredWorkload], authority: trustme.CA
) -> str | None:
    namespace, _, name = case["via"]["gateway"].partition("/")
    if f"gateway/{namespace}/{name}" not in {entry.name for entry in snapshot.index.slices}:
        return f"no slice for gateway {namespace}/{name}"
    slice_ = slice_named(snapshot, f"gateway/{namespace}/{name}")
    certificate = authority.issue_cert(
        "*.example.org", "example.org", "*.wildcard.org", "*.org", "second-example.org", "unknown-example.org"
    )
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    credential = Credential(
        "gateway-conformance-infra/tls-validity-checks-certificate", chain, certificate.private_key_pem.bytes()
    )
    async with running(slice_, workloads, [credential]) as proxy:
        if case["test"] == "HTTPRouteWeight":
            return await _weighted(case, proxy)
        return await _sent(case, proxy, authority)


async def _sent(case: dict[str, Any], proxy: Running, authority: trustme.CA) -> str | None:
    request = case["request"]
    tls = case["call"].startswith("tls.")
    ports = [port for number, port in proxy.ports.items() if (number == "443") == tls]
    # A host with a port names the listener, too.
    port = proxy.ports.get((request["host"] or "").rpartition(":")[2], ports[0])
    response = await _request(request, port, authority if tls else None)
    return _judged(case, response)


async def _request(request: dict[str, Any], port: int, authority: trustme.CA | None) -> httpx.Response:
    context = ssl.create_default_context()
    if authority is not None:
        authority.configure_trust(context)
    host = request["host"] or "127.0.0.1"
    headers = {
        "host": host,
        **{
            name: ", ".join(values) if isinstance(values, list) else values
            for name, values in (request["headers"] or {}).items()
        },
    }
    async with httpx.AsyncClient(verify=context, timeout=5, trust_env=False) as client:
        return await client.request(
            request["method"],
            f"{'https' if authority else 'http'}://127.0.0.1:{port}{request['path']}",
            headers=headers,
            extensions={"sni_hostname": request["sni"]} if request["sni"] else {},
        )


def _judged(case: dict[str, Any], response: httpx.Response) -> str | None:
    expect = case["expect"]
    if response.status_code not in expect["status_codes"]:
        return f"status {response.status_code}, wanted {expect['status_codes']}"
    if expect["redirect"] and (problem := _redirected(expect["redirect"], response)):
        return problem
    for name, value in (expect["response_headers"] or {}).items():
        if response.headers.get(name) != value:
            return f"response header {name} is {response.headers.get(name)!r}"
    for name in expect["response_absent_headers"] or ():
        if name in response.headers:
            return f"response header {name} is there"
    # The proxy itself answers a preflight, with nothing in it.
    if response.status_code != 200 or (not response.content and not expect["backend"]):
        return None
    seen = response.json()
    if expect["backend"] and (seen["service"], seen["namespace"]) != (expect["backend"], expect["backend_namespace"]):
        return f"went to {seen['namespace']}/{seen['service']}, wanted {expect['backend']}"
    return _back_end_saw(expect["backend_sees"], seen)


def _back_end_saw(wanted: dict[str, Any], seen: dict[str, Any]) -> str | None:
    if wanted["path"] and seen["path"] != wanted["path"]:
        return f"the back end saw path {seen['path']}"
    if wanted["host"] and seen["host"] != wanted["host"]:
        return f"the back end saw host {seen['host']}"
    for name, value in (wanted["headers"] or {}).items():
        got = ",".join(seen["headers"].get(name.lower(), []))
        if got != (",".join(value) if isinstance(value, list) else value):
            return f"the back end saw {name}: {got!r}, wanted {value!r}"
    for name in wanted["absent_headers"] or ():
        if name.lower() in seen["headers"]:
            return f"the back end saw {name}"
    return None


def _redirected(wanted: dict[str, Any], response: httpx.Response) -> str | None:
    parts = urlsplit(response.headers.get("location", ""))
    got = {"Scheme": parts.scheme, "Host": parts.hostname, "Port": str(parts.port or ""), "Path": parts.path}
    for name, value in wanted.items():
        if got.get(name) != value:
            return f"location {response.headers.get('location')!r}: {name} is not {value!r}"
    return None


async def _weighted(case: dict[str, Any], proxy: Running) -> str | None:
    """Shares of 70, 30 and 0 within five points, as the suite itself asks."""
    counts: Counter[str] = Counter()
    limiter = trio.CapacityLimiter(20)

    async def one(client: httpx.AsyncClient) -> None:
        async with limiter:
            response = await client.get(f"http://127.0.0.1:{proxy.ports['80']}{case['request']['path']}")
            counts[
                response.json()["service"]
                if response.status_code == 200
                else f"{response.status_code} {response.text[:80]}"
            ] += 1

    async with httpx.AsyncClient(timeout=5, trust_env=False) as client, trio.open_nursery() as nursery:
        for _ in range(WEIGHTED_REQUESTS):
            nursery.start_soon(partial(one, client))
    shares = {name: count / WEIGHTED_REQUESTS for name, count in counts.items()}
    right = abs(shares.get("infra-backend-v1", 0) - 0.7) < 0.05 and abs(shares.get("infra-backend-v2", 0) - 0.3) < 0.05
    return None if right and "infra-backend-v3" not in shares else f"shares {json.dumps(shares)}"
