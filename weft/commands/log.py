"""``weft log``: what was published on a channel, when, from which commit, signed by which key, and where it runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice

import click
import msgspec
import trio

from compiler.publish import require_release
from runtime.control.interface import ProxyStatus
from runtime.discovery.control import ControlError
from snapshot.store import StoreError
from snapshot.stores import open_store
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.history import Entry, SigningKey, history
from snapshot.trust.publisher import read_published
from weft.commands.status import from_admins, from_control
from weft.help_text import ending
from weft.store_options import SCHEMA_VERSION, asking, reading, root_option, token_option

_SHOWN_DIGITS = 12

Running = dict[int, list[str]]
"""Version -> the proxies that run it."""


ENDING = ending(
    "weft log --store local/store --root keys/root.json",
    "weft log --store local/store --root keys/root.json -n 1 -o json",
    exits={
        1: "the history ends early: older versions were removed",
        2: "not authentic, nothing published, or it cannot be read",
    },
)


@click.command(epilog=ENDING)
@reading
@token_option
@root_option
@click.option(
    "-n",
    "--limit",
    metavar="N",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How many releases, newest first.",
)
@asking
def command(
    store: str,
    store_ca: str,
    token: str,
    channel: str,
    output: str,
    root: bytes,
    limit: int,
    control: str | None,
    ca: str,
    admins: tuple[str, ...],
) -> int:
    """Show the releases of a channel, newest first: when, from which commit, signed by which key, and where each runs.

    All of it but where it runs is read from signed metadata. Where it runs is asked of the control plane (--control), or of single
    proxies (--admin).
    """
    if control and admins:
        raise click.UsageError("name either the control plane (--control URL --ca FILE) or proxies (--admin ADDR:PORT)")
    entries, gap = _read(store, store_ca, token, root, channel, limit)
    try:
        proxies = trio.run(_proxies, control, ca, admins) if control or admins else None
    except ControlError as error:
        raise click.ClickException(str(error)) from None
    running = _running(proxies, channel)
    if output == "json":
        document = {"schemaVersion": SCHEMA_VERSION, "channel": channel, "complete": gap is None}
        click.echo(msgspec.json.encode({**document, "releases": [_document(one, running) for one in entries]}).decode())
    else:
        click.echo("\n\n".join(_text(one, running) for one in entries))
    return _told_gap(gap)


def _told_gap(gap: Untrusted | None) -> int:
    """Says why there are no older releases where there should be; the exit code."""
    if gap is None:
        return 0
    if gap.reason is Reason.MISSING:
        click.echo(f"older releases are not in the store any more: {gap}", err=True)
        return 1
    click.echo(f"what is older is not authentic by this root ({gap.reason}): {gap}", err=True)
    click.echo("where the root key was changed since, a root.json from before that may show it", err=True)
    return 2


def _read(
    store: str, ca: str, token: str, root: bytes, channel: str, limit: int
) -> tuple[list[Entry], Untrusted | None]:
    """The newest entries, and why there are no older ones where there should be."""
    entries: list[Entry] = []
    try:
        opened = open_store(store, ca=ca, token=token)
        try:
            published = read_published(opened, root, channel)
            require_release(published, channel)
            assert published is not None, "it has a release"
            # One by one, so that what was read before a gap is shown.
            for entry in islice(history(opened, published, channel), limit):
                entries.append(entry)  # noqa: PERF402
        finally:
            opened.close()
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    except Untrusted as error:
        if entries:
            return entries, error
        raise click.ClickException(f"not authentic ({error.reason}): {error}") from None
    return entries, None


async def _proxies(control: str | None, ca: str, admins: tuple[str, ...]) -> tuple[ProxyStatus, ...]:
    report = await (from_control(control, ca) if control else from_admins(admins))
    return report.proxies


def _running(proxies: Iterable[ProxyStatus] | None, channel: str) -> Running | None:
    """Which proxies run which version, None where nobody was asked."""
    if proxies is None:
        return None
    running: Running = defaultdict(list)
    for proxy in proxies:
        if proxy.channel == channel:
            running[proxy.version].append(proxy.proxy)
    return running


def _document(entry: Entry, running: Running | None) -> dict[str, object]:
    release = {field: getattr(entry.release, field) for field in entry.release.__struct_fields__}
    keys = [msgspec.structs.asdict(key) for key in entry.keys]
    where = {} if running is None else {"running": sorted(running.get(entry.release.version, []))}
    return {**release, "keys": keys, **where}


def _text(entry: Entry, running: Running | None) -> str:
    release = entry.release
    when = datetime.fromtimestamp(release.time, UTC)
    lines = [f"version {release.version}  {when:%Y-%m-%d %H:%M:%SZ}"]
    if release.break_glass or any(key.break_glass for key in entry.keys):
        lines.append(f"    BREAK GLASS  {release.break_glass or 'no reason given'}")
    lines += [
        f"    commit    {release.commit}",
        f"    snapshot  {release.snapshot}",
        f"    signed    {', '.join(_key(key) for key in entry.keys)}",
    ]
    if release.restored:
        lines.append(f"    rollback  to the content of version {release.restored}")
    if release.forced:
        lines.append("    forced    did not have to descend from the release before")
    if release.note:
        lines.append(f"    note      {release.note}")
    if running is not None:
        lines.append(f"    running   {', '.join(sorted(running.get(release.version, []))) or 'nowhere'}")
    return "\n".join(lines)


def _key(key: SigningKey) -> str:
    said = [word for word, holds in (("break-glass", key.break_glass), ("revoked since", key.revoked)) if holds]
    return f"key {key.keyid[:_SHOWN_DIGITS]}" + (f" ({', '.join(said)})" if said else "")
