"""HTTP/2 without I/O: frames, header blocks, flow control and budgets of our own.

``Http2Server`` is one downstream connection, ``Http2Client`` one upstream connection. Both take bytes and return a list of events
(``runtime.http2.events``), each of which names its stream; what they send is collected until ``data_to_send``, which a caller asks once per
readiness round. ``Limits`` bounds what a connection may cost. A peer that breaks the connection raises ``ProtocolError`` (the GOAWAY for it
is then waiting in ``data_to_send``); one that breaks a stream has that stream reset, and the exchange sees ``StreamReset``.

Flow control. ``send_data`` takes what the windows allow and says how much; ``WindowOpened`` says when to bring the rest. Every
``DataReceived`` is owed an ``acknowledge`` once its bytes have gone on: holding it back is what stops the sender.
"""

from runtime.http2.client import Http2Client
from runtime.http2.connection import Connection, Limits
from runtime.http2.error import ErrorCode, ProtocolError, Reason
from runtime.http2.server import Http2Server

__all__ = ["Http2Server", "Http2Client", "Connection", "Limits", "ProtocolError", "ErrorCode", "Reason"]
