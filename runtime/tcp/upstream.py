"""The upstream machine of plain bytes: one connection for one tunnel, never reused. CONNECT and TCP chains use it alike."""

from __future__ import annotations

from policies.head import Headers, RequestHead, ResponseHead
from runtime.http.pool import ConnectDeadline, Pool
from runtime.http.stream import ExchangeSide, Waiter
from runtime.lane.channel import Channel
from runtime.socket_address import local_name
from runtime.telemetry import Failure


class TcpUpstream:
    """One connection, which is also its one stream. Owns its connect deadline and the bytes gathered since the last flush."""

    __slots__ = ("_connecting", "_out", "capacity", "channel", "host", "local", "pool", "requests", "reused", "waiter")

    channel: Channel

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.host = pool.host
        self.local = ""
        self.capacity = 0
        self.requests = 0
        self.reused = False
        self.waiter: ExchangeSide | None = None
        self._out: list[bytes] = []
        self._connecting: ConnectDeadline | None = ConnectDeadline(pool, lambda: self.channel)

    def open(self, waiter: Waiter) -> None:
        """See UpstreamConnection."""
        self.capacity = 0
        self.requests = 1
        self.waiter = waiter
        waiter.on_stream(self)

    def retire(self) -> None:
        """See UpstreamConnection: a tunnel ends when its sides do."""

    @property
    def full(self) -> bool:
        """See UpstreamStream."""
        return self.channel.full

    def send_request(
        self, head: RequestHead, *, content_length: int | None, end: bool, upgrade: bytes, checked: bool
    ) -> None:
        """See UpstreamStream: a CONNECT that is answered by the connection itself."""
        del head, content_length, end, upgrade, checked
        if self.waiter is not None:
            self.waiter.on_tunnel(ResponseHead(200, []))

    def send_data(self, data: bytes) -> None:
        """See UpstreamStream."""
        self._out.append(data)

    def send_end(self, trailers: Headers) -> None:
        """See UpstreamStream."""
        del trailers
        self.flush()
        self.channel.finish()

    def flush(self) -> None:
        """See UpstreamStream."""
        if self._out:
            self.channel.send(b"".join(self._out))
            self._out.clear()

    def pause(self) -> None:
        """See UpstreamStream."""
        self.channel.pause()

    def resume(self) -> None:
        """See UpstreamStream."""
        self.channel.resume()

    def cancel(self) -> None:
        """See UpstreamStream."""
        self._release()
        self.channel.abort()

    def _release(self) -> None:
        if self.waiter is not None:
            self.waiter = None
            self.pool.on_stream_done(self)
            self.pool.on_closed(self)

    def close_tunnel(self) -> None:
        """See UpstreamStream."""
        self._release()
        self.channel.close_after_drain()

    def on_open(self) -> None:
        """See Sink."""
        deadline, self._connecting = self._connecting, None
        if deadline is not None:
            deadline.timer.cancel()
        self.local = local_name(self.channel.sock)
        self.capacity = 1
        self.pool.on_connected()
        self.pool.on_ready(self)

    def on_data(self, data: bytes) -> None:
        """See Sink."""
        if self.waiter is not None:
            self.waiter.on_response_data(data)
            if self.waiter is not None:
                self.waiter.flush_downstream()

    def on_eof(self) -> None:
        """See Sink."""
        if self.waiter is None:
            self.channel.close()
            self.pool.on_closed(self)
        else:
            self.waiter.on_response_end([])

    def on_drained(self) -> None:
        """See Sink."""
        if self.waiter is not None:
            self.waiter.on_upstream_drained()

    def on_lost(self, error: OSError) -> None:
        """See Sink."""
        if self._connecting is not None:
            self._connecting.timer.cancel()
            self._connecting = None
            self.pool.on_connect_failed(self, error)
            return
        waiter = self.waiter
        self._release()
        if waiter is not None:
            waiter.on_upstream_failed(Failure.UPSTREAM_CLOSED, error.strerror or str(error))
