"""nghttp2's programs on both sides of an engine: h2load and nghttp ask, nghttpd answers with padded frames and trailers.

What they and curl send is recorded on the way, and replayed in pieces at our codec and at the h2 library: real bytes, beside the drawn sequences of
tests/runtime/http2.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from benchmarks.processes import free_port
from runtime.http2 import frames
from snapshot.section import Section
from tests.runtime.envoying import envoying
from tests.runtime.http2.conversations import read_all
from tests.runtime.http2.scripts import Act, Step
from tests.runtime.http2.test_http2_sequences import check
from tests.runtime.proxying import proxying
from tests.runtime.test_proxy_strangers import require, run
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration
FILE = b"0123456789" * 60
START_S = 10.0
REQUESTS = 400


@asynccontextmanager
async def nghttpd(folder: Path) -> AsyncIterator[int]:
    """A server of one file, ``/file``; the block gets its port."""
    program = require("nghttpd")
    (folder / "htdocs").mkdir()
    (folder / "htdocs" / "file").write_bytes(FILE)
    port = free_port()
    options = ("--no-tls", "-a", "127.0.0.1", "-d", str(folder / "htdocs"), "-b", "64", "--trailer", "x-sum: 5")
    async with trio.open_nursery() as nursery:
        process = await nursery.start(trio.run_process, [program, *options, str(port)])
        with trio.fail_after(START_S):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    assert process.returncode is None
                    await trio.sleep(0.01)
        yield port
        nursery.cancel_scope.cancel()


class Relay:
    """Passes connections on to a port; ``sent`` and ``answered`` keep what went each way, by connection."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.sent: list[bytearray] = []
        self.answered: list[bytearray] = []

    async def serve(self, near: trio.SocketStream) -> None:
        """One connection."""
        sent, answered = bytearray(), bytearray()
        self.sent.append(sent)
        self.answered.append(answered)
        async with near, await trio.open_tcp_stream("127.0.0.1", self._target) as far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, near, far, sent, nursery.cancel_scope)
                await self._copy(far, near, answered, nursery.cancel_scope)

    async def _copy(
        self, source: trio.SocketStream, target: trio.SocketStream, kept: bytearray, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in source:
                kept += data
                await target.send_all(data)
        except trio.BrokenResourceError:
            pass  # A side that is done resets its connection.
        scope.cancel()


@asynccontextmanager
async def relaying(target: int) -> AsyncIterator[tuple[Relay, int]]:
    """A relay; the block gets it and its port."""
    relay = Relay(target)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, relay.serve, listeners)
        yield relay, listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def sections(port: int) -> list[Section]:
    hosts = host_sections("all", ["*"], [route(None, "a")])
    return [gateway_listener(), table(), *hosts, cluster("a", ("127.0.0.1", port), protocol="http2")]


@pytest.mark.parametrize("engine", ["trio", "envoy"])
async def test_h2load_loses_no_request_on_the_way_to_nghttpd(engine: str, tmp_path: Path) -> None:
    h2load = require("h2load")
    async with nghttpd(tmp_path) as port:
        started = envoying(tmp_path, *sections(port)) if engine == "envoy" else proxying(*sections(port))
        async with started as proxy:
            url = f"http://127.0.0.1:{proxy.ports[80]}/file"
            said = await run(h2load, "-n", str(REQUESTS), "-c", "4", "-m", "10", url)
    assert f"{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert f"status codes: {REQUESTS} 2xx" in said
    data = re.search(r"\((\d+)\) data", said)
    assert data is not None
    assert int(data[1]) == REQUESTS * len(FILE)


async def test_what_nghttp2s_programs_send_reads_the_same_in_any_pieces_and_as_the_library_reads_it(
    tmp_path: Path,
) -> None:
    h2load, nghttp, curl = require("h2load"), require("nghttp"), require("curl")
    (tmp_path / "body").write_bytes(b"b" * 5_000)
    async with (
        nghttpd(tmp_path) as port,
        relaying(port) as (origin_side, origin_port),
        proxying(*sections(origin_port)) as proxy,
        relaying(proxy.ports[80]) as (client_side, client_port),
    ):
        url = f"http://127.0.0.1:{client_port}/file"
        await run(h2load, "-n", "40", "-c", "2", "-m", "5", url)
        await run(nghttp, "-n", "-m", "8", "-b", "100", "-d", tmp_path / "body", "--trailer", "x-sum: 5", url)
        await run(nghttp, "-n", "-m", "8", "--header-table-size", "0", "-H", "cookie: a=1", "-H", "cookie: b=2", url)
        await run(
            curl, "-sS", "--http2-prior-knowledge", "-o", "/dev/null", "--data-binary", f"@{tmp_path / 'body'}", url
        )
    requests = 0
    for wire in client_side.sent:
        if wire:
            requests += _heads(check_recorded(frames_of(bytes(wire)), client=False), "request")
    assert requests == 40 + 8 + 8 + 1
    answers = 0
    for asked, wire in zip(origin_side.sent, origin_side.answered, strict=True):
        opened = sum(step[3] == frames.HEADERS for step in frames_of(bytes(asked)) if isinstance(step, bytes))
        steps = [Act("ask", 1 + 2 * number) for number in range(opened)] + frames_of(bytes(wire))
        answers += _heads(check_recorded(steps, client=True), "response")
    assert answers == requests


def check_recorded(steps: list[Step], *, client: bool) -> dict[int, list[tuple[object, ...]]]:
    """What was read, by stream, of a recording that both read alike to its end and refuse nothing of."""
    assert check(steps, client=client) == ""
    whole = read_all(steps, client=client)
    assert not whole.refused
    return whole.told


def _heads(told: dict[int, list[tuple[object, ...]]], kind: str) -> int:
    return sum(what[0] == kind for stream in told.values() for what in stream)


def frames_of(wire: bytes) -> list[Step]:
    """The frames of one direction, each a step; the client's preface is one too."""
    steps: list[Step] = []
    if wire.startswith(frames.PREFACE):
        steps.append(frames.PREFACE)
    at = len(frames.PREFACE) if steps else 0
    while at < len(wire):
        end = at + 9 + int.from_bytes(wire[at : at + 3])
        steps.append(wire[at:end])
        at = end
    return steps
