"""The machine's own resolvers, as resolv.conf names them (resolv.conf(5)). Read again when the file has changed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

import msgspec

Address = tuple[str, int]

PORT = 53
MAX_SERVERS = 8
LONGEST_S, MOST_ATTEMPTS = 5.0, 3


class Resolvers(msgspec.Struct, frozen=True):
    """Whom to ask in this order, for how long each, and how often in all; ``search`` is the first domain that short names are tried in."""

    servers: tuple[Address, ...] = ()
    search: str = ""
    timeout_s: float = LONGEST_S
    attempts: int = 2


def parse(text: str) -> Resolvers:
    """A resolv.conf. What cannot be understood is passed over, as resolvers do."""
    servers: list[Address] = []
    search, timeout_s, attempts = "", LONGEST_S, 2
    for line in text.splitlines():
        key, *values = line.split("#", 1)[0].split(";", 1)[0].split()[:16] or [""]
        if key == "nameserver" and values and _is_address(values[0]):
            servers.append((values[0], PORT))
        elif key in ("search", "domain") and values:
            search = values[0]
        elif key == "options":
            timeout_s = min(max(_option(values, "timeout", timeout_s), 1.0), LONGEST_S)
            attempts = int(min(max(_option(values, "attempts", attempts), 1), MOST_ATTEMPTS))
    return Resolvers(tuple(servers[:MAX_SERVERS]), search, timeout_s, attempts)


def addresses(written: Iterable[str]) -> tuple[Address, ...]:
    """Servers that are named ``address`` or ``address:port``, an IPv6 address with a port in brackets; raises ValueError."""
    found: list[Address] = []
    for one in written:
        host, colon, port = one.rpartition(":") if one.count(":") == 1 or "]:" in one else (one, "", "")
        host = (host if colon else one).strip("[]")
        ipaddress.ip_address(host)
        found.append((host, int(port) if colon else PORT))
    return tuple(found)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _option(values: list[str], name: str, default: float) -> float:
    for value in values:
        key, _, number = value.partition(":")
        if key == name and number.isdigit():
            return float(number)
    return default


class ResolvConf:
    """One file, read when it is asked for and has changed. Where it cannot be read there is nobody to ask."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, ...] = ()
        self._resolvers = Resolvers()

    def resolvers(self) -> Resolvers:
        """What the file says now."""
        try:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._read:
                self._resolvers, self._read = parse(self._path.read_text("utf-8", "replace")), state
        except OSError:
            self._resolvers, self._read = Resolvers(), ()
        return self._resolvers
