"""``weft status``: which snapshot each proxy runs, and ``--wait`` until all run the newest."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

import click
import httpx
import msgspec
import trio

from runtime.control.interface import ProxyStatus, StatusReport
from runtime.discovery.control import ControlClient, ControlError
from weft.help_text import ending
from weft.status_table import is_counted, is_current, print_report
from weft.store_options import asking

SCHEMA_VERSION = 1
POLL_S = 0.2

Read = Callable[[], Awaitable[StatusReport]]


ENDING = ending(
    "weft status --control https://127.0.0.1:15012 --ca control-ca.pem",
    "weft status --control https://127.0.0.1:15012 --ca control-ca.pem --wait",
    "weft status --admin 127.0.0.1:15000",
    exits={1: "with --wait: a proxy was not up to date in time"},
)


@click.command(epilog=ENDING)
@asking
@click.option("--wait", is_flag=True, help="Wait until every proxy runs the newest release.")
@click.option(
    "--release", metavar="N", type=click.IntRange(1), help="With --wait: until every proxy runs at least this release."
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="With --wait: give up after this long.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How the result is printed.",
)
def command(
    control: str | None,
    ca: str,
    admins: tuple[str, ...],
    wait: bool,
    release: int | None,
    timeout: float,
    output: str,
) -> int:
    """Show which snapshot each proxy runs, and the last error of each.

    A proxy is current, behind, expired (what it runs is no longer signed), lost (it has said nothing for 15 seconds), or it names why
    it refused what is published. With --wait this comes back when every proxy that is not lost runs the newest release.
    """
    if bool(control) == bool(admins):
        raise click.UsageError("name either the control plane (--control URL --ca FILE) or proxies (--admin ADDR:PORT)")
    if admins and wait and release is None:
        raise click.UsageError("with --admin nobody knows what is newest: say --release N")
    read = partial(from_control, control, ca) if control else partial(from_admins, admins)
    try:
        report, done = trio.run(_watch, read, wait, release, timeout)
    except ControlError as error:
        advice = "; is the address right, and the process running?" if error.reason == "unreachable" else ""
        raise click.ClickException(f"{error}{advice}") from None
    _print(report, output)
    if wait and not done:
        behind = [one.proxy for one in _counted(report) if not is_current(report, one, release)]
        click.echo(f"after {timeout:g} s not up to date: {', '.join(behind) or 'no proxy has reported'}", err=True)
        return 1
    return 0


async def _watch(read: Read, wait: bool, release: int | None, limit_s: float) -> tuple[StatusReport, bool]:
    """The last report, and whether all proxies were up to date in it. A control plane that is away is waited for too."""
    deadline = trio.current_time() + limit_s
    while True:
        try:
            report = await read()
        except ControlError:
            if not wait or trio.current_time() >= deadline:
                raise
        else:
            counted = _counted(report)
            done = bool(counted) and all(is_current(report, one, release) for one in counted)
            if done or not wait or trio.current_time() >= deadline:
                return report, done
        await trio.sleep(POLL_S)


async def from_control(url: str, ca: str) -> StatusReport:
    """What the control plane knows of all proxies; raises ControlError."""
    client = ControlClient(url, ca)
    try:
        return await client.read_status()
    finally:
        await client.close()


async def from_admins(admins: tuple[str, ...]) -> StatusReport:
    """What these proxies say of themselves, one after the other; raises ControlError where one does not answer."""
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
        proxies = [await _from_admin(client, address) for address in admins]
    return StatusReport(version=0, published={}, proxies=tuple(proxies))


async def _from_admin(client: httpx.AsyncClient, address: str) -> ProxyStatus:
    try:
        page = (await client.get(f"http://{address}/snapshot")).json()
    except (httpx.HTTPError, ValueError) as error:
        raise ControlError("unreachable", f"{address}: {error or type(error).__name__}") from None
    running = page["running"] or {}
    problem = page["refused"] or page["problem"] or {}
    return ProxyStatus(
        proxy=running.get("slice", "") or address,
        address=address,
        channel=running.get("channel", ""),
        version=running.get("version", 0),
        snapshot=running.get("digest", ""),
        commit=running.get("commit", ""),
        break_glass=running.get("break_glass", ""),
        fresh=running.get("fresh", False),
        swapped_at=running.get("since_s", 0.0),
        error=problem.get("message", ""),
        error_reason=problem.get("reason", ""),
        seen_at=time.time(),
    )


def _counted(report: StatusReport) -> list[ProxyStatus]:
    now = time.time()
    return [one for one in report.proxies if is_counted(one, now)]


def _print(report: StatusReport, output: str) -> None:
    if output == "json":
        body = {"schemaVersion": SCHEMA_VERSION, **msgspec.to_builtins(report)}
        click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2))
        return
    print_report(report)
