"""Raw bytes as what an upstream answers, through a running proxy: what the client was told, and the flags in the proxy's log."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h11
import msgspec
import trio

from snapshot.section import AccessLog, Proxy, Section
from tests.runtime.proxying import proxying
from tests.slices import WORKLOAD, cluster, gateway_listener, host_sections, route, table

LOGGED_S = 20.0


@dataclass(frozen=True)
class Returned:
    """A reply as h11 takes it. ``whole``: it ended as its head says; ``flags`` are the log's."""

    status: int
    body: bytes
    whole: bool
    flags: str


async def answer_with(wires: Mapping[str, bytes]) -> dict[str, Returned]:
    """Asks once for each case; the origin answers with its bytes and closes."""
    numbered = {f"/{number}": wire for number, wire in enumerate(wires.values())}
    with tempfile.TemporaryDirectory(prefix="weft-answers-") as folder:
        log = Path(folder) / "access.log"
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, lambda stream: _play(stream, numbered), listeners)
            async with proxying(*_sections(listeners[0].socket.getsockname()[1], log)) as proxy:
                replies = {path: await _ask(proxy.ports[80], path) for path in numbered}
                flags = await _flags(trio.Path(log), len(numbered))
            nursery.cancel_scope.cancel()
    return {name: Returned(*replies[path], flags[path]) for name, path in zip(wires, numbered, strict=True)}


def _sections(port: int, log: Path) -> list[Section]:
    about = Proxy(workload=WORKLOAD, trust_domain="cluster.local", access_log=AccessLog(str(log), "JSON"))
    bounded = msgspec.structs.replace(route(None, "a"), timeout_ms=5_000)
    hosts = host_sections("all", ["*"], [bounded])
    return [about, gateway_listener(), table(), *hosts, cluster("a", ("127.0.0.1", port))]


async def _play(stream: trio.SocketStream, numbered: Mapping[str, bytes]) -> None:
    async with stream:
        head = b""
        while b"\r\n\r\n" not in head:
            more = await stream.receive_some()
            if not more:
                return
            head += more
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(numbered[head.split(b" ")[1].decode()])
            # The end is said before the socket goes, lest a reset overtake the bytes.
            await stream.send_eof()
            await stream.receive_some()


async def _ask(port: int, path: str) -> tuple[int, bytes, bool]:
    codec, status, body = h11.Connection(h11.CLIENT), 0, b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        head = h11.Request(method="GET", target=path, headers=[("host", "a.test")])
        await stream.send_all(codec.send(head) or b"")
        codec.send(h11.EndOfMessage())
        while True:
            try:
                event = codec.next_event()
                if event is h11.NEED_DATA:
                    codec.receive_data(await stream.receive_some())
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    return status, body, True
            except (h11.RemoteProtocolError, trio.BrokenResourceError):
                return status, body, False


async def _flags(log: trio.Path, count: int) -> dict[str, str]:
    with trio.fail_after(LOGGED_S):
        while True:
            lines = (await log.read_text()).splitlines() if await log.exists() else []
            if len(lines) >= count:
                found = [json.loads(line) for line in lines]
                return {str(one["path"]): str(one["response_flags"]) for one in found}
            await trio.sleep(0.05)
