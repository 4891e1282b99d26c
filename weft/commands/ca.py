"""``weft ca``: join tokens, the trust bundle and the record of issued certificates."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from runtime.control import state as states
from runtime.control.keyfiles import StateError
from runtime.control.ledger import LedgerError
from weft.help_text import ending

STATE = click.option(
    "--state",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The control plane's state folder.",
)


@click.group()
def command() -> None:
    """Join tokens and certificates of the certificate authority. Works beside a running control plane, on its state folder."""


@command.command(
    epilog=ending(
        "umask 077",
        "weft ca token --state state --identity shop/cart > join-token",
        "weft ca token --state state --identity shop/cart --uses 20 --ttl 86400",
    )
)
@STATE
@click.option("--identity", metavar="WHO", required=True, help="Who the token lets in: NAMESPACE/SERVICEACCOUNT.")
@click.option(
    "--ttl",
    metavar="SECONDS",
    type=click.FloatRange(min=1.0),
    default=3600.0,
    show_default=True,
    help="Seconds until the token expires.",
)
@click.option(
    "--uses",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many proxies may join with it.",
)
def token(state: Path, identity: str, ttl: float, uses: int) -> None:
    """Make a join token and print it, alone, on standard output. It cannot be printed again."""
    now = time.time()
    with _opened(state, now) as opened:
        try:
            spiffe_id = states.workload_identity(opened.trust_domain, identity)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        try:
            made = opened.ledger.create_token(spiffe_id, now=now, ttl_s=ttl, uses=uses)
        except LedgerError as error:
            raise click.ClickException(str(error)) from None
    click.echo(made)
    click.echo(f"for {spiffe_id}, {uses} use(s), until {_time(now + ttl)}", err=True)


@command.command(epilog=ending("weft ca bundle --state state > control-ca.pem"))
@STATE
def bundle(state: Path) -> None:
    """Print the trust bundle (PEM): what a proxy's control_ca names."""
    with _opened(state, time.time()) as opened:
        click.echo(opened.authority.bundle.decode(), nl=False)


@command.command(name="list", epilog=ending("weft ca list --state state"))
@STATE
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the list is printed.",
)
def list_issued(state: Path, output: str) -> None:
    """List the certificates that were issued, newest first."""
    now = time.time()
    with _opened(state, now) as opened:
        rows = opened.ledger.issued()
    if output == "json":
        page = {"schemaVersion": 1, "certificates": rows}
        click.echo(msgspec.json.format(msgspec.json.encode(page)).decode())
        return
    click.echo(f"{'ISSUED':<21}{'EXPIRES':<21}{'BY':<9}{'SERIAL':<14}IDENTITY")
    for row in rows:
        ends = _time(row.expires_at) if row.expires_at > now else "expired"
        click.echo(f"{_time(row.issued_at):<21}{ends:<21}{row.by:<9}{row.serial[:12]:<14}{row.identity}")


@contextmanager
def _opened(folder: Path, now: float) -> Iterator[states.State]:
    try:
        opened = states.open_existing(folder, now=now)
    except StateError as error:
        raise click.ClickException(str(error)) from None
    try:
        yield opened
    finally:
        opened.ledger.close()


def _time(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%SZ}"
