"""``weft keys``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from snapshot.store import Conflict, StoreError
from snapshot.stores import open_store
from snapshot.trust.failure import Untrusted
from snapshot.trust.keys import KeyProblem, create_keys
from snapshot.trust.layout import ROLES, TIMESTAMP
from snapshot.trust.rotation import rotate as rotate_key
from snapshot.trust.rotation import rotation_steps
from weft.help_text import ending
from weft.store_options import store_options, token_option

_AFTER = {
    "root": "Give root.json to whatever is set up from now on; proxies that pin an older root follow by themselves.",
    "targets": "Give CI the new targets.pem and root.json: until then `weft publish` refuses its old key.",
    "snapshot": "Give CI and the control plane the new snapshot.pem and root.json, and restart `weft control`.",
    "timestamp": "Give CI and the control plane the new timestamp.pem and root.json, and restart `weft control`.",
}


@click.group()
def command() -> None:
    """Make and change signing keys and the root of trust."""


@command.command(
    short_help="Make the keys and the root of trust in a new folder.",
    epilog=ending("weft keys init keys", "weft keys init keys --break-glass"),
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--break-glass",
    is_flag=True,
    help="Make break-glass.pem too: it may publish when CI is gone, loudly. Keep it apart.",
)
def init(folder: Path, break_glass: bool) -> None:
    """Make a key per role in DIR, and root.json, which lists them: the root of trust that proxies pin.

    Nothing is ever overwritten. Prints the path of root.json.
    """
    try:
        create_keys(folder, now=datetime.now(UTC), break_glass=break_glass)
    except KeyProblem as error:
        raise click.ClickException(str(error)) from None
    click.echo(folder / "root.json")
    emergency = ""
    if break_glass:
        emergency = (
            f"\n  - Take {folder / 'break-glass.pem'} to a safe of its own: whoever has it can publish without CI."
        )
    click.echo(
        f"""Next:
  - Take {folder / "root.pem"} off this machine, to a disk that is offline: it is needed only to change keys.
  - Give CI targets.pem, snapshot.pem, timestamp.pem and root.json: weft publish --store STORE --keys DIR
  - Give the control plane snapshot.pem, timestamp.pem and root.json: weft control --online-keys DIR
  - Give every proxy root.json: `root` in its bootstrap file. It is public.{emergency}""",
        err=True,
    )


@command.command(
    short_help="Change the key of one role while proxies go on reading.",
    epilog=ending(
        "weft keys rotate targets --keys keys --store local/store --dry-run",
        "weft keys rotate targets --keys keys --store local/store",
        exits={1: "interrupted: another publisher came first; run it again"},
    ),
)
@click.argument("role", type=click.Choice(ROLES))
@click.option(
    "--keys",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The directory that `weft keys init` made, with root.pem brought back to it.",
)
@store_options
@token_option
@click.option("--dry-run", is_flag=True, help="Print the steps and do nothing.")
def rotate(role: str, folder: Path, store: str, store_ca: str, token: str, dry_run: bool) -> int:
    """Change the key of ROLE, in the store and in DIR, while proxies go on reading.

    Works also where signatures have expired or the role's old key is lost. Whatever interrupts it, running it again finishes it. Prints the
    path of the new root.json.
    """
    if dry_run:
        for number, step in enumerate(rotation_steps(folder, role), 1):
            click.echo(f"{number}. {step}")
        return 0
    try:
        opened = open_store(store, ca=store_ca, token=token)
        try:
            if not opened.contains(TIMESTAMP):
                advice = "look at --store; before the first publication make new keys instead (`weft keys init`)"
                raise click.ClickException(f"nothing is published at {store}, and nothing was changed: {advice}")
            rotate_key(opened, folder, role, now=datetime.now(UTC), tell=lambda step: click.echo(step, err=True))
        finally:
            opened.close()
    except Conflict as error:
        click.echo(f"interrupted: another publisher came first; run again to go on. ({error})", err=True)
        return 1
    except (KeyProblem, StoreError, Untrusted) as error:
        raise click.ClickException(str(error)) from None
    click.echo(folder / "root.json")
    click.echo(f"Next:\n  - {_AFTER[role]}\n  - Take {folder / 'root.pem'} off this machine again.", err=True)
    return 0
