"""``weft verify``."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import msgspec

from compiler.publish import require_content, require_release
from snapshot.store import StoreError
from snapshot.stores import open_store
from snapshot.trust.chain import Chain
from snapshot.trust.failure import Untrusted
from snapshot.trust.layout import ROLES
from snapshot.trust.publisher import read_published
from snapshot.trust.release import Release
from weft.help_text import ending
from weft.store_options import SCHEMA_VERSION, reading, root_option

ENDING = ending(
    "weft verify --store local/store --root keys/root.json",
    exits={
        0: "authentic, complete and fresh",
        1: "authentic, but a signature has expired",
        2: "not authentic, or it cannot be read",
    },
)


@click.command(epilog=ENDING)
@reading
@root_option
def command(store: str, store_ca: str, channel: str, output: str, root: bytes) -> int:
    """Verify a store against its root of trust: signatures, digests, and that the content is complete."""
    try:
        opened = open_store(store, ca=store_ca)
        published = read_published(opened, root, channel)
        release = require_release(published, channel)
        require_content(opened, release.snapshot)
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    except Untrusted as error:
        raise click.ClickException(f"not authentic ({error.reason}): {error}") from None
    now = datetime.now(UTC)
    assert published is not None, "it has a release"
    _print(published.chain, release, output, now=now)
    return 0 if now < published.chain.fresh_until else 1


def _print(chain: Chain, release: Release, output: str, *, now: datetime) -> None:
    expires = {role: chain.expires[role] for role in ROLES}
    fresh = now < chain.fresh_until
    if output == "json":
        document = {"schemaVersion": SCHEMA_VERSION, "fresh": fresh, "release": release, "expires": expires}
        click.echo(msgspec.json.encode(document).decode())
        return
    click.echo(f"version   {release.version} on {release.channel}")
    if release.break_glass:
        click.echo(f"BREAK GLASS  {release.break_glass}")
    click.echo(f"commit    {release.commit}")
    click.echo(f"snapshot  {release.snapshot}")
    for role, until in expires.items():
        state = f"until {until:%Y-%m-%d %H:%M:%SZ}" if now < until else f"EXPIRED at {until:%Y-%m-%d %H:%M:%SZ}"
        click.echo(f"{role:<9} signed {state}")
