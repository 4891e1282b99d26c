"""Opens the proxy's own ports and serves its pages there."""

from __future__ import annotations

import ipaddress
import os
import socket
from functools import partial

import trio

from runtime import admin
from runtime.bootstrap import Bootstrap
from runtime.pages.asked import Asked, Page
from runtime.service import ServiceListener
from runtime.service_server import serve
from runtime.supervisor.sockets import Address, BindError, explain_own, listening_socket

MAX_BODY_BYTES = 1024


async def open_pages(
    nursery: trio.Nursery, bootstrap: Bootstrap, asked: Asked, held: dict[str, socket.socket]
) -> dict[str, Address]:
    """Serves all pages in a nursery and returns where; raises BindError for a port that cannot be bound.

    ``held`` are the listening sockets by page: those that are there already are used, the others added.
    """
    ports = bootstrap.ports
    tables: tuple[tuple[str, str, int, dict[str, Page], dict[str, Page]], ...] = (
        ("admin", admin_host(bootstrap), ports.admin, admin.ADMIN, admin.ACTIONS),
        ("metrics", bootstrap.address, ports.metrics, admin.METRICS, {}),
        ("merged metrics", bootstrap.address, ports.merged_metrics, admin.MERGED, {}),
        ("readiness", bootstrap.address, ports.readiness, admin.READINESS, {}),
    )
    opened: dict[str, Address] = {}
    if bootstrap.admin_socket:
        answer = partial(
            serve,
            admin.pages(admin.ADMIN, asked, admin.ACTIONS),
            [ServiceListener(_own_socket(bootstrap.admin_socket))],
            max_body_bytes=MAX_BODY_BYTES,
        )
        await nursery.start(answer)
    for name, host, port, table, actions in tables:
        if port < 0:
            continue
        try:
            if name not in held:
                held[name] = listening_socket((host, port), shared=False)
        except OSError as error:
            raise BindError(explain_own(f"the {name} port {host}:{port}", error)) from None
        listener = ServiceListener(held[name])
        answer = partial(serve, admin.pages(table, asked, actions), [listener], max_body_bytes=MAX_BODY_BYTES)
        (opened[name],) = await nursery.start(answer)
    return opened


def _own_socket(path: str) -> socket.socket:
    """A Unix socket that only this user may open; raises BindError."""
    before = os.umask(0o177)
    try:
        return listening_socket((path, 0), shared=False)
    except OSError as error:
        raise BindError(f"the admin socket {path} cannot be bound: {error.strerror or error}") from None
    finally:
        os.umask(before)


def admin_host(bootstrap: Bootstrap) -> str:
    """Where the admin pages listen: loopback whatever the proxy's address is, because they show the whole configuration."""
    if ipaddress.ip_address(bootstrap.address).is_loopback:
        return bootstrap.address
    return "127.0.0.1"
