"""A channel with TLS, over OpenSSL's memory buffers: one recv and one send per round whatever the records are.

Bytes that OpenSSL holds are invisible to epoll, so a read goes on until both the buffer and OpenSSL are empty, or the sink pauses; after a pause
``resume`` reads what is left before the socket. What OpenSSL wants to say (handshake, key updates, alerts) goes out after every step.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from socket import socket

from runtime.lane.channel import Channel, Sink
from runtime.lane.loop import Lane

_RECORD_BYTES = 16_384
"""The most that one record holds (RFC 8446 section 5.1): a read takes a record whole, so OpenSSL never keeps part of one back."""
# Named once: ``super()`` makes an object for every record.
_send_plain = Channel.send


class TlsFailedError(OSError):
    """The handshake or a record failed; ``reason`` is OpenSSL's, for the log's transport failure reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TlsChannel(Channel):
    """A TLS connection. Owns the TLS state besides what a Channel owns.

    ``vet`` is asked once, when the handshake is done and before the sink hears of it; it raises OSError to refuse the peer.
    """

    __slots__ = ("_decrypting", "_established", "_incoming", "_outgoing", "_records", "_tls", "_vet", "alpn")

    def __init__(
        self,
        lane: Lane,
        sock: socket,
        sink: Sink,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str = "",
        connecting: bool = False,
        vet: Callable[[TlsChannel], None] | None = None,
    ) -> None:
        super().__init__(lane, sock, sink, connecting=connecting)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name or None
        )
        # The same object without its Python wrapper, whose frames cost as much as a small record.
        self._records = getattr(self._tls, "_sslobj", self._tls)
        self._established = False
        self._decrypting = False
        self._vet = vet
        self.alpn = ""

    @classmethod
    def server(cls, plain: Channel, context: ssl.SSLContext, sink: Sink) -> TlsChannel:
        """Makes an accepted plain channel the server side of TLS; ``feed`` then gives it what was read already."""
        channel = cls(plain.lane, plain.sock, sink, context, server_side=True)
        plain.lane.replace(plain.fd, channel)
        plain.closed = True
        channel._mask = plain._mask  # noqa: SLF001
        return channel

    def feed(self, received: bytes) -> None:
        """Takes bytes that somebody else has read from the socket."""
        self._received(received)

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's leaf certificate in DER, verified by OpenSSL; None where it showed none."""
        return self._tls.getpeercert(binary_form=True)

    @property
    def version(self) -> str:
        """``TLSv1.3`` or ``TLSv1.2``."""
        return self._tls.version() or ""

    def _opened(self) -> None:
        self._handshake()

    def _received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._established:
            self._decrypt()
        else:
            self._handshake()

    def _ended(self) -> None:
        self._incoming.write_eof()
        if self._established:
            self._decrypt()
        else:
            self.lose(TlsFailedError("the peer closed the connection during the handshake"))

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push()
            return
        except ssl.SSLError as error:
            self._push()  # The alert that tells the peer why.
            self.lose(TlsFailedError(_reason(error)))
            return
        self._established = True
        self.alpn = self._tls.selected_alpn_protocol() or ""
        if self._vet is not None:
            try:
                self._vet(self)
            except OSError as error:
                self.lose(error)
                return
        self._push()
        self.sink.on_open()
        if not self.closed and (self._incoming.pending or self._tls.pending()):
            self._decrypt()

    def _decrypt(self) -> None:
        """Hands decrypted bytes on until nothing is left or the sink pauses."""
        if self._decrypting:
            return
        self._decrypting = True
        try:
            while not self.closed and (self.reading or self._incoming.eof):
                try:
                    data = self._records.read(_RECORD_BYTES)
                except ssl.SSLWantReadError:
                    break
                except ssl.SSLZeroReturnError:
                    data = b""
                except ssl.SSLEOFError:
                    # No close_notify: a body that ends with the connection may have been cut (RFC 8446 section 6.1).
                    self.clean_eof = False
                    data = b""
                except ssl.SSLError as error:
                    self._push()
                    self.lose(TlsFailedError(_reason(error)))
                    return
                if not data:
                    self.pause()
                    self.sink.on_eof()
                    return
                self.sink.on_data(data)
                if not self._incoming.pending and not self._incoming.eof:
                    break
        finally:
            self._decrypting = False
        if self._outgoing.pending:
            self._push()

    def resume(self) -> None:
        """See Channel; what is already decrypted or received comes first, in a call of its own."""
        super().resume()
        if not self.closed and self._established and (self._incoming.pending or self._tls.pending()):
            self.lane.soon(self._pump)

    def _pump(self) -> None:
        if not self.closed:
            self._decrypt()

    def _push(self) -> None:
        if self._outgoing.pending and not self.closed:
            _send_plain(self, self._outgoing.read())

    def send(self, data: bytes) -> None:
        """See Channel."""
        if self.closed or self.broken:
            return
        try:
            sent = self._records.write(data)
            if sent != len(data):
                rest = memoryview(data)[sent:]
                while rest:
                    rest = rest[self._tls.write(rest) :]
        except ssl.SSLError:
            # Only after a fatal alert; the event that brought it tells the sink.
            self.broken = True
            return
        _send_plain(self, self._outgoing.read())

    def finish(self) -> None:
        """See Channel; sends close_notify first."""
        if self._established and not self.broken:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass
            self._push()
        super().finish()

    def close(self) -> None:
        """See Channel; a close_notify goes out where the connection is whole, so that the peer can tell an end from a cut."""
        if not self.closed and self._established and not self.broken and not self._out:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass
            self._push()
        super().close()

    def abort(self) -> None:
        """See Channel; without close_notify."""
        self.broken = True
        super().abort()


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    return (error.reason or str(error)).lower().replace("_", " ")
