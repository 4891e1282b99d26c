"""Where the DNS server listens: on loopback alone, with datagrams and streams on one port."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from runtime.bootstrap import Bootstrap
from runtime.supervisor.sockets import BindError, datagram_socket, explain_own, listening_socket

_GLOBAL_SCOPE = "00"
_NAME = "dns "


def hosts(bootstrap: Bootstrap) -> tuple[str, ...]:
    """The addresses. Redirected queries come to 127.0.0.1 and ::1; on one machine with many workloads each has an address of its own."""
    if bootstrap.interception != "none":
        return ("127.0.0.1", "::1") if _interfaces() else ("127.0.0.1",)
    own = ipaddress.ip_address(bootstrap.address)
    return (bootstrap.address if own.is_loopback else "127.0.0.1",)


def bind(bootstrap: Bootstrap, held: dict[str, socket.socket]) -> list[socket.socket]:
    """The sockets of datagrams and streams; none where the bootstrap opens no port for them. Raises BindError.

    ``held`` are this proxy's own sockets by name: those that are there already are used, the others added.
    """
    port = bootstrap.ports.dns
    if port < 0:
        return []
    found: list[socket.socket] = []
    for host in hosts(bootstrap):
        stream, datagrams = f"{_NAME}stream {host}", f"{_NAME}datagrams {host}"
        try:
            if stream not in held:
                held[stream] = listening_socket((host, port), shared=False)
            port = held[stream].getsockname()[1]
            if datagrams not in held:
                held[datagrams] = datagram_socket((host, port), shared=False)
        except OSError as error:
            raise BindError(explain_own(f"the DNS port {host}:{port}", error)) from None
        found += [held[stream], held[datagrams]]
    return found


def release(held: dict[str, socket.socket]) -> None:
    """Closes what ``bind`` has bound."""
    for name in [name for name in held if name.startswith(_NAME)]:
        held.pop(name).close()


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 address from which others can be called."""
    return any(scope == _GLOBAL_SCOPE and device != "lo" for scope, device in _interfaces())


def _interfaces() -> list[tuple[str, str]]:
    """Scope and device of every IPv6 address of this machine (proc(5))."""
    try:
        rows = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return []
    return [(fields[3], fields[5]) for row in rows if len(fields := row.split()) == 6]
