"""Real clients for the traffic of Istio's and Gateway API's suites: httpx, grpcio and plain sockets; and what they are answered."""

from __future__ import annotations

import json
import ssl
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import msgspec
import trio

from tests.conformance.applications import GREETING

WAIT_S = 5.0


class Call(msgspec.Struct, frozen=True):
    """What is sent and where to. ``host`` is the authority; ``port`` the real port of the proxy's listener.

    ``scheme`` is ``http``, ``https``, ``grpc``, ``tcp``, ``tls`` (bytes inside TLS) or ``udp``. ``server_name`` is the host where it is empty.
    """

    port: int
    host: str
    scheme: str = "http"
    path: str = "/"
    method: str = "GET"
    headers: dict[str, str] = {}
    http2: bool = False
    count: int = 1
    message: str = "hello\n"
    follow: bool = False
    wait_s: float = WAIT_S
    keep_cookies: bool = False
    server_name: str = ""
    body: bytes = b""


class Reply(msgspec.Struct, frozen=True):
    """One answer. ``seen`` is what the program says that it saw, ``error`` why there is no answer; ``tls`` where the client itself made TLS."""

    status: int = 0
    headers: dict[str, str] = {}
    seen: dict[str, Any] = {}
    text: str = ""
    error: str = ""
    grpc_status: int = 0
    tls: bool = False


async def send(call: Call, trusted: ssl.SSLContext) -> list[Reply]:
    """All answers to a call."""
    match call.scheme:
        case "grpc":
            return [await trio.to_thread.run_sync(_grpc, call) for _ in range(call.count)]
        case "tcp" | "tls":
            return [await _tcp(call, trusted) for _ in range(call.count)]
        case "udp":
            return [await _udp(call) for _ in range(call.count)]
        case _:
            return await _http(call, trusted)


async def _http(call: Call, trusted: ssl.SSLContext) -> list[Reply]:
    found: list[Reply] = []
    async with httpx.AsyncClient(
        verify=trusted, http1=not call.http2, http2=call.http2, trust_env=False, timeout=call.wait_s
    ) as client:
        for _ in range(call.count):
            try:
                found.append(await _followed(client, call))
            except httpx.HTTPError as error:
                found.append(Reply(error=repr(error)))
            if not call.keep_cookies:
                client.cookies.clear()
    return found


async def _followed(client: httpx.AsyncClient, call: Call) -> Reply:
    path, _, _ = call.path.partition("#")
    for _ in range(3):
        host = call.host.rpartition(":")[0] if ":" in call.host else call.host
        response = await client.request(
            call.method,
            f"{call.scheme}://127.0.0.1:{call.port}{path}",
            headers={"host": call.host, **call.headers},
            extensions={"sni_hostname": call.server_name or host},
            content=call.body or None,
        )
        if not call.follow or response.status_code not in (301, 302, 303, 307, 308):
            break
        parts = urlsplit(response.headers["location"])
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    seen = {}
    if response.content.startswith(b"{"):
        seen = json.loads(response.content)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, seen, response.text, tls=call.scheme == "https")


def _grpc(call: Call) -> Reply:
    options = (("grpc.default_authority", call.host), ("grpc.enable_http_proxy", 0))
    with grpc.insecure_channel(f"127.0.0.1:{call.port}", options=options) as channel:
        ask = channel.unary_unary(call.path if call.path != "/" else "/proto.EchoTestService/Echo")
        try:
            text = ask(b"hello", timeout=call.wait_s, metadata=tuple(call.headers.items()))
        except grpc.RpcError as error:
            return Reply(status=200, error=str(error.details()), grpc_status=error.code().value[0])
    return Reply(200, seen=json.loads(text), text=text.decode())


async def _udp(call: Call) -> Reply:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        await sock.connect(("127.0.0.1", call.port))
        with trio.move_on_after(call.wait_s):
            try:
                await sock.send(call.message.encode())
                text = (await sock.recv(65536)).decode()
            except OSError as error:
                return Reply(error=repr(error))
            return Reply(200, seen=json.loads(text), text=text)
    return Reply(error="nothing came")


async def _tcp(call: Call, trusted: ssl.SSLContext) -> Reply:
    got = b""
    with trio.move_on_after(call.wait_s):
        try:
            plain: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", call.port)
            if call.scheme == "tls":
                name = call.server_name or call.host
                plain = trio.SSLStream(plain, trusted, server_hostname=name, https_compatible=True)
            async with plain as stream:
                await stream.send_all(call.message.encode())
                while b"\n" not in got or not got.endswith(b"\n"):
                    more = await stream.receive_some(65536)
                    if not more:
                        break
                    got += more
        except (OSError, trio.BrokenResourceError) as error:
            return Reply(error=repr(error))
    text = got.decode("latin-1")
    if not got:
        return Reply(error="nothing came")
    fields = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    told = text.startswith((GREETING.decode(), "StatusCode=200"))
    return Reply(200 if told else 0, seen={"service": fields.get("Hostname", "")}, text=text)
