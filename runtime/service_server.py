"""The server behind admin pages and the control plane: one Trio task per connection, h11, TLS by Trio.

Not the request path: a handler may wait for a long poll, so ordinary Trio is right here and the lane is not.
Every wait on a peer has a deadline: the TLS handshake, the head, the body, the next request, the reply's write.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote

import h11
import trio

from policies.head import Peer
from runtime.service import Handler, ServiceListener, ServiceRequest, ServiceResponse
from runtime.tls.identity import PeerRefusedError, read_peer

HANDSHAKE_S = 10.0
HEAD_S = 10.0
IDLE_S = 75.0
BODY_S = 60.0
WRITE_S = 60.0
MAX_CONNECTIONS = 4096
MAX_HEAD_BYTES = 32_768

log = logging.getLogger("weft.service")

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class BodyTooLargeError(Exception):
    """A request's body is larger than the server accepts."""


async def serve(
    handler: Handler,
    listeners: Sequence[ServiceListener],
    *,
    max_body_bytes: int = 16 * 1024 * 1024,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled. Starts with the addresses really bound. Owns the listening sockets and closes them at the end."""
    slots = trio.CapacityLimiter(MAX_CONNECTIONS)
    async with trio.open_nursery() as nursery:
        bound = []
        for listener in listeners:
            if listener.tls is not None:
                listener.tls.set_alpn_protocols(["http/1.1"])
            listener.socket.setblocking(False)
            accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener.socket))
            name = listener.socket.getsockname()
            bound.append((name, 0) if isinstance(name, str) else name[:2])
            nursery.start_soon(_accept, nursery, accepting, listener.tls, handler, max_body_bytes, slots)
        task_status.started(bound)


async def _accept(
    nursery: trio.Nursery,
    listener: trio.SocketListener,
    tls: ssl.SSLContext | None,
    handler: Handler,
    max_body_bytes: int,
    slots: trio.CapacityLimiter,
) -> None:
    async with listener:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                # Out of descriptors or memory: the queue keeps, so wait for one of our own to be freed.
                log.warning("cannot accept: %s", error)
                await trio.sleep(0.1)
                continue
            nursery.start_soon(_supervise, stream, tls, handler, max_body_bytes, slots)


async def _supervise(
    raw: trio.SocketStream,
    tls: ssl.SSLContext | None,
    handler: Handler,
    max_body_bytes: int,
    slots: trio.CapacityLimiter,
) -> None:
    """One connection's supervision point: a broken peer or a bug costs this connection."""
    async with slots, raw:
        try:
            stream: Stream = raw
            if tls is not None:
                # https_compatible: HTTP clients close without close_notify.
                stream = trio.SSLStream(raw, tls, server_side=True, https_compatible=True)
                with trio.fail_after(HANDSHAKE_S):
                    await stream.do_handshake()
            await ServiceConnection(stream, _peer(raw, stream), handler, max_body_bytes).run()
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("connection ended: %s", error)
        except PeerRefusedError as error:
            log.info("client certificate refused: %s", error)
        except Exception:
            log.exception("a connection was closed because of a bug")


class ServiceConnection:
    """One connection. Owns its codec and its stream; runs requests one after another until either side is done."""

    def __init__(self, stream: Stream, peer: Peer, handler: Handler, max_body_bytes: int) -> None:
        self.stream = stream
        self.peer = peer
        self.handler = handler
        self.max_body_bytes = max_body_bytes
        self.method = ""
        self.codec = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def run(self) -> None:
        """Answers requests until the connection is over."""
        while True:
            try:
                head = await self._head()
                if head is None:
                    return
                request = self._request(head, await self._body())
            except h11.RemoteProtocolError as error:
                await self._reply(ServiceResponse(error.error_status_hint, body=f"{error}\n".encode()))
                return
            except BodyTooLargeError:
                message = f"the body has more than {self.max_body_bytes} bytes\n"
                await self._reply(ServiceResponse(413, body=message.encode()))
                return
            await self._reply(await self._answer(request))
            if self.codec.our_state is not h11.DONE or self.codec.their_state is not h11.DONE:
                return
            self.codec.start_next_cycle()

    async def _head(self) -> h11.Request | None:
        deadline_s = IDLE_S
        while True:
            event = self.codec.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            with trio.fail_after(deadline_s):
                data = await self.stream.receive_some(65536)
            # The idle time ends with the first byte; from then on the head has its own, shorter deadline.
            deadline_s = HEAD_S
            self.codec.receive_data(bytes(data))

    async def _body(self) -> bytes:
        parts = bytearray()
        with trio.fail_after(BODY_S):
            while True:
                event = self.codec.next_event()
                if event is h11.NEED_DATA:
                    if self.codec.they_are_waiting_for_100_continue:
                        await self.stream.send_all(self._continue())
                    self.codec.receive_data(bytes(await self.stream.receive_some(65536)))
                elif isinstance(event, h11.Data):
                    parts += event.data
                    if len(parts) > self.max_body_bytes:
                        raise BodyTooLargeError
                else:
                    return bytes(parts)

    def _continue(self) -> bytes:
        return self.codec.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def _request(self, head: h11.Request, body: bytes) -> ServiceRequest:
        self.method = head.method.decode()
        target = head.target.decode("ascii", "replace")
        path, _, query = target.partition("?")
        parameters: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=64):
            parameters.setdefault(name, value)
        return ServiceRequest(
            method=self.method,
            path=normal_path(path),
            query=parameters,
            headers=list(head.headers),
            body=body,
            peer=self.peer,
        )

    async def _answer(self, request: ServiceRequest) -> ServiceResponse:
        """The handler's reply. A bug in it is a 500 and costs no other request."""
        try:
            return await self.handler(request)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return ServiceResponse(500, body=b"internal error\n")

    async def _reply(self, response: ServiceResponse) -> None:
        if self.codec.our_state not in (h11.SEND_RESPONSE, h11.IDLE):
            return
        headers = [(b"date", formatdate(usegmt=True).encode()), *response.headers]
        if response.status >= 200 and response.status not in (204, 304):
            headers.append((b"content-length", str(len(response.body)).encode()))
        out = self.codec.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if response.body and self.method != "HEAD" and response.status not in (204, 304):
            out += self.codec.send(h11.Data(data=response.body)) or b""
        out += self.codec.send(h11.EndOfMessage()) or b""
        with trio.fail_after(WRITE_S):
            await self.stream.send_all(out)


def normal_path(path: str) -> str:
    """A request's path, percent-decoded, without dot segments and repeated slashes: what handlers compare."""
    segments: list[str] = []
    for segment in unquote(path, errors="replace").split("/"):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments)


def _peer(raw: trio.SocketStream, stream: Stream) -> Peer:
    """Who is there, without an address where it came over a Unix socket. A certificate that OpenSSL verified but that is no SVID has no
    identity: handlers decide what that may do."""
    if raw.socket.family == trio.socket.AF_UNIX:
        return Peer("", 0, "", 0)
    remote = raw.socket.getpeername()
    local = raw.socket.getsockname()
    identity = ""
    tls = isinstance(stream, trio.SSLStream)
    if isinstance(stream, trio.SSLStream):
        der = stream.getpeercert(binary_form=True)
        identity = read_peer(der).identity if der else ""
    return Peer(
        source_ip=remote[0],
        source_port=remote[1],
        destination_ip=local[0],
        destination_port=local[1],
        identity=identity,
        tls=tls,
    )
