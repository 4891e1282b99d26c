"""One direction of an HTTP/1 connection, read by our codec and by h11: the same plain account from both, so that they can be held side by side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import h11

from policies.head import Headers, RequestHead, ResponseHead
from runtime.http1 import NEED_DATA, PAUSED, EndOfMessage, Http1Client, Http1Server, ProtocolError, Reason

HOP = frozenset(
    b"host connection transfer-encoding te upgrade keep-alive proxy-connection expect http2-settings".split()
)
"""What our codec takes out of a head, having read it."""


@dataclass
class Message:
    """One message. ``first`` is (method, authority, target) of a request, the status of a response."""

    first: tuple[str, ...] | int
    headers: Headers
    data: bytes = b""
    trailers: Headers = field(default_factory=list)
    whole: bool = False


@dataclass
class Account:
    """What was read of a connection until it was refused, handed over (``over``), or nothing more came."""

    messages: list[Message] = field(default_factory=list)
    refused: Reason | str | None = None
    over: bool = False

    @property
    def whole(self) -> list[Message]:
        """The messages with an end."""
        return [message for message in self.messages if message.whole]

    def settled(self) -> tuple[list[Message], bool]:
        """What does not depend on the pieces in which the bytes came: of a refused message's start more or less may have been told."""
        return (self.whole if self.refused else self.messages), self.refused is not None


def pieces(wire: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The bytes cut at these places."""
    edges = [0, *sorted({cut % max(len(wire), 1) for cut in cuts} - {0}), len(wire)]
    return [wire[start:end] for start, end in itertools.pairwise(edges) if end > start]


def bytewise(wire: bytes) -> list[bytes]:
    """The bytes one by one."""
    return [wire[at : at + 1] for at in range(len(wire))]


def requests_by_ours(parts: Sequence[bytes], *, eof: bool = False) -> Account:
    """What our server side reads, every request answered at once."""
    server, account = Http1Server(), Account()
    try:
        for part in parts:
            event = server.receive_data(part)
            while event is not NEED_DATA and event is not PAUSED:
                _tell(account, event)
                if isinstance(event, RequestHead) and not server.complete:
                    event = server.next_event()
                    continue
                if server.complete:
                    _finish(account.messages[-1], server)
                    if not server.keep_alive or server.upgrade or account.messages[-1].first[0] == "CONNECT":  # type: ignore[index]
                        account.over = True
                        return account
                    server.start_next()
                event = server.next_event()
        if eof:
            server.receive_eof()
    except ProtocolError as error:
        account.refused = error.reason
    return account


def responses_by_ours(parts: Sequence[bytes], method: str = "GET", *, eof: bool = True) -> Account:
    """What our client side reads in answer to one request, informational heads included; then the connection's end."""
    client, account = Http1Client(), Account()
    client.send_head(RequestHead(method, "http", "h", "h", "/", None, []), [])
    try:
        for part in parts:
            event = client.receive_data(part)
            while event is not NEED_DATA and event is not PAUSED:
                _tell(account, event)
                if client.complete:
                    _finish(account.messages[-1], client)
                    account.over = True
                    return account
                event = client.next_event()
        if eof:
            client.receive_eof()
            if client.complete:
                account.messages[-1].whole = True
    except ProtocolError as error:
        account.refused = error.reason
    return account


def _tell(account: Account, event: object) -> None:
    match event:
        case RequestHead():
            path = event.path if event.query is None else f"{event.path}?{event.query}"
            account.messages.append(Message((event.method, event.authority, path), event.headers))
        case ResponseHead():
            account.messages.append(Message(event.status, event.headers, whole=event.status < 200))
        case EndOfMessage():
            account.messages[-1].trailers = event.trailers
        case bytes():
            account.messages[-1].data += event


def _finish(message: Message, codec: Http1Server | Http1Client) -> None:
    """A body's last bytes complete it before its end is told."""
    message.trailers, message.whole = codec.trailers, True


def requests_by_h11(wire: bytes, *, eof: bool = False) -> Account:
    """What h11 reads as a server, every request answered at once."""
    connection, account = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18), Account()
    try:
        connection.receive_data(wire)
        if eof:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                target = event.target.decode("latin-1")
                authority = dict(event.headers).get(b"host", b"").decode("latin-1")
                account.messages.append(
                    Message((event.method.decode("latin-1"), authority, target), kept(list(event.headers)))
                )
            elif isinstance(event, h11.Data):
                account.messages[-1].data += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                account.messages[-1].trailers, account.messages[-1].whole = list(event.headers), True
                _answer(connection)
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    account.over = True
                    return account
                connection.start_next_cycle()
            else:
                return account
    except h11.RemoteProtocolError as error:
        account.refused = str(error)
        return account


def responses_by_h11(wire: bytes, method: str = "GET", *, eof: bool = True) -> Account:
    """What h11 reads as a client in answer to one request."""
    connection, account = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 18), Account()
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    try:
        connection.receive_data(wire)
        if eof:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.InformationalResponse | h11.Response):
                account.messages.append(
                    Message(event.status_code, kept(list(event.headers), host=True), whole=event.status_code < 200)
                )
            elif isinstance(event, h11.Data):
                account.messages[-1].data += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                account.messages[-1].trailers, account.messages[-1].whole = list(event.headers), True
                account.over = True
                return account
            else:
                return account
    except h11.RemoteProtocolError as error:
        account.refused = str(error)
        return account


def kept(headers: Headers, *, host: bool = False) -> Headers:
    """The headers that our codec passes on, of all that were sent; Host is one like any other in a response."""
    named = {part.strip().lower() for name, text in headers if name == b"connection" for part in text.split(b",")}
    return [pair for pair in headers if pair[0] not in HOP | (named - NOT_NOMINATED) or (host and pair[0] == b"host")]


NOT_NOMINATED = frozenset(
    b"host content-length expect authorization cookie x-forwarded-for x-forwarded-proto x-forwarded-host "
    b"x-forwarded-client-cert x-request-id forwarded".split()
)
"""What a Connection header cannot take out of a head; ``expect`` goes anyway."""


def _answer(connection: h11.Connection) -> None:
    if connection.our_state is h11.SEND_RESPONSE:
        connection.send(h11.Response(status_code=204, headers=[]))
    if connection.our_state is h11.SEND_BODY:
        connection.send(h11.EndOfMessage())
