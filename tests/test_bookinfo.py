"""Istio's bookinfo, each routing file unchanged: a sidecar and a gateway started from its snapshot route as the file says."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio
import yaml

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.live import RegisteredWorkload
from tests.conformance.bookinfo import APPLICATION, NEEDS_SUBSETS, files
from tests.conformance.corpus import DATA
from tests.echo import Echo
from tests.echo import running as running_origins
from tests.proxies import Running, running, slice_named

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not DATA.is_dir() and os.environ.get("WEFT_REQUIRE_ALL") != "1",
        reason="no conformance data: set WEFT_CONFORMANCE",
    ),
]
REQUESTS = 300


@asynccontextmanager
async def bookinfo(slice_name: str, *routing: str, subsets: bool = True) -> AsyncIterator[Running]:
    """A proxy of bookinfo with the routing files, and an origin for each of the application's deployments."""
    tree = files(*APPLICATION, *(NEEDS_SUBSETS if subsets else ()), *routing)
    compilation = compile_tree(MemoryTree(tree))
    assert compilation.snapshot is not None, compilation.diagnostics
    deployments = [
        document
        for content in tree.values()
        for document in yaml.safe_load_all(content)
        if document and document["kind"] == "Deployment"
    ]
    origins = [Echo(item["metadata"]["name"]) for item in deployments]
    async with running_origins(*origins):
        workloads = [
            RegisteredWorkload(
                namespace="default",
                name=origin.name,
                address=origin.address,
                labels=tuple(sorted(item["spec"]["template"]["metadata"]["labels"].items())),
                identity="",
                mesh=False,
                ports=(("9080", origin.port),),
            )
            for item, origin in zip(deployments, origins, strict=True)
        ]
        async with running(slice_named(compilation.snapshot, slice_name), workloads) as proxy:
            yield proxy


async def shares(
    proxy: Running, service: str, headers: dict[str, str] | None = None, requests: int = REQUESTS
) -> dict[str, float]:
    """Which deployments answered, or which status came, by share of requests through the sidecar's explicit proxy."""
    counts: Counter[str] = Counter()
    limiter = trio.CapacityLimiter(10)
    through = httpx.AsyncHTTPTransport(proxy=f"http://127.0.0.1:{proxy.ports['outbound']}")

    async def one(client: httpx.AsyncClient) -> None:
        async with limiter:
            response = await client.get(f"http://{service}:9080/", headers=headers)
        counts[response.json()["service"] if response.status_code == 200 else str(response.status_code)] += 1

    async with httpx.AsyncClient(transport=through, timeout=10) as client, trio.open_nursery() as nursery:
        for _ in range(requests):
            nursery.start_soon(partial(one, client))
    return {name: count / requests for name, count in counts.items()}


JASON = {"end-user": "jason"}


@pytest.mark.parametrize(
    ("routing", "service", "headers", "wanted"),
    [
        ("virtual-service-all-v1", "reviews", None, {"reviews-v1": 1.0}),
        ("virtual-service-all-v1", "details", None, {"details-v1": 1.0}),
        ("virtual-service-reviews-v3", "reviews", None, {"reviews-v3": 1.0}),
        ("virtual-service-reviews-50-v3", "reviews", None, {"reviews-v1": 0.5, "reviews-v3": 0.5}),
        ("virtual-service-reviews-80-20", "reviews", None, {"reviews-v1": 0.8, "reviews-v2": 0.2}),
        ("virtual-service-reviews-90-10", "reviews", None, {"reviews-v1": 0.9, "reviews-v2": 0.1}),
        ("virtual-service-reviews-v2-v3", "reviews", None, {"reviews-v2": 0.5, "reviews-v3": 0.5}),
        ("virtual-service-reviews-test-v2", "reviews", JASON, {"reviews-v2": 1.0}),
        ("virtual-service-reviews-test-v2", "reviews", None, {"reviews-v1": 1.0}),
        ("virtual-service-reviews-jason-v2-v3", "reviews", JASON, {"reviews-v2": 1.0}),
        ("virtual-service-reviews-jason-v2-v3", "reviews", None, {"reviews-v3": 1.0}),
        ("virtual-service-ratings-test-abort", "ratings", JASON, {"500": 1.0}),
        ("virtual-service-ratings-test-abort", "ratings", None, {"ratings-v1": 1.0}),
    ],
)
async def test_a_sidecar_routes_as_the_virtual_service_says(
    routing: str, service: str, headers: dict[str, str] | None, wanted: dict[str, float]
) -> None:
    async with bookinfo("sidecar/default/productpage-v1", f"networking/{routing}.yaml") as proxy:
        got = await shares(proxy, service, headers)
    assert set(got) == set(wanted)
    assert all(abs(got[name] - share) < 0.1 for name, share in wanted.items()), got


@pytest.mark.parametrize(
    ("routing", "service", "wanted"),
    [
        ("route-all-v1", "reviews", {"reviews-v1": 1.0}),
        ("route-reviews-v1", "reviews", {"reviews-v1": 1.0}),
        ("route-reviews-v3", "reviews", {"reviews-v3": 1.0}),
        ("route-reviews-50-v3", "reviews", {"reviews-v1": 0.5, "reviews-v3": 0.5}),
        ("route-reviews-90-10", "reviews", {"reviews-v1": 0.9, "reviews-v2": 0.1}),
    ],
)
async def test_a_sidecar_routes_as_the_http_route_on_a_service_says(
    routing: str, service: str, wanted: dict[str, float]
) -> None:
    async with bookinfo("sidecar/default/productpage-v1", f"gateway-api/{routing}.yaml", subsets=False) as proxy:
        got = await shares(proxy, service)
    assert set(got) == set(wanted)
    assert all(abs(got[name] - share) < 0.1 for name, share in wanted.items()), got


async def test_a_fault_delays_only_the_user_that_it_is_for() -> None:
    routing = "networking/virtual-service-ratings-test-delay.yaml"
    async with bookinfo("sidecar/default/reviews-v1", routing) as proxy:
        with trio.move_on_after(0.7) as delayed:
            await shares(proxy, "ratings", JASON, 1)
        assert delayed.cancelled_caught
        with trio.fail_after(5):
            assert await shares(proxy, "ratings", None, 5) == {"ratings-v1": 1.0}


@pytest.mark.parametrize(
    ("slice_name", "routing", "port"),
    [
        ("gateway/istio=ingressgateway", "networking/bookinfo-gateway.yaml", "8080"),
        ("gateway/default/bookinfo-gateway", "gateway-api/bookinfo-gateway.yaml", "80"),
    ],
)
async def test_the_gateway_lets_in_the_product_page_and_nothing_else(slice_name: str, routing: str, port: str) -> None:
    async with bookinfo(slice_name, routing) as proxy, httpx.AsyncClient(trust_env=False) as client:
        base = f"http://127.0.0.1:{proxy.ports[port]}"
        for path in ("/productpage", "/static/app.css", "/login", "/logout", "/api/v1/products/0"):
            response = await client.get(f"{base}{path}")
            assert response.status_code == 200, path
            assert response.json()["service"] == "productpage-v1"
        for path in ("/", "/productpage/x", "/ratings"):
            assert (await client.get(f"{base}{path}")).status_code == 404, path
