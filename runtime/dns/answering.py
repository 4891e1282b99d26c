"""What a slice's names answer: pure, so that it can be tested by tables and asked by an admin page.

    a name of the mesh     its addresses of the family that was asked for; none of that family is an empty answer, never "no such name"
    an alias               the name that it stands for (CNAME), with that name's addresses
    a name and the first search domain of this machine, as resolvers try it first: the name (CNAME), so that they need not try again
    anything else          nothing: it is asked on

Types other than addresses are not the mesh's to answer, but for HTTPS and SVCB: their hints would lead past the proxy, so there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network

import msgspec

from snapshot.section import Name, NameTable

A, AAAA, SVCB, HTTPS, ANY = 1, 28, 64, 65, 255
ANSWERED = frozenset({A, AAAA, SVCB, HTTPS, ANY})
MAX_CHAIN = 8
"""More aliases than this in a row lead nowhere."""

_ALLOCATED_V6 = ip_network("2001:2::/48")

LiveAddresses = Callable[[str], tuple[str, ...]]
"""The addresses of a cluster's endpoints now."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a question: aliases in order, then ``addresses``. ``ask`` is the name that others are to be asked for the rest, "" where
    nothing is missing. An alias that leads nowhere ``fails``."""

    chain: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ask: str = ""
    fails: bool = False


class NameIndex:
    """Names as questions find them. Never changed after construction.

    ``search`` is this machine's first search domain, and ``has_ipv6`` says whether addresses that were allocated to lead to the proxy can do so
    over IPv6 here.
    """

    def __init__(self, tables: Iterable[NameTable] = (), *, search: str = "", has_ipv6: bool = True) -> None:
        self._search = f".{search.strip('.').lower()}" if search.strip(".") else ""
        self._has_ipv6 = has_ipv6
        self.entries = tuple(entry for table in tables for entry in table.entries)
        self._exact: dict[str, Name] = {}
        self._below: dict[str, Name] = {}
        for entry in self.entries:
            self._add(entry.names[0], entry)
        # Where two hosts have one name, it is the host's that has it for its own.
        for entry in self.entries:
            for name in entry.names[1:]:
                self._add(name, entry)

    def _add(self, name: str, entry: Name) -> None:
        if name.startswith("*."):
            self._below.setdefault(name[2:], entry)
        else:
            self._exact.setdefault(name, entry)

    def find(self, name: str) -> Name | None:
        """The entry of a name: its own, or else that of the longest wildcard above it."""
        entry = self._exact.get(name)
        if entry is None and self._below:
            parent = name.partition(".")[2]
            while entry is None and parent:
                entry = self._below.get(parent)
                parent = parent.partition(".")[2]
        return entry

    def without_search(self, name: str) -> str:
        """The known name that a resolver of this machine means by one with the search domain behind it, "" where it means no such name.

        A single label is left alone: it is somebody's in the search domain, too.
        """
        if not self._search or not name.endswith(self._search):
            return ""
        stem = name.removesuffix(self._search)
        return stem if "." in stem and self.find(stem) is not None else ""

    def reachable(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Those of some addresses that connections can be made to here."""
        if self._has_ipv6:
            return tuple(addresses)
        return tuple(one for one in addresses if ":" not in one or ip_address(one) not in _ALLOCATED_V6)


def answer(index: NameIndex, name: str, kind: int, live: LiveAddresses) -> Answer:
    """What is known of a name (lower case, no dot at its end) and a type of record."""
    if kind not in ANSWERED:
        return Answer(ask=name)
    chain: list[str] = []
    current = name
    while len(chain) <= MAX_CHAIN:
        entry = index.find(current)
        target = index.without_search(current) if entry is None else entry.alias
        if target:
            chain.append(target)
            current = target
            continue
        known = () if entry is None else entry.addresses or live(entry.cluster)
        if entry is None or not known:
            return Answer(tuple(chain), ask=current)
        return Answer(tuple(chain), tuple(one for one in index.reachable(known) if _is_of(one, kind)))
    return Answer(fails=True)


def _is_of(address: str, kind: int) -> bool:
    return kind == ANY or kind == (AAAA if ":" in address else A)
