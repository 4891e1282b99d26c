"""An upstream that says more than it was asked: what is left over on its connection never becomes the answer to another request, on either engine."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trio

from snapshot.section import Section
from tests.runtime.envoying import envoying
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration
EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
FINE = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"
POISONS: dict[str, tuple[str, tuple[bytes, ...], int]] = {
    # The method, the pieces that the origin sends one after the other, and the status that the client is told.
    "two-answers": ("GET", (FINE + EVIL,), 200),
    "a-second-answer-later": ("GET", (FINE, EVIL), 200),
    "a-body-after-head": ("HEAD", (b"HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n" + EVIL,), 200),
    "a-body-after-304": ("GET", (b"HTTP/1.1 304 Not Modified\r\n\r\n" + EVIL,), 304),
    "a-body-after-204": ("GET", (b"HTTP/1.1 204 No Content\r\n\r\n", EVIL), 204),
    "more-than-its-length": ("GET", (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" + EVIL,), 200),
    "after-the-last-chunk": (
        "GET",
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + EVIL,),
        200,
    ),
}
ROUNDS = 5


class Origin:
    """Plays the poison that the path names; whatever else is asked is answered with what the client should get."""

    def __init__(self) -> None:
        self.passed_on = trio.Event()
        self.closed = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection."""
        async with stream:
            received = b""
            try:
                while True:
                    while b"\r\n\r\n" not in received:
                        more = await stream.receive_some()
                        if not more:
                            return
                        received += more
                    head, _, received = received.partition(b"\r\n\r\n")
                    name = head.split(b" ")[1].decode().lstrip("/")
                    await self._play(stream, POISONS[name][1] if name in POISONS else (FINE,))
            except trio.BrokenResourceError:
                return

    async def _play(self, stream: trio.SocketStream, pieces: tuple[bytes, ...]) -> None:
        await stream.send_all(pieces[0])
        for piece in pieces[1:]:
            # It comes when the first has been passed on and the connection waits in its pool, which is to throw it away.
            await self.passed_on.wait()
            await stream.send_all(piece)
            try:
                assert await stream.receive_some() == b"", "asked again on a connection that says what nobody asked"
            finally:
                self.closed.set()


def sections(port: int) -> list[Section]:
    hosts = host_sections("all", ["*"], [route(None, "a")])
    return [gateway_listener(), table(), *hosts, cluster("a", ("127.0.0.1", port))]


@pytest.mark.parametrize("engine", ["trio", "envoy"])
async def test_what_an_upstream_says_too_much_answers_nobody(engine: str, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        origin = Origin()
        nursery.start_soon(trio.serve_listeners, origin.serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        started = envoying(tmp_path, *sections(port)) if engine == "envoy" else proxying(*sections(port))
        async with started as proxy, httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{proxy.ports[80]}"
            for name, (method, pieces, status) in POISONS.items():
                for _ in range(ROUNDS):
                    poisoned = await client.request(method, f"{url}/{name}")
                    assert (poisoned.status_code, b"evil" in poisoned.content) == (status, False), name
                    if len(pieces) > 1:
                        origin.passed_on.set()
                        with trio.fail_after(10):
                            await origin.closed.wait()
                        origin.passed_on, origin.closed = trio.Event(), trio.Event()
                    after = await client.get(f"{url}/after")
                    assert (after.status_code, after.content) == (200, b"fine"), name
        nursery.cancel_scope.cancel()
