"""HTTP/1.1 without I/O: strict parsing of what peers send, exact writing of what we send.

``Http1Server`` is one downstream connection, ``Http1Client`` one upstream connection. Both take bytes and say events: a RequestHead or
ResponseHead, ``bytes`` (body), ``EndOfMessage`` (with trailers), ``NEED_DATA`` or ``PAUSED``; what they send they return as bytes. A peer that
breaks the protocol raises ``ProtocolError``; answer it with ``error.status`` (if no reply has begun) and close. ``Limits`` bounds heads.

How a proxy uses them, the request without a body first::

    event = server.receive_data(data)                  # one call gives the whole head, parsed and with its path normalised
    if type(event) is RequestHead and server.complete: # no body: nothing else to ask
        out = client.send_head(event, headers, upgrade=server.upgrade)

    event = client.receive_data(data)                  # ResponseHead; a status under 200 is passed on with send_informational
    out = server.send_head(event.status, headers, content_length=client.content_length)
    body = client.next_event()                         # bytes that came with the head
    out += server.send_data(body)
    if client.complete:                                # the last byte has been handed on; no need to wait for EndOfMessage
        out += server.send_end(client.trailers)
        if client.reusable: ...                        # back to the pool; else close
        if server.keep_alive:
            server.start_next()
            event = server.next_event()                # a pipelined head may be there already

A request with a body: after the head, ``next_event()`` until NEED_DATA or ``complete``; forward with ``client.send_data`` and ``send_end``;
``chunked`` and ``content_length`` of the server say how to frame it. PAUSED: stop reading from that socket. EOF: ``receive_eof()`` of that
side, which raises where a message was cut short; the downstream connection is then aborted, never ended cleanly. Nothing after CONNECT or an
upgrade is handed on before ``start_tunnel``; if the upstream refuses, reply and close.

Headers that come out are lower-case and without the connection's own fields (RFC 9110 section 7.6.1), transfer-encoding and host;
content-length stays for policies to see. What goes in may hold them: the writer frames by its own arguments alone.
"""

from runtime.http1.client import Http1Client
from runtime.http1.error import ProtocolError, Reason
from runtime.http1.events import END, NEED_DATA, PAUSED, EndOfMessage, Limits
from runtime.http1.server import Http1Server

__all__ = [
    "Http1Server",
    "Http1Client",
    "EndOfMessage",
    "END",
    "NEED_DATA",
    "PAUSED",
    "ProtocolError",
    "Reason",
    "Limits",
]
