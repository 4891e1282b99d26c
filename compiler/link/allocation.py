"""Addresses for hosts that have none: out of 240.240.0.0/16 and 2001:2::/48, which lead nowhere but to a proxy that takes connections to them.

A host's place follows from a hash of its namespace and name (Istio's, so that its addresses are the same here), so it stays where it is
whatever else comes and goes. Of two hosts with one place the first keeps it, and the other takes the next of its own sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

SLOTS = 255 * 255
_PRIME = 65_011
_FNV_OFFSET, _FNV_PRIME = 2_166_136_261, 16_777_619


def allocate(keys: Iterable[str]) -> dict[str, tuple[str, str]]:
    """An IPv4 and an IPv6 address for each key (``namespace/host``), in order of precedence; none for what is too many."""
    taken: dict[int, str] = {}
    found: dict[str, tuple[str, str]] = {}
    for key in keys:
        if key in found:
            continue
        slot = _free_slot(key, taken)
        if slot is not None:
            taken[slot] = key
            found[key] = _addresses(slot)
    return found


def _free_slot(key: str, taken: dict[int, str]) -> int | None:
    start = _hash(key)
    step = _PRIME - start % _PRIME
    # Double hashing visits every slot at most once in SLOTS steps; slots whose last octet would be 0 belong to nobody.
    for number in range(SLOTS):
        slot = (start + number * step) % SLOTS
        if slot not in taken and (slot + 1) % 255:
            return slot
    return None


def _addresses(slot: int) -> tuple[str, str]:
    third, fourth = divmod(slot + 1, 255)
    return f"240.240.{third}.{fourth}", f"2001:2::f0f0:{third << 8 | fourth:x}"


@lru_cache(maxsize=SLOTS)
def _hash(key: str) -> int:
    """FNV-1a of 32 bits. Kept, because every namespace asks for those of the whole mesh."""
    found = _FNV_OFFSET
    for byte in key.encode():
        found = (found ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return found
