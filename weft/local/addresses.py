"""Whether loopback addresses are free, asked before anything is started: a process that finds its port taken says so too late."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from weft.local.children import LocalError


def require_free(addresses: Iterable[tuple[str, int]], hint: str) -> None:
    """Raises LocalError naming the first address that cannot be bound, with ``hint`` as the next step."""
    for host, port in addresses:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise LocalError(f"{host}:{port} cannot be bound ({error.strerror}); {hint}") from None
