"""What the audience sees: on a terminal a live view of proxies, load and story; elsewhere plain lines, one per event."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from weft.demo.load import Report
from weft.demo.plan import PROXIES
from weft.local.views import ProxyView


class Screen(Protocol):
    """Where the story is told."""

    def title(self, text: str) -> None:
        """A step of the story begins."""

    def say(self, text: str) -> None:
        """Something happened."""

    def quote(self, text: str) -> None:
        """What a command printed, as it stands."""

    def show(self, report: Report | None, views: dict[str, ProxyView | None]) -> None:
        """The latest counts and what the proxies run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PlainScreen:
    """Lines on standard output, each with the seconds since the start."""

    def __init__(self, write: Callable[[str], object], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._begin = clock()

    def title(self, text: str) -> None:
        """A step of the story begins."""
        self._write(f"\n{self._clock() - self._begin:5.1f} s  {text}")

    def say(self, text: str) -> None:
        """Something happened."""
        self._write(f"{self._clock() - self._begin:5.1f} s    {text}")

    def quote(self, text: str) -> None:
        """What a command printed, as it stands."""
        for line in text.rstrip().splitlines():
            self._write(f"           | {line}")

    def show(self, report: Report | None, views: dict[str, ProxyView | None]) -> None:
        """Nothing: the story's own lines give the counts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to undo."""


class LiveScreen:
    """A live view. Told steps scroll away above it and stay readable; the tables are always at the bottom."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begin = clock()
        self._report: Report | None = None
        self._views: dict[str, ProxyView | None] = {}
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, transient=True)

    def title(self, text: str) -> None:
        """A step of the story begins."""
        self._console.print(Rule(Text(text, style="bold cyan"), align="left", style="cyan"))

    def say(self, text: str) -> None:
        """Something happened."""
        line = Text(f"{self._clock() - self._begin:5.1f} s  ", style="dim")
        self._console.print(line.append(text, style="default not dim"), soft_wrap=True)

    def quote(self, text: str) -> None:
        """What a command printed, as it stands."""
        self._console.print(Panel(Text(text.rstrip()), border_style="dim"))

    def show(self, report: Report | None, views: dict[str, ProxyView | None]) -> None:
        """The latest counts and what the proxies run."""
        self._report, self._views = report, views

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the terminal as it was."""
        self._live.stop()

    def _render(self) -> RenderableType:
        if not self._views:
            return Text("starting ...", style="dim")
        return Group(proxy_table(self._views), load_line(self._report))


def proxy_table(views: dict[str, ProxyView | None]) -> Table:
    """Each proxy with its address, what it runs, and what went wrong last."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("PROXY", "ADDRESS", "VERSION", "SNAPSHOT", "COMMIT", ""):
        table.add_column(heading, no_wrap=True)
    for proxy in PROXIES:
        view = views.get(proxy.name)
        if view is None or view.running is None:
            table.add_row(proxy.name, proxy.address, "-", "-", "-", Text("not running", style="red"))
            continue
        problem = view.refused or view.problem
        state = (
            Text(f"{problem.reason}: refused, still serving", style="yellow")
            if problem
            else Text("serving", style="green")
        )
        running = view.running
        table.add_row(proxy.name, proxy.address, str(running.version), running.digest[:12], running.commit[:7], state)
    return table


def load_line(report: Report | None) -> Text:
    """The load in one line."""
    if report is None:
        return Text("no load yet", style="dim")
    line = Text(f"\nload: {report.sent:,} requests, ")
    line.append(f"{report.failed} failed", style="bold green" if report.failed == 0 else "bold red")
    shares = share_text(report.reviews)
    return line.append(f", p50 {report.p50_ms:.1f} ms, p99 {report.p99_ms:.1f} ms; pages with reviews {shares or '-'}")


def share_text(counts: dict[str, int]) -> str:
    """``v1 79 %, v2 21 %`` from counts."""
    total = sum(counts.values())
    return ", ".join(f"{name} {100 * count / total:.0f} %" for name, count in counts.items() if count) if total else ""
