"""Every call to the control plane, in one client. Bounded in time and size; every failure is one exception with a closed reason."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import trio

from runtime.control.interface import ProxyStatus, Refusal, SignedCertificate, SignRequest, StatusReport
from snapshot.decoding import json_decoder
from snapshot.live import RegisteredWorkload, Registry

CALL_S = 10.0
MAX_REPLY_BYTES = 64 * 1024 * 1024

T = TypeVar("T")


class ControlError(Exception):
    """A call failed. ``reason`` is ``unreachable``, ``malformed`` (the reply) or the control plane's own closed reason for a refusal."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ControlClient:
    """Owns the HTTP connections to one control plane. ``ca`` is a PEM file that its certificate must chain to ("" for the system's roots)."""

    def __init__(self, url: str, ca: str) -> None:
        if not url.startswith("https://"):
            raise ControlError("malformed", f"the control plane's URL must begin with https://, this is {url!r}")
        self._url = url.rstrip("/")
        self._ca = ca
        self._client: httpx.AsyncClient | None = None
        self._calls: dict[httpx.AsyncClient, int] = {}
        self._certificate: Path | None = None
        self.has_certificate = trio.Event()

    async def show(self, certificate: Path) -> None:
        """Shows this client certificate (PEM with its key) from now on; calls that are under way end on the old one."""
        self._certificate = certificate
        self.has_certificate.set()
        await self._retire()

    async def close(self) -> None:
        """Closes all connections; calls that are under way fail."""
        clients = set(self._calls)
        if self._client is not None:
            clients.add(self._client)
        self._client = None
        for client in clients:
            await client.aclose()

    async def sign(self, csr: bytes, token: str = "") -> SignedCertificate:
        """Asks for a certificate: by a join token, else by the client certificate."""
        body = msgspec.json.encode(SignRequest(csr=csr.decode(), token=token))
        return _read(await self._call("POST", "/ca/sign", body=body), SignedCertificate)

    async def read_bundle(self) -> bytes:
        """The trust bundle, PEM."""
        return await self._call("GET", "/ca/bundle") or b""

    async def read_registry(self, version: int, *, wait_s: float) -> Registry | None:
        """The registry when it is not ``version``; None where that did not happen within ``wait_s``."""
        query = f"/registry?version={version}&wait={wait_s:g}" if version >= 0 else "/registry"
        raw = await self._call("GET", query, limit_s=CALL_S + wait_s)
        return _read(raw, Registry) if raw is not None else None

    async def register(self, workload: RegisteredWorkload) -> None:
        """Registers or refreshes a workload."""
        await self._call("PUT", f"/registry/{workload.namespace}/{workload.name}", body=msgspec.json.encode(workload))

    async def withdraw(self, workload: RegisteredWorkload) -> None:
        """Ends a registration."""
        path = f"/registry/{workload.namespace}/{workload.name}?address={workload.address}"
        await self._call("DELETE", path, limit_s=2.0)

    async def report(self, status: ProxyStatus) -> None:
        """Says what this proxy runs."""
        await self._call("PUT", f"/status/{status.proxy}", body=msgspec.json.encode(status))

    async def read_status(self) -> StatusReport:
        """What all proxies run and what is published."""
        return _read(await self._call("GET", "/status"), StatusReport)

    async def _call(self, method: str, path: str, *, body: bytes = b"", limit_s: float = CALL_S) -> bytes | None:
        """One call; None for 304 and 204. Raises ControlError."""
        try:
            client = self._client = self._client or self._open()
            reply = await self._request(client, method, path, body, limit_s)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError) as error:
            place = self._url + path.partition("?")[0]
            raise ControlError("unreachable", f"{place}: {error or type(error).__name__}") from None
        if reply.status_code in (204, 304):
            return None
        if reply.is_success and len(reply.content) <= MAX_REPLY_BYTES:
            return reply.content
        raise _refusal(reply, path)

    async def _request(
        self, client: httpx.AsyncClient, method: str, path: str, body: bytes, limit_s: float
    ) -> httpx.Response:
        """One request; a client that was replaced meanwhile is closed by the last call that used it."""
        self._calls[client] = self._calls.get(client, 0) + 1
        try:
            request = client.build_request(
                method, self._url + path, content=body, timeout=limit_s, extensions={"trace": _Handshake()}
            )
            request.stream = _Body(body)
            return await client.send(request)
        finally:
            self._calls[client] -= 1
            if not self._calls[client]:
                del self._calls[client]
                if client is not self._client:
                    with trio.CancelScope(shield=True):
                        await client.aclose()

    async def _retire(self) -> None:
        client, self._client = self._client, None
        if client is not None and client not in self._calls:
            await client.aclose()

    def _open(self) -> httpx.AsyncClient:
        context = ssl.create_default_context(cafile=self._ca or None)
        if self._certificate is not None:
            context.load_cert_chain(self._certificate)
        # The environment's proxies are for the application: the mesh's own calls go straight.
        return httpx.AsyncClient(verify=context, trust_env=False)


class _Handshake:
    """Closes a connection whose TLS handshake did not end. httpcore does so after an error, but leaves it to the collector where the call
    was cancelled. Told by httpcore's ``trace`` extension."""

    def __init__(self) -> None:
        self._stream: Any = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.failed":
            with trio.CancelScope(shield=True):
                await self._stream.aclose()


class _Body(httpx.AsyncByteStream):
    """A request's body in one piece. httpx's own is an async generator, which a cancelled call leaves behind unfinished."""

    def __init__(self, body: bytes) -> None:
        self._left = [body] if body else []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def _read(raw: bytes | None, shape: type[T]) -> T:
    try:
        return json_decoder(shape).decode(raw or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ControlError("malformed", f"the control plane's reply is not a {shape.__name__}: {error}") from None


def _refusal(reply: httpx.Response, path: str) -> ControlError:
    try:
        refusal = json_decoder(Refusal).decode(reply.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ControlError("malformed", f"{path.partition('?')[0]} answered {reply.status_code}")
    return ControlError(refusal.reason, refusal.message)
