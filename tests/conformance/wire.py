"""What our HTTP/1 codec makes of raw bytes: the requests that it would have passed on, and why it stopped."""

from __future__ import annotations

from dataclasses import dataclass, field

from policies.head import RequestHead
from runtime.http1 import EndOfMessage, Http1Server, ProtocolError
from runtime.http1.events import NEED_DATA, PAUSED


@dataclass
class Reading:
    """Complete requests with their bodies, a head whose body never ended, and the error's reason ("" for none)."""

    requests: list[tuple[RequestHead, bytes]] = field(default_factory=list)
    unfinished: RequestHead | None = None
    error: str = ""


def read_requests(raw: bytes) -> Reading:
    """Reads one connection's bytes to their end, each request answered at once."""
    server = Http1Server()
    reading = Reading()
    body = b""
    try:
        event = server.receive_data(raw)
        while True:
            if isinstance(event, RequestHead):
                reading.unfinished, body = event, b""
            elif isinstance(event, bytes):
                body += event
            if server.complete and reading.unfinished is not None and (isinstance(event, RequestHead | EndOfMessage)):
                reading.requests.append((reading.unfinished, body))
                reading.unfinished = None
                if not server.keep_alive or server.upgrade or reading.requests[-1][0].method == "CONNECT":
                    return reading
                server.start_next()
            elif event is NEED_DATA or event is PAUSED:
                break
            event = server.next_event()
        server.receive_eof()
    except ProtocolError as error:
        reading.error = error.reason.value
    return reading
