"""One datagram in, one out, on a socket that many clients share; on a socket for every address, with the address that the client called.

A client takes an answer only from where it asked. A socket bound to one address always answers from there; one bound to all of them would
answer from whichever the route back begins at, so there the kernel is asked, and told, which it was (ip(7) IP_PKTINFO, RFC 3542 6.2).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Protocol

LARGEST = 65_536
"""Room for the largest datagram: 65,507 bytes over IPv4, 65,527 over IPv6."""
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50
"""Linux's numbers; sockets' own constants do not have the first before Python 3.14."""

_ROOM = socket.CMSG_SPACE(20)
_PATH4 = struct.Struct("@I4s4s")
_PATH6 = struct.Struct("@16sI")

Client = tuple[str, int] | tuple[str, int, int, int]


class Path(Protocol):
    """How datagrams come from clients and go back. The second of what comes is opaque: who sent it, and where to; equal for one client."""

    def receive(self, sock: socket.socket, buffer: bytearray) -> tuple[int, tuple[Client, bytes]]:
        """One datagram's size and way; raises BlockingIOError where there is none, OSError where the socket cannot serve."""

    def send(self, sock: socket.socket, data: memoryview, way: tuple[Client, bytes]) -> None:
        """Answers on a way; raises BlockingIOError where the kernel has no room, other OSErrors where it cannot be sent."""

    def called(self, way: tuple[Client, bytes]) -> str:
        """The address that the client called, "" where it is the socket's own."""


class OneAddress:
    """A socket bound to one address."""

    def receive(self, sock: socket.socket, buffer: bytearray) -> tuple[int, tuple[Client, bytes]]:
        """See Path."""
        size, client = sock.recvfrom_into(buffer)
        return size, (client, b"")

    def send(self, sock: socket.socket, data: memoryview, way: tuple[Client, bytes]) -> None:
        """See Path."""
        sock.sendto(data, way[0])

    def called(self, way: tuple[Client, bytes]) -> str:
        """See Path."""
        del way
        return ""


class EveryAddress:
    """A socket bound to all addresses of a family. What was called travels as the kernel's own record."""

    def __init__(self, sock: socket.socket) -> None:
        self._six = sock.family == socket.AF_INET6
        if self._six:
            self._level, self._kind = socket.IPPROTO_IPV6, IPV6_PKTINFO
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        else:
            self._level, self._kind = socket.IPPROTO_IP, IP_PKTINFO
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)

    def receive(self, sock: socket.socket, buffer: bytearray) -> tuple[int, tuple[Client, bytes]]:
        """See Path."""
        size, ancillary, _, client = sock.recvmsg_into([buffer], _ROOM)
        for level, kind, data in ancillary:
            if (level, kind) == (self._level, self._kind):
                return size, (client, self._local(data))
        return size, (client, b"")

    def _local(self, data: bytes) -> bytes:
        """Which of our addresses it was; not by which interface, so that an answer may leave by another."""
        local: bytes = _PATH6.unpack_from(data)[0] if self._six else _PATH4.unpack_from(data)[1]
        return local

    def send(self, sock: socket.socket, data: memoryview, way: tuple[Client, bytes]) -> None:
        """See Path."""
        client, local = way
        if not local:
            sock.sendto(data, client)
            return
        record = _PATH6.pack(local, 0) if self._six else _PATH4.pack(0, local, bytes(4))
        sock.sendmsg([data], [(self._level, self._kind, record)], 0, client)

    def called(self, way: tuple[Client, bytes]) -> str:
        """See Path."""
        return str(ipaddress.ip_address(way[1])) if way[1] else ""


def path_of(sock: socket.socket) -> Path:
    """The way that datagrams take through a bound socket."""
    return EveryAddress(sock) if sock.getsockname()[0] in ("0.0.0.0", "::") else OneAddress()  # noqa: S104  compared, not bound
