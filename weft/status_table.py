"""What runs where, as a table that fits a terminal of 80 columns; errors are sentences below it and are never cut."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.control.interface import ProxyStatus, StatusReport

WIDE = 240
LOST_S = 15.0
"""A proxy that has said nothing for this long (it reports every 5 s) is shown as lost and is not waited for."""

_COLOURS = {"current": "green", "behind": "yellow", "lost": "dim"}


def print_report(report: StatusReport) -> None:
    """Writes what is published, a row per proxy, and the last error of each, to standard output."""
    for version, reason in sorted({(one.version, one.break_glass) for one in report.proxies if one.break_glass}):
        click.secho(
            f"BREAK GLASS: version {version} was published with the key for emergencies: {reason}", fg="red", bold=True
        )
    for line in _published(report):
        click.echo(line)
    if not report.proxies:
        click.echo("no proxy has reported; one that joins (`weft proxy`, control in its bootstrap) is here in seconds")
        return
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        # A pipe has no width of its own; cutting a digest there would only break what reads it.
        console = Console(file=sys.stdout, width=WIDE)
    now = time.time()
    console.print(_table(report, now))
    for one in report.proxies:
        if one.error:
            console.print(Text(f"{one.proxy}: {one.error}", style="red"), soft_wrap=True)


def is_counted(proxy: ProxyStatus, now: float) -> bool:
    """Whether a proxy is still there, so that it is waited for."""
    return now - proxy.seen_at <= LOST_S


def is_current(report: StatusReport, proxy: ProxyStatus, release: int | None) -> bool:
    """Whether a proxy runs at least ``release``, or the newest of its channel where that is None."""
    return proxy.version >= (release or report.published.get(proxy.channel, 0)) and proxy.version > 0


def _published(report: StatusReport) -> Iterator[str]:
    for channel, version in sorted(report.published.items()):
        yield f"published on {channel}: version {version}"
    # Single proxies, whose report has no version, do not know what is published.
    if not report.published and (report.version or not report.proxies):
        yield "nothing is published yet: `weft publish` to the store that this control plane serves"


def _table(report: StatusReport, now: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("PROXY", overflow="fold")
    for name in ("VERSION", "SNAPSHOT", "COMMIT", "SINCE", "STATE"):
        table.add_column(name, no_wrap=True)
    for one in report.proxies:
        state = _state(report, one, now)
        table.add_row(
            one.proxy,
            str(one.version or "-"),
            one.snapshot[:12] or "-",
            one.commit[:7] or "-",
            _ago(now, one.swapped_at),
            Text(state, style=_COLOURS.get(state, "red")),
        )
    return table


def _state(report: StatusReport, proxy: ProxyStatus, now: float) -> str:
    if not is_counted(proxy, now):
        return "lost"
    if proxy.error_reason:
        return proxy.error_reason
    if not proxy.fresh:
        return "expired"
    return "current" if is_current(report, proxy, None) else "behind"


def _ago(now: float, then: float) -> str:
    seconds = int(now - then)
    if not then:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"
