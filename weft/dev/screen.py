"""What the developer sees: on a terminal tables that stay, with the mistake below them; elsewhere plain lines, one per event."""

from __future__ import annotations

import os
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from weft.dev.board import Board, Row

REFRESH_S = 0.25
LOG_BYTES = 8_192
LOG_LINES = 12
WIDE = 100
"""Columns of a terminal from which on the tables have all of theirs."""
_NUMBERS = ("VERSION", "REQ/S", "5XX/S")
HELP = "l: the next log   q or Ctrl-C: end"

Logs = Callable[[], dict[str, Path]]


class Screen(Protocol):
    """Where a session tells what happens."""

    def say(self, text: str) -> None:
        """Something happened."""

    def quote(self, text: str) -> None:
        """Findings, as they stand."""

    async def run(self, board: Board, logs: Logs) -> None:
        """Shows the board until cancelled; returns early where the user wants to end."""


class PlainScreen:
    """Lines on standard output, each with the time. ``followed`` are the processes whose output is shown too; ``all`` is every one."""

    def __init__(self, write: Callable[[str], object], *, followed: frozenset[str] = frozenset()) -> None:
        self._write = write
        self._followed = followed

    def say(self, text: str) -> None:
        """Something happened."""
        self._write(f"{time.strftime('%H:%M:%S')} {text}")

    def quote(self, text: str) -> None:
        """Findings, as they stand."""
        for line in text.rstrip().splitlines():
            self._write(f"         | {line}")

    async def run(self, board: Board, logs: Logs) -> None:  # noqa: ARG002  one signature for all screens
        """Shows the followed logs until cancelled."""
        read: dict[str, int] = {}
        while True:
            for name, path in logs().items():
                if name in self._followed or "all" in self._followed:
                    read[name] = self._follow(name, path, read.get(name, 0))
            await trio.sleep(REFRESH_S)

    def _follow(self, name: str, path: Path, begin: int) -> int:
        """Writes the whole lines since ``begin``; returns where they end."""
        if not path.exists():
            return begin
        with path.open("rb") as file:
            file.seek(begin)
            *lines, _ = file.read().split(b"\n")
        for line in lines:
            self._write(f"{name} | {_printable(line)}")
        return begin + sum(len(line) + 1 for line in lines)


class LiveScreen:
    """Tables on a terminal. What was said scrolls away above them; the mistake and the chosen log stay below."""

    def __init__(self, console: Console, end: Callable[[], object]) -> None:
        self._console = console
        self._end = end
        self._log = ""

    def say(self, text: str) -> None:
        """Something happened."""
        line = Text(f"{time.strftime('%H:%M:%S')} ", style="dim")
        self._console.print(line.append(text, style="default not dim"), soft_wrap=True)

    def quote(self, text: str) -> None:
        """Nothing: mistakes stand on the board until they are mended."""

    async def run(self, board: Board, logs: Logs) -> None:
        """Draws until cancelled, and obeys the keys."""
        live = Live(console=self._console, auto_refresh=False, transient=True)
        with _keys() as descriptor, live:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, descriptor, logs)
                while True:
                    live.update(Group(*self._parts(board, logs())), refresh=True)
                    await trio.sleep(REFRESH_S)

    async def _obey(self, descriptor: int | None, logs: Logs) -> None:
        while descriptor is not None:
            await trio.lowlevel.wait_readable(descriptor)
            key = os.read(descriptor, 1)
            if key in {b"q", b""}:
                self._end()
                return
            if key == b"l":
                self._log = _next(["", *logs()], self._log)

    def _parts(self, board: Board, logs: dict[str, Path]) -> Iterator[RenderableType]:
        narrow = self._console.width < WIDE
        if board.rows:
            yield proxy_table(board, narrow=narrow)
        if board.flows:
            yield Text()
            yield flow_table(board, narrow=narrow)
        yield Text(f"\n{board.change}", style="red" if board.mistakes else "bold")
        if board.mistakes:
            yield Panel(Text(board.mistakes.rstrip()), border_style="red", title="not live")
        if self._log in logs:
            yield Panel(Text(_tail(logs[self._log])), border_style="dim", title=self._log)
        yield Text(HELP, style="dim")


def proxy_table(board: Board, *, narrow: bool = False) -> Table:
    """Each workload and gateway: where it is, what it serves, how much it is asked, and what is wrong. ``narrow`` fits 80 columns."""
    table = _table(narrow=narrow)
    table.add_column("WORKLOAD", overflow="fold")
    for heading in ("ADDRESS", "VERSION", "REQ/S", "5XX/S") if narrow else ("KIND", "ADDRESS", "HOSTS", *_NUMBERS):
        table.add_column(heading, no_wrap=True)
    table.add_column("STATE", overflow="fold")
    for row in board.rows.values():
        version = str(row.view.running.version) if row.view and row.view.running else "-"
        numbers = version, f"{row.rate_per_s:.1f}", f"{row.failed_per_s:.1f}"
        where = (row.addresses,) if narrow else (row.kind, row.addresses, str(row.hosts))
        table.add_row(row.name, *where, *numbers, state_of(row))
    return table


def flow_table(board: Board, *, narrow: bool = False) -> Table:
    """Who calls whom, and which version answers."""
    table = _table(narrow=narrow)
    for heading in ("FROM", "TO"):
        table.add_column(heading, overflow="fold")
    for heading in _NUMBERS:
        table.add_column(heading, no_wrap=True)
    for (source, service, version), flow in sorted(board.flows.items()):
        table.add_row(source, service, version, f"{flow.rate_per_s:.1f}", f"{flow.failed_per_s:.1f}")
    return table


def _table(*, narrow: bool) -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1 if narrow else 3, 0, 0), header_style="bold")


def state_of(row: Row) -> Text:
    """One word for a row, and its colour."""
    if row.problem:
        return Text(row.problem, style="red")
    if row.view is None or row.view.running is None:
        return Text("starting", style="yellow")
    if row.view.refused is not None:
        return Text(f"refused: {row.view.refused.reason}", style="yellow")
    return Text("serving", style="green")


def _next(names: list[str], now: str) -> str:
    return names[(names.index(now) + 1) % len(names)] if now in names else ""


def _tail(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return "\n".join(_printable(line) for line in file.read().splitlines()[-LOG_LINES:])


def _printable(line: bytes) -> str:
    """A line without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in line.decode(errors="replace"))


@contextmanager
def _keys() -> Iterator[int | None]:
    """The terminal's descriptor, giving single keys without showing them; None where standard input is none. Left as it was."""
    if not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
