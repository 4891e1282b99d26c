"""One socket in the lane: reads one buffer per readiness, writes at once, queues what the kernel does not take.

Errors while writing are not reported where they happen, in the middle of somebody else's work: the output is dropped, and the kernel reports the
broken socket as an event, which arrives at ``Sink.on_lost`` like any other loss.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from typing import Protocol

from runtime.lane.loop import Lane
from runtime.lane.wheel import Timer

READ_BYTES = 65_536
"""More would be mapped and unmapped by the allocator at every call (performance.md)."""
HIGH_WATER = 262_144
LOW_WATER = 65_536
LEAVE_S = 30.0
"""How long a closing channel may take to send what is queued."""

IN = select.EPOLLIN
OUT = select.EPOLLOUT
ERR = select.EPOLLERR
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Sink(Protocol):
    """The machine behind a channel. It is never called again after ``on_lost``, nor after it closed the channel."""

    def on_open(self) -> None:
        """An outgoing channel is connected; a TLS channel has shaken hands."""

    def on_data(self, data: bytes) -> None:
        """Bytes from the peer, at least one."""

    def on_eof(self) -> None:
        """The peer will send no more; ``Channel.clean_eof`` says whether TLS vouches for that. The channel can still write."""

    def on_drained(self) -> None:
        """Unsent bytes fell below LOW_WATER after they had been above HIGH_WATER."""

    def on_lost(self, error: OSError) -> None:
        """The connection is gone (reset, timed out, refused, failed handshake); the channel is closed already."""


class Channel:
    """A plain connection. Owns the socket, its interest in events, and the bytes that the kernel has not taken yet.

    ``preface`` is what an outgoing one begins with.
    """

    __slots__ = (
        "_connecting",
        "_mask",
        "_out",
        "_shutdown_after",
        "broken",
        "clean_eof",
        "closed",
        "fd",
        "full",
        "lane",
        "preface",
        "queued",
        "reading",
        "sink",
        "sock",
    )

    def __init__(self, lane: Lane, sock: socket.socket, sink: Sink, *, connecting: bool = False) -> None:
        self.lane = lane
        self.sock = sock
        self.fd = sock.fileno()
        self.sink = sink
        self.closed = False
        self.broken = False
        self.clean_eof = True
        self.queued = 0
        self.full = False
        self.preface = b""
        self._connecting = connecting
        self._out = bytearray()
        self.reading = True
        self._shutdown_after = False
        self._mask = OUT if connecting else IN

    def start(self) -> None:
        """Enters the lane."""
        self.lane.register(self.fd, self, self._mask)

    # --- events --------------------------------------------------------------------------------------------------------------

    def on_event(self, mask: int) -> None:
        """See Source."""
        if self._connecting:
            self._connected()
            return
        if mask & IN and self.reading:
            try:
                data = self.sock.recv(READ_BYTES)
            except BlockingIOError:
                pass
            except OSError as error:
                self.lose(error)
                return
            else:
                if data:
                    self._received(data)
                else:
                    self.reading = False
                    self._update()
                    self._ended()
        elif mask & ~(IN | OUT):
            self._hung_up(mask)
            return
        if mask & OUT and not self.closed:
            self._flush()

    def _received(self, data: bytes) -> None:
        self.sink.on_data(data)

    def _ended(self) -> None:
        self.sink.on_eof()

    def _connected(self) -> None:
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.lose(OSError(code, os.strerror(code)))
            return
        self._connecting = False
        self._update()
        if self.preface:
            Channel.send(self, self.preface)  # Before TLS, where there is any.
        self._opened()

    def _opened(self) -> None:
        self.sink.on_open()

    def _hung_up(self, mask: int) -> None:
        """ERR or HUP without readable interest. Both sides done while we are paused is no loss: the kernel still holds bytes for us."""
        if mask & ERR or self.reading or self.broken:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.lose(OSError(code or errno.ECONNRESET, os.strerror(code or errno.ECONNRESET)))
        elif self._mask != -1:
            self.lane.suspend(self.fd)
            self._mask = -1

    # --- reading -------------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Reads no more until ``resume``: the peer is slowed down by its own full window."""
        if self.reading:
            self.reading = False
            if not self.closed:
                self._update()

    def resume(self) -> None:
        """Reads again."""
        if not self.reading and not self.closed:
            self.reading = True
            self._update()

    def _update(self) -> None:
        mask = OUT if self._connecting else (IN if self.reading else 0) | (OUT if self._out else 0)
        if mask == self._mask:
            return
        if self._mask == -1:
            if mask:
                self.lane.resume(self.fd, mask)
                self._mask = mask
            return
        self._mask = mask
        self.lane.modify(self.fd, mask)

    # --- writing -------------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Sends now what the kernel takes and queues the rest; ``full`` says that the caller should wait for ``on_drained``."""
        if self._out:
            self._out += data
            self._measure()
            return
        if self.closed or self.broken:
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken = True
            return
        if sent != len(data):
            self._out += data[sent:]
            self._measure()
            self._update()

    def _measure(self) -> None:
        self.queued = len(self._out)
        if self.queued > HIGH_WATER:
            self.full = True

    def _flush(self) -> None:
        try:
            sent = self.sock.send(self._out)
        except BlockingIOError:
            return
        except OSError:
            self.broken = True
            self._out.clear()
        else:
            del self._out[:sent]
        self.queued = len(self._out)
        if not self._out:
            if isinstance(self.sink, _Leaving):
                self.close()
                return
            self._update()
            if self._shutdown_after:
                self._shutdown()
        if self.full and self.queued <= LOW_WATER:
            self.full = False
            self.sink.on_drained()

    # --- ending --------------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Half-closes after what is queued: the peer sees a clean end, and may still send."""
        if self._out:
            self._shutdown_after = True
        else:
            self._shutdown()

    def _shutdown(self) -> None:
        self._shutdown_after = False
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.broken = True

    def close_after_drain(self) -> None:
        """Closes when what is queued has gone out; until then the channel is on its own, and a peer that takes nothing is cut off."""
        if not self._out:
            self.close()
            return
        self.sink = _Leaving(self)
        self.pause()

    def close(self) -> None:
        """Closes; unsent bytes are given to the kernel as far as it takes them."""
        if not self.closed:
            self.closed = True
            self.lane.forget(self.sock)
            # Channel and machine hold each other: without this cut only a collection would free them, and frozen ones never.
            self.sink = _CLOSED

    def abort(self) -> None:
        """Closes with a reset: a truncated message must never look finished."""
        if not self.closed:
            try:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                pass
            self.close()

    def lose(self, error: OSError) -> None:
        """The connection is over; tells the sink."""
        if not self.closed:
            sink = self.sink
            self.close()
            sink.on_lost(error)

    @property
    def drained(self) -> bool:
        """Everything was given to the kernel."""
        return not self._out


class _Closed:
    """The sink of a closed channel: nobody is there any more."""

    __slots__ = ()

    def on_open(self) -> None:
        """See Sink."""

    def on_data(self, data: bytes) -> None:
        """See Sink."""

    def on_eof(self) -> None:
        """See Sink."""

    def on_drained(self) -> None:
        """See Sink."""

    def on_lost(self, error: OSError) -> None:
        """See Sink."""


_CLOSED = _Closed()


class _Leaving(_Closed):
    """The sink of a channel that only sends its last bytes. Owns the deadline for that."""

    __slots__ = ("_timer",)

    def __init__(self, channel: Channel) -> None:
        self._timer = Timer(channel.abort)
        channel.lane.wheel.set(self._timer, channel.lane.now, LEAVE_S)

    def on_lost(self, error: OSError) -> None:
        """See Sink."""
        del error
        self._timer.end()
