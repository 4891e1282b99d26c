"""``weft rollback``."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from compiler.publish import roll_back
from snapshot.store import Conflict, StoreError
from snapshot.stores import open_store
from snapshot.trust.failure import Untrusted
from snapshot.trust.keys import KeyProblem, load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from weft.help_text import ending
from weft.store_options import print_release, publishing

ENDING = ending(
    'weft rollback --store local/store --keys keys --note "v2 loses carts"',
    "weft rollback --store local/store --keys keys --to 41",
    exits={0: "published", 1: "refused: another publisher came first"},
)


@click.command(epilog=ENDING)
@publishing
@click.option(
    "--to",
    "version",
    metavar="N",
    type=click.IntRange(min=1),
    help="The version to bring back; without it, the one before the current.",
)
def command(
    store: str, keys: Path, store_ca: str, token: str, channel: str, note: str, output: str, version: int | None
) -> int:
    """Publish an earlier release's content again, as a new version.

    Run twice, it undoes itself: the release before a rollback is the one that was rolled back.
    """
    try:
        signing = load_keys(keys, PUBLISHER_ROLES)
        with closing(open_store(store, ca=store_ca, token=token)) as opened:
            release = roll_back(opened, signing, channel=channel, version=version, note=note, now=datetime.now(UTC))
    except Conflict as error:
        click.echo(
            f"refused: another publisher came first; look at what it published, then run again. ({error})", err=True
        )
        return 1
    except (KeyProblem, StoreError, Untrusted) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"brought back the content of version {release.restored} (commit {release.commit[:12]})", err=True)
    print_release(release, output)
    return 0
