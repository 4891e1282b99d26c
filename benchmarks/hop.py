"""One proxy of a work, and what a target must be able to do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from benchmarks.certificates import Certificates
from benchmarks.processes import Server


class Hop(msgspec.Struct, frozen=True):
    """A proxy on ``port`` that forwards to ``upstream`` (both on 127.0.0.1). ``tls_in`` and ``tls_out`` are mutual TLS.

    ``origin`` says that what is upstream is the origin, not another proxy of the pair.
    """

    name: str
    port: int
    upstream: int
    certificates: Certificates
    tls_in: bool = False
    tls_out: bool = False
    http2: bool = False
    routes: int = 1
    origin: bool = True


class Target(Protocol):
    """A proxy program."""

    name: str

    def lacks(self, hop: Hop) -> str:
        """Why it cannot do this hop, or "" where it can."""
        ...

    def start(self, hop: Hop, folder: Path) -> Server:
        """Writes the configuration into ``folder`` and starts the program on the proxies' core."""
        ...
