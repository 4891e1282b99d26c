"""Ports for what a test starts as a process of its own, which binds them only some time after they were chosen, and who listens on them."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 17_000
_TRIES = 200


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody has, and that the kernel gives nobody who asks for any: on a busy machine a process takes seconds to bind."""
    below = int(_RANGE.read_text().split()[0])
    for _ in range(_TRIES):
        port = random.randrange(_LOWEST, below)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no free port between {_LOWEST} and {below}")


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there. A listener that closes while the kernel holds the connection for it resets it: nobody, too."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True
