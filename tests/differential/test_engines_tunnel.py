"""Bytes through an HTTP proxy on the way (DestinationRule's ``tunnel``), on the trio engine and on a real Envoy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h11
import pytest
import trio

from policies.traffic import Destination, Tunnel
from snapshot.section import (
    Cluster,
    Endpoint,
    FilterChain,
    GatewayPort,
    Listener,
    PoolLimits,
    Section,
    ServiceName,
    StaticEndpoints,
    TcpChain,
)
from tests.proxies import running
from tests.runtime.envoying import envoying
from tests.slices import SOURCE, slice_of

pytestmark = pytest.mark.integration
PATIENCE_S = 10.0
FAR = "far.test:4433"


class OnTheWay:
    """An HTTP proxy, judged by h11 and h2, that answers with ``status`` and echoes what comes through its tunnels. ``asked`` are their requests."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[tuple[str, str]] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        try:
            first = await stream.receive_some()
            if first.startswith(b"PRI "):
                await self._http2(stream, first)
            else:
                await self._http1(stream, first)
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return

    async def _http1(self, stream: trio.SocketStream, data: bytes) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            connection.receive_data(data)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                match event:
                    case h11.Request():
                        host = dict(event.headers)[b"host"].decode()
                        self.asked.append((event.method.decode(), f"{event.target.decode()} {host}"))
                        chunked = [("transfer-encoding", "chunked")] if event.method == b"POST" else []
                        answer = h11.Response(status_code=self.status, headers=chunked)
                        await stream.send_all(connection.send(answer) or b"")
                        if self.status != 200:
                            return
                    case h11.Data():
                        await stream.send_all(connection.send(h11.Data(data=event.data)) or b"")
                    case h11.EndOfMessage() if connection.our_state is h11.SEND_BODY:
                        await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
                        return
                    case h11.ConnectionClosed():
                        return
            if connection.our_state is h11.SWITCHED_PROTOCOL:
                await self._echo(stream, connection.trailing_data[0])
                return
            data = await stream.receive_some()

    async def _echo(self, stream: trio.SocketStream, data: bytes) -> None:
        if data:
            await stream.send_all(data)
        async for more in stream:
            await stream.send_all(more)
        await stream.send_eof()

    async def _http2(self, stream: trio.SocketStream, data: bytes) -> None:
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, validate_inbound_headers=False)
        )
        connection.initiate_connection()
        while data:
            for event in connection.receive_data(data):
                match event:
                    case h2.events.RequestReceived():
                        said = {name.decode(): value.decode() for name, value in event.headers}
                        self.asked.append(
                            (said[":method"], f"{said.get(':path', said[':authority'])} {said[':authority']}")
                        )
                        connection.send_headers(
                            event.stream_id, [(":status", str(self.status))], end_stream=self.status != 200
                        )
                    case h2.events.DataReceived():
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        if self.status == 200:
                            connection.send_data(event.stream_id, event.data)
                    case h2.events.StreamEnded() if self.status == 200:
                        connection.end_stream(event.stream_id)
            await stream.send_all(connection.data_to_send())
            data = await stream.receive_some()


def sections(port: int, tunnel: Tunnel, protocol: str) -> list[Section]:
    members = StaticEndpoints((Endpoint("127.0.0.1", port),))
    limits = PoolLimits(connect_timeout_ms=2_000)
    cluster = Cluster(
        "way", ServiceName("way", "way", "default"), members, (SOURCE,), protocol=protocol, tunnel=tunnel, limits=limits
    )
    chain = FilterChain("raw", SOURCE, TcpChain((Destination("way"),), SOURCE))
    return [Listener("raw", SOURCE, "gateway", GatewayPort(9000), "tcp", (chain,)), cluster]


@asynccontextmanager
async def both(folder: Path, proxy: OnTheWay, tunnel: Tunnel, protocol: str) -> AsyncIterator[tuple[int, int]]:
    """Both engines with the tunnel; their ports."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        made = sections(listener.socket.getsockname()[1], tunnel, protocol)
        async with running(slice_of(*made)) as ours, envoying(folder, *made, ports=(9000,)) as theirs:
            proxy.asked.clear()
            yield ours.ports["9000"], theirs.ports[9000]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("protocol", ["tcp", "http2"])
@pytest.mark.parametrize("method", ["CONNECT", "POST"])
async def test_bytes_pass_through_the_proxy_on_the_way(tmp_path: Path, method: str, protocol: str) -> None:
    proxy = OnTheWay()
    async with both(tmp_path, proxy, Tunnel(FAR, method), protocol) as ports:
        for port in ports:
            proxy.asked.clear()
            data = bytes(range(256)) * (2_000 if protocol == "tcp" else 200)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                got = b""
                with trio.fail_after(PATIENCE_S):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(stream.send_all, data)
                        while len(got) < len(data):
                            got += await stream.receive_some()
                    assert got == data
                    # Both directions end. Envoy drops what is still on its way back then, and may do it by a reset.
                    await stream.send_eof()
                    with suppress(trio.BrokenResourceError) if port == ports[1] else nullcontext():
                        assert await stream.receive_some() == b""
            target = "/" if method == "POST" else FAR
            # Waiting for Envoy has opened a tunnel, too.
            assert set(proxy.asked) == {(method, f"{target} {FAR}")}


@pytest.mark.parametrize("protocol", ["tcp", "http2"])
async def test_a_proxy_that_refuses_closes_the_connection(tmp_path: Path, protocol: str) -> None:
    proxy = OnTheWay(status=403)
    async with both(tmp_path, proxy, Tunnel(FAR), protocol) as ports:
        for port in ports:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                with trio.fail_after(PATIENCE_S):
                    try:
                        await stream.send_all(b"hello")
                        assert await stream.receive_some() == b""
                    except trio.BrokenResourceError:
                        pass
    assert proxy.asked
