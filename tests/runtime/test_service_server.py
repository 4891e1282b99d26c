"""The service server by a real client on loopback."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import httpx
import pytest
import trio
import trustme

from runtime.service import Handler, ServiceListener, ServiceRequest, ServiceResponse
from runtime.service_server import normal_path, serve

pytestmark = pytest.mark.integration


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None, **options: int) -> AsyncIterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED) -> None:
            await serve(handler, [ServiceListener(listening, tls)], task_status=task_status, **options)

        bound = await nursery.start(run)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{bound[0][1]}"
        nursery.cancel_scope.cancel()


async def echo(request: ServiceRequest) -> ServiceResponse:
    text = f"{request.method} {request.path} {request.query} {len(request.body)} {request.peer.tls}"
    return ServiceResponse(headers=((b"x-echo", b"1"),), body=text.encode())


async def test_answers_with_what_the_handler_returns_and_keeps_the_connection() -> None:
    async with serving(echo) as url, httpx.AsyncClient() as client:
        for _ in range(3):
            reply = await client.post(f"{url}/a/./b//c/../d?x=1&x=2&y=%20", content=b"12345")
            assert (reply.status_code, reply.headers["x-echo"]) == (200, "1")
            assert reply.text == "POST /a/b/d {'x': '1', 'y': ' '} 5 False"


async def test_answers_413_beyond_the_bound() -> None:
    async with serving(echo, max_body_bytes=10) as url, httpx.AsyncClient() as client:
        assert (await client.post(url, content=b"x" * 11)).status_code == 413
        assert (await client.post(url, content=b"x" * 10)).status_code == 200


async def test_answers_500_where_the_handler_has_a_bug_and_goes_on() -> None:
    async def handler(request: ServiceRequest) -> ServiceResponse:
        return ServiceResponse(status=int(request.path[1:])) if request.path != "/bug" else 1 / 0  # type: ignore[return-value]

    async with serving(handler) as url, httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/bug")).status_code == 500
        assert (await client.get(f"{url}/204")).status_code == 204


async def test_answers_400_to_what_is_not_http() -> None:
    async with serving(echo) as url:
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        async with stream:
            await stream.send_all(b"nonsense\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 400 ")


async def test_head_and_304_have_no_body() -> None:
    async def handler(request: ServiceRequest) -> ServiceResponse:
        return ServiceResponse(304 if request.path == "/304" else 200, body=b"body")

    async with serving(handler) as url, httpx.AsyncClient() as client:
        assert (await client.head(url)).content == b""
        assert (await client.get(f"{url}/304")).content == b""
        assert (await client.get(url)).content == b"body"


async def test_tls_with_a_client_certificate_gives_the_peer() -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_OPTIONAL
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    authority.issue_cert("client.example").configure_cert(client_side)
    async with serving(echo, server) as url, httpx.AsyncClient(verify=client_side) as client:
        assert (await client.get(url)).text.endswith(" True")


async def test_bytes_of_a_request_may_come_one_by_one() -> None:
    async with serving(echo) as url:
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        async with stream:
            for byte in b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n":
                await stream.send_all(bytes([byte]))
            codec = h11.Connection(h11.CLIENT)
            codec.send(h11.Request(method="GET", target="/x", headers=[("host", "a")]))
            codec.send(h11.EndOfMessage())
            codec.receive_data(await stream.receive_some())
            assert isinstance(codec.next_event(), h11.Response)


@pytest.mark.parametrize(
    ("path", "normal"), [("/", "/"), ("/a//b/", "/a/b"), ("/../../a", "/a"), ("/a/%2e%2e/b", "/b"), ("", "/")]
)
def test_paths_are_normal(path: str, normal: str) -> None:
    assert normal_path(path) == normal
