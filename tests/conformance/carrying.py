"""Raw bytes through a running proxy: what the client was told, and what an origin behind the proxy was sent meanwhile.

Every case has a client address of its own, 127.3.x.y, and the proxy names it to the origin in x-forwarded-for: so all cases run at once, and what
arrives is known by its case even where it came over a pooled connection.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import trio

from policies.head import Headers
from snapshot.section import Section
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

QUIET_S, QUIETS = 0.4, 5
"""A connection on which nothing was said for so many such times has got its answer, or gets none. A machine that stands still costs one of them."""
AT_ONCE = 250
_STATUS = re.compile(rb"^HTTP/1\.1 ([0-9]{3}) ", re.MULTILINE)


@dataclass
class Arrived:
    """One request as the origin was sent it. ``whole`` says that its end came too."""

    method: str
    target: str
    headers: Headers
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    whole: bool = False


@dataclass
class Carried:
    """How a case went. ``closed``: the proxy closed the connection, rather than wait for more."""

    answer: bytes = b""
    closed: bool = False
    arrived: list[Arrived] = field(default_factory=list)

    @property
    def statuses(self) -> list[int]:
        """Of every reply, in order."""
        return [int(found) for found in _STATUS.findall(self.answer)]

    @property
    def refused(self) -> bool:
        """Whether the last word on the connection was an error of the client, or its end without an answer."""
        statuses = self.statuses
        return self.closed and (not statuses or statuses[-1] in range(400, 506))

    @property
    def whole(self) -> list[Arrived]:
        """The requests that arrived from the first to the last byte."""
        return [one for one in self.arrived if one.whole]


Reply = Callable[[Arrived], tuple[int, Headers, bytes]]


def say_ok(_request: Arrived) -> tuple[int, Headers, bytes]:
    """What an origin says where nothing else is asked of it."""
    return 200, [(b"content-type", b"text/plain")], b"ok"


class Origin:
    """Reads what it is sent by h11, and keeps it by client; what h11 cannot read is a fault of the proxy, kept in ``faults``."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.seen: dict[str, list[Arrived]] = {}
        self.faults: list[str] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection of the proxy."""
        codec = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)
        async with stream:
            try:
                while await self._exchange(stream, codec):
                    codec.start_next_cycle()
            except h11.RemoteProtocolError as error:
                if "ended prematurely" not in str(error) and "closed connection" not in str(error):
                    self.faults.append(str(error))
            except trio.BrokenResourceError:
                return

    async def _exchange(self, stream: trio.SocketStream, codec: h11.Connection) -> bool:
        arrived: Arrived | None = None
        while True:
            event = codec.next_event()
            match event:
                case h11.NEED_DATA:
                    codec.receive_data(await stream.receive_some(65_536))
                case h11.Request():
                    arrived = self._keep(event)
                case h11.Data():
                    assert arrived is not None
                    arrived.body += event.data
                case h11.EndOfMessage():
                    break
                case _:
                    return False
        assert arrived is not None
        arrived.whole, arrived.trailers = True, list(event.headers)
        status, headers, body = self._reply(arrived)
        out = codec.send(h11.Response(status_code=status, headers=[*headers, (b"content-length", b"%d" % len(body))]))
        out = (out or b"") + (codec.send(h11.Data(data=b"" if arrived.method == "HEAD" else body)) or b"")
        await stream.send_all(out + (codec.send(h11.EndOfMessage()) or b""))
        return codec.our_state is h11.DONE

    def _keep(self, request: h11.Request) -> Arrived:
        headers = list(request.headers)
        clients = [value for name, value in headers if name == b"x-forwarded-for"]
        arrived = Arrived(request.method.decode(), request.target.decode(), headers)
        if clients:
            self.seen.setdefault(clients[-1].decode().rpartition(",")[2].strip(), []).append(arrived)
        else:
            self.faults.append(f"a request that the proxy did not make: {request}")
        return arrived


@asynccontextmanager
async def serving(serve: Callable[[trio.SocketStream], Awaitable[object]]) -> AsyncIterator[int]:
    """A proxy before an origin that ``serve`` plays; the block gets the proxy's port."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        behind = ("127.0.0.1", listeners[0].socket.getsockname()[1])
        hosts = host_sections("all", ["*"], [route(None, "a")])
        sections: list[Section] = [gateway_listener(edge=True), table(), *hosts, cluster("a", behind)]
        async with proxying(*sections) as proxy:
            yield proxy.ports[80]
        nursery.cancel_scope.cancel()


def never_over(_answer: bytes) -> bool:
    """An answer of HTTP/1 may always be followed by another."""
    return False


async def _speak(port: int, client: str, wire: bytes, carried: Carried, over: Callable[[bytes], bool]) -> None:
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    await sock.bind((client, 0))
    await sock.connect(("127.0.0.1", port))
    async with trio.SocketStream(sock) as stream:
        try:
            await stream.send_all(wire)
        except trio.BrokenResourceError:
            pass  # Refused before its end: what was said is there to be read all the same.
        quiet = 0
        while quiet < QUIETS and not carried.closed and not over(carried.answer):
            with trio.move_on_after(QUIET_S) as waiting:
                try:
                    data = await stream.receive_some(65_536)
                except trio.BrokenResourceError:
                    data = b""
                carried.answer += data
                carried.closed = not data
            quiet = quiet + 1 if waiting.cancelled_caught else 0


async def carry(
    cases: Mapping[str, bytes], reply: Reply = say_ok, *, over: Callable[[bytes], bool] = never_over
) -> dict[str, Carried]:
    """Sends each case's bytes on a connection of its own, and waits until the answer is ``over``, the proxy closes or says nothing more.

    Raises AssertionError where the origin was sent what is no request.
    """
    origin = Origin(reply)
    found = {name: Carried() for name in cases}
    clients = {name: f"127.3.{number // 250}.{number % 250 + 1}" for number, name in enumerate(cases)}
    places = trio.CapacityLimiter(AT_ONCE)

    async def one(port: int, name: str) -> None:
        async with places:
            await _speak(port, clients[name], cases[name], found[name], over)

    async with serving(origin.serve) as port, trio.open_nursery() as nursery:
        for name in cases:
            nursery.start_soon(one, port, name)
    for name, client in clients.items():
        found[name].arrived = origin.seen.get(client, [])
    assert not origin.faults, origin.faults
    return found
