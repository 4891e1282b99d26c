"""Upstreams that break their protocol, reset, truncate or stall: the status, the flag in the log, the counters, and that no cut body looks whole.

Both engines, so that where they differ it is written here (``ENVOY``).
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import h11
import httpx
import msgspec
import pytest
import trio

from benchmarks.processes import free_port
from policies.match import PathExact
from runtime.pages.clusters import of_clusters
from runtime.pages.stats import stats
from snapshot.section import AccessLog, Proxy, Section
from tests.h2_peer import connected
from tests.runtime.envoying import envoying
from tests.runtime.proxying import Running, proxying
from tests.slices import WORKLOAD, cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration
OK = b"HTTP/1.1 200 OK\r\n"
WAIT = b"wait"
RESET = b"reset"
CASES: dict[str, tuple[bytes, bytes, int, str, bool]] = {
    # What the origin sends, how it ends (closing where nothing is said), the status, the flags, and whether the reply is whole.
    "garbage": (b"garbage\r\n\r\n", b"", 502, "UPE", True),
    "other-version": (b"HTTP/3.0 200 OK\r\n\r\n", b"", 502, "UPE", True),
    "bad-field": (OK + b"bad field\r\n\r\n", b"", 502, "UPE", True),
    "bad-length": (OK + b"content-length: +5\r\n\r\nhello", b"", 502, "UPE", True),
    "two-lengths": (OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", b"", 502, "UPE", True),
    "closes": (b"", b"", 503, "UC", True),
    "closes-in-head": (OK + b"content-le", b"", 502, "UPE", True),
    "resets": (b"", RESET, 503, "UC", True),
    "stalls": (b"", WAIT, 504, "UT", True),
    "short": (OK + b"content-length: 10\r\n\r\nhello", b"", 200, "UPE", False),
    "short-and-reset": (OK + b"content-length: 10\r\n\r\nhello", RESET, 200, "UPE", False),
    "no-last-chunk": (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", b"", 200, "UPE", False),
    "bad-chunk": (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", b"", 200, "UPE", False),
    "stalls-in-body": (OK + b"content-length: 10\r\n\r\nhello", WAIT, 200, "UT", False),
    "until-close": (OK + b"\r\nhello", b"", 200, "-", True),
    "whole": (OK + b"content-length: 5\r\n\r\nhello", b"", 200, "-", True),
}
ENVOY = {"other-version": (200, "-")}
LEFT = {"closes", "closes-in-head", "resets", "short", "short-and-reset", "no-last-chunk"}
"""Those in which the origin leaves while it owes the rest."""
WRONG = (
    "upstream_rq_5xx",
    "upstream_rq_timeout",
    "upstream_cx_protocol_error",
    "upstream_cx_destroy_remote_with_active_rq",
    "upstream_rq_rx_reset",
)
"""Envoy's counters of what can go wrong at an upstream, which ours has by the same names."""
_ISTIO = re.compile(r"\.response_code\.(\d+)\..*\.response_flags\.([A-Z,-]+)")


async def origin(stream: trio.SocketStream) -> None:
    """Plays the case that the path names."""
    async with stream:
        head = b""
        while b"\r\n\r\n" not in head:
            more = await stream.receive_some()
            if not more:
                return
            head += more
        sent, end, *_ = CASES[head.split(b" ")[1].decode().lstrip("/")]
        if sent:
            await stream.send_all(sent)
        if end == RESET:
            # What was sent is to arrive before the reset, which overtakes what the peer has not read.
            await trio.sleep(0.05)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif end == WAIT:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.receive_some()


class Serving(NamedTuple):
    """An engine before the origin: its port, its access log, and its numbers by name."""

    port: int
    log: Path
    numbers: Callable[[], Awaitable[dict[str, int]]]


@asynccontextmanager
async def serving(
    engine: str,
    folder: Path,
    *,
    play: Callable[[trio.SocketStream], Awaitable[None]] = origin,
    names: Iterable[str] = CASES,
    protocol: str = "http1",
) -> AsyncIterator[Serving]:
    """Runs both for the block; the origin answers ``/name`` by the case of that name."""
    log, admin = folder / "access.log", free_port()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, play, listeners)
        port = listeners[0].socket.getsockname()[1]
        every = [
            msgspec.structs.replace(route(PathExact(f"/{name}"), "a", name=name), timeout_ms=300) for name in names
        ]
        about = Proxy(workload=WORKLOAD, trust_domain="cluster.local", access_log=AccessLog(str(log), "JSON"))
        hosts = host_sections("all", ["*"], every)
        sections: list[Section] = [
            about,
            gateway_listener(),
            table(),
            *hosts,
            cluster("a", ("127.0.0.1", port), protocol=protocol),
        ]
        if engine == "envoy":
            async with envoying(folder, *sections, admin=admin) as envoy, httpx.AsyncClient() as client:
                yield Serving(envoy.ports[80], log, lambda: envoys_numbers(client, admin))
        else:
            async with proxying(*sections) as proxy:
                yield Serving(proxy.ports[80], log, lambda: own_numbers(proxy))
        nursery.cancel_scope.cancel()


async def envoys_numbers(client: httpx.AsyncClient, admin: int) -> dict[str, int]:
    """What Envoy's own page of statistics says of the cluster."""
    page = await client.get(f"http://127.0.0.1:{admin}/stats", params={"filter": "^cluster.a.", "type": "Counters"})
    lines = page.text.splitlines()
    found = (line.split(": ") for line in lines)
    return {name: int(value) for name, value in found if value.isdigit()}


async def own_numbers(proxy: Running) -> dict[str, int]:
    """The same of our page, made of what a worker tells its supervisor."""
    generation = proxy.proxy.plane.generation
    assert generation is not None
    metrics = proxy.proxy.metrics()
    clusters = list(of_clusters(generation, proxy.proxy.plane.pools))
    return {one.name: one.value for one in stats([metrics], metrics, clusters, {}, {}).numbers}


async def by_http1(port: int, name: str) -> tuple[int, bool]:
    """The status, and whether h11 takes the reply for whole."""
    codec, status = h11.Connection(h11.CLIENT), 0
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(codec.send(h11.Request(method="GET", target=f"/{name}", headers=[("host", "a")])) or b"")
        codec.send(h11.EndOfMessage())
        while True:
            try:
                event = codec.next_event()
                if event is h11.NEED_DATA:
                    codec.receive_data(await stream.receive_some())
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.EndOfMessage):
                    return status, True
            except (h11.RemoteProtocolError, trio.BrokenResourceError):
                return status, False


async def by_http2(port: int, name: str) -> tuple[int, bool]:
    """The status, and whether the stream ended and was not reset."""
    async with connected(port) as client:
        answer = await client.get(f"/{name}")
        return answer.status, answer.ended


async def logged_in(log: trio.Path, cases: int) -> dict[str, tuple[str, str]]:
    """The response flags and the details of each case, once all are logged."""
    with trio.fail_after(15):
        while True:
            lines = (await log.read_text()).splitlines() if await log.exists() else []
            if len(lines) >= cases:
                found = [json.loads(line) for line in lines]
                return {one["path"].lstrip("/"): (one["response_flags"], one["response_code_details"]) for one in found}
            await trio.sleep(0.05)


@pytest.mark.parametrize("engine", ["trio", "envoy"])
@pytest.mark.parametrize("downstream", ["http1", "http2"])
async def test_what_an_upstream_does_wrong_is_told_and_never_looks_right(
    engine: str, downstream: str, tmp_path: Path
) -> None:
    ask = by_http1 if downstream == "http1" else by_http2
    found: dict[str, tuple[int, bool]] = {}
    counted: dict[str, dict[str, int]] = {}
    async with serving(engine, tmp_path) as before_origin:
        for name in CASES:
            before = await before_origin.numbers()
            with trio.fail_after(10):
                found[name] = await ask(before_origin.port, name)
            counted[name] = await counted_since(before, before_origin.numbers)
        logged = await logged_in(trio.Path(before_origin.log), len(CASES))
    expected = {name: (status, flag, whole) for name, (_, _, status, flag, whole) in CASES.items()}
    if engine == "envoy":
        expected |= {name: (*other, CASES[name][4]) for name, other in ENVOY.items()}
    seen = {name: (found[name][0], logged[name][0], found[name][1]) for name in CASES}
    # A reset may overtake the head of a reply that is cut: then the client saw nothing.
    seen |= {name: (200, *one[1:]) for name, one in seen.items() if one[0] == 0 and not one[2]}
    assert {name: one for name, one in seen.items() if one != expected[name]} == {}
    for name, (status, flag, whole) in expected.items():
        assert logged[name][1] == details_of(flag, whole=whole), name
        right = metrics_of(status, flag, left=name in LEFT, istio=engine == "trio")
        assert counted[name] == right, name


def details_of(flag: str, *, whole: bool, refused: bool = False) -> str:
    """What the log says of a reply in Envoy's words."""
    if flag in ("-", "UT"):
        return "via_upstream" if flag == "-" else "response_timeout"
    reset = "remote_refused_stream_reset" if refused else "remote_reset"
    why = {"UPE": "protocol_error", "UC": "connection_termination", "UR": reset}[flag]
    return f"upstream_reset_{'before' if whole else 'after'}_response_started{{{why}}}"


async def counted_since(before: dict[str, int], numbers: Callable[[], Awaitable[dict[str, int]]]) -> dict[str, int]:
    """By how much the counters of what went wrong have grown once the request is counted, and Istio's with the labels that say it."""
    with trio.fail_after(10):
        while True:
            grown = {name: value - before.get(name, 0) for name, value in (await numbers()).items()}
            if any(grown.get(f"cluster.a.upstream_rq_{status}xx") for status in (2, 5)):
                break
            await trio.sleep(0.01)
    wrong = {name: grown[f"cluster.a.{name}"] for name in WRONG if grown.get(f"cluster.a.{name}")}
    istio = [_ISTIO.search(name) for name, more in grown.items() if more and name.startswith("istio_requests_total")]
    return wrong | {f"istio_requests_total {one[1]} {one[2]}": 1 for one in istio if one}


def metrics_of(status: int, flag: str, *, left: bool, istio: bool, reset: bool = False) -> dict[str, int]:
    """Which counters a case counts in, once each. Istio's are ours alone: plain Envoy has none."""
    counts = {
        "upstream_rq_5xx": status >= 500,
        "upstream_rq_timeout": flag == "UT",
        "upstream_cx_protocol_error": flag == "UPE",
        "upstream_cx_destroy_remote_with_active_rq": left,
        "upstream_rq_rx_reset": reset,
        f"istio_requests_total {status} {flag}": istio,
    }
    return {metric: 1 for metric, counted in counts.items() if counted}
