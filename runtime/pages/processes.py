"""``/memory`` and ``/logging``: what the proxy's processes take, and how much they say."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

PREFIX = "weft"
LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": logging.CRITICAL + 10,
}
"""Envoy's names. ``trace`` is ``debug``: there is nothing finer."""


ALLOCATORS_OWN = ("pageheap_unmapped", "pageheap_free", "total_thread_cache")
"""What Envoy's allocator tells of itself; Python's has no such parts."""


class LevelError(Exception):
    """No such logger or level; the message names those there are."""


def memory(pids: Iterable[int]) -> dict[str, object]:
    """Resident bytes by Envoy's names (64-bit numbers are strings), over all processes, and of each by its id."""
    page = os.sysconf("SC_PAGE_SIZE")
    resident: dict[str, int] = {}
    virtual = 0
    for pid in pids:
        try:
            size, pages, *_ = Path(f"/proc/{pid}/statm").read_text().split()
        except (OSError, ValueError):
            continue  # It ended just now.
        resident[str(pid)] = int(pages) * page
        virtual += int(size) * page
    total = str(sum(resident.values()))
    return {
        "allocated": total,
        "heap_size": str(virtual),
        **dict.fromkeys(ALLOCATORS_OWN, "0"),
        "total_physical_bytes": total,
        "processes": {pid: str(size) for pid, size in resident.items()},
    }


def own() -> int:
    """This process's id."""
    return os.getpid()


def loggers() -> list[str]:
    """The names of weft's loggers in this process."""
    return sorted(name for name in logging.root.manager.loggerDict if name == PREFIX or name.startswith(f"{PREFIX}."))


def level_of(name: str) -> str:
    """A logger's level in Envoy's words."""
    effective = logging.getLogger(name).getEffectiveLevel()
    return next(word for word, level in reversed(LEVELS.items()) if effective >= level or word == "trace")


def wanted_levels(query: Mapping[str, str]) -> dict[str, str]:
    """What a query asks for, by logger: ``level=L`` for all, ``paths=a:L,b:L``, or ``NAME=L``; raises LevelError."""
    wanted: dict[str, str] = {}
    for name, value in query.items():
        if name == "level":
            wanted[PREFIX] = value
        elif name == "paths":
            for pair in value.split(","):
                logger, _, level = pair.partition(":")
                wanted[logger] = level
        else:
            wanted[name] = value
    for name, level in wanted.items():
        if level not in LEVELS:
            raise LevelError(f"{level!r} is no level; there are {', '.join(LEVELS)}")
        if name != PREFIX and name not in loggers():
            raise LevelError(f"{name!r} is no logger; there are {', '.join(loggers())}")
    return wanted


def set_levels(wanted: Mapping[str, str]) -> None:
    """Sets levels in this process. The level of all is what each then has."""
    if PREFIX in wanted:
        for name in loggers():
            logging.getLogger(name).setLevel(logging.NOTSET)
    for name, level in wanted.items():
        logging.getLogger(name).setLevel(LEVELS[level])


def as_text() -> str:
    """Envoy's list of the levels."""
    return "active loggers:\n" + "".join(f"  {name}: {level_of(name)}\n" for name in loggers())
