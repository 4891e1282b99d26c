"""Addresses of sockets as configuration names them: an IP address and a port, or a Unix socket's path (``/path``, ``@name`` without a file)."""

from __future__ import annotations

import socket

LOCAL = "127.0.0.1"
"""Where a peer on a Unix socket is said to come from: this machine."""


DATAGRAMS = "/udp"


def socket_name(address: tuple[str, int], *, datagrams: bool = False) -> str:
    """How a listening socket is called between supervisor and worker: ``address:port``, a Unix socket by its path and port 0, and one for
    datagrams with ``/udp`` behind, because one number may be had for both."""
    return f"{address[0]}:{address[1]}{DATAGRAMS if datagrams else ''}"


def takes_datagrams(name: str) -> bool:
    """Whether a listening socket is one for datagrams, by its name."""
    return name.endswith(DATAGRAMS)


def is_path(address: str) -> bool:
    """Whether an address is a Unix socket's; its port then says nothing."""
    return address.startswith(("/", "@"))


def family_of(address: str) -> socket.AddressFamily:
    """The family of an address."""
    if is_path(address):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def target_of(address: str, port: int) -> tuple[str, int] | str:
    """What the kernel is asked to bind or connect to."""
    if not is_path(address):
        return address, port
    return f"\0{address[1:]}" if address.startswith("@") else address


def shown(address: str, port: int) -> str:
    """An address in logs and pages."""
    return address if is_path(address) else f"{address}:{port}"


def local_name(sock: socket.socket) -> str:
    """This side of a connected socket, in logs; nothing where it is a Unix socket's client, which has no name."""
    local = sock.getsockname()
    return f"{local[0]}:{local[1]}" if isinstance(local, tuple) else ""
