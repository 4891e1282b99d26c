"""Endpoints that say how busy they are, on the trio engine and on a real Envoy: each takes what its load leaves it."""

from __future__ import annotations

import base64
import json
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from policies.balancing import Utilization, Warmup
from policies.match import PathPrefix
from snapshot.section import Cluster, Endpoint, Section, ServiceName, StaticEndpoints
from tests.differential.client import Client
from tests.proxies import running
from tests.runtime.envoying import envoying
from tests.slices import SOURCE, gateway_listener, host_sections, route, slice_of, table

pytestmark = pytest.mark.integration

SAMPLE = 300
WITHIN = 0.07
PATIENCE_S = 20.0
MESSAGE = b"".join(
    (
        struct.pack("<Bd", 1 << 3 | 1, 0.9),
        struct.pack("<Bd", 6 << 3 | 1, 100.0),
        struct.pack("<Bd", 9 << 3 | 1, 0.25),
    )
)
REPORTS = {
    # 100 requests a second: over 0.5 is 200; over 0.25, which the application says itself, 400; over 0.5 and a half of failures 100.
    "text": b"endpoint-load-metrics: TEXT cpu_utilization=0.5,rps_fractional=100\r\n",
    "message": b"endpoint-load-metrics-bin: " + base64.b64encode(MESSAGE) + b"\r\n",
    "json": b"endpoint-load-metrics: JSON "
    + json.dumps({"cpu_utilization": 0.5, "rps_fractional": 100, "eps": 50}).encode()
    + b"\r\n",
    # Says nothing, and weighs what is usual: 200.
    "silent": b"",
}
EXPECTED = {"text": 200 / 900, "message": 400 / 900, "json": 100 / 900, "silent": 200 / 900}


@asynccontextmanager
async def origins() -> AsyncIterator[dict[str, int]]:
    """An application for each report, by name; the ports."""
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        ports = {}
        for name, report in REPORTS.items():
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            ports[name] = listener.socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, _Application(name, report).serve, [listener])
        yield ports
        nursery.cancel_scope.cancel()
        await stack.aclose()


class _Application:
    def __init__(self, name: str, report: bytes) -> None:
        self._reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-seen: " + name.encode() + b"\r\n" + report + b"\r\n"

    async def serve(self, stream: trio.SocketStream) -> None:
        received = b""
        try:
            async for data in stream:
                received += data
                while b"\r\n\r\n" in received:
                    received = received.partition(b"\r\n\r\n")[2]
                    await stream.send_all(self._reply)
        except trio.BrokenResourceError:
            return


@pytest.mark.parametrize("warmup", [None, Warmup(1)])
async def test_both_engines_send_by_what_endpoints_say_of_their_load(tmp_path: Path, warmup: Warmup | None) -> None:
    settings = Utilization(stabilization_ms=0, update_ms=100)
    async with origins() as ports:
        members = StaticEndpoints(
            tuple(Endpoint("127.0.0.1", port, weight=number + 1) for number, port in enumerate(ports.values()))
        )
        cluster = Cluster(
            "busy",
            ServiceName("busy", "busy", "default"),
            members,
            (SOURCE,),
            balance="round_robin",
            utilization=settings,
            warmup=warmup,
        )
        routes = host_sections("all", ["*"], [route(PathPrefix("/"), "busy")])
        sections: list[Section] = [gateway_listener(), table(), *routes, cluster]
        async with running(slice_of(*sections)) as ours, envoying(tmp_path, *sections) as theirs:
            for engine, port in (("trio", ours.ports["80"]), ("envoy", theirs.ports[80])):
                shares: dict[str, float] = {}
                with trio.move_on_after(PATIENCE_S):
                    while not _near(shares):
                        shares = await _shares(port)
                assert _near(shares), (engine, shares)


def _near(shares: dict[str, float]) -> bool:
    return bool(shares) and all(abs(shares.get(name, 0) - share) < WITHIN for name, share in EXPECTED.items())


async def _shares(port: int) -> dict[str, float]:
    client = Client(port, None, None)
    counts: Counter[str] = Counter()
    for _ in range(SAMPLE):
        answer = await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        counts[dict(answer.headers).get("x-seen", "")] += 1
    await client.close()
    return {name: count / SAMPLE for name, count in counts.items()}
