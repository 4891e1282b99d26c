"""``weft keys``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from snapshot.trust.keys import KeyProblem, create_keys


@click.group()
def command() -> None:
    """Make signing keys and the root of trust."""


@command.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Make a key per role in DIR, and root.json, which lists them: the root of trust that proxies pin.

    Nothing is ever overwritten. Prints the path of root.json.
    """
    try:
        create_keys(folder, now=datetime.now(UTC))
    except KeyProblem as error:
        raise click.ClickException(str(error)) from None
    click.echo(folder / "root.json")
    click.echo(
        f"""Next:
  - Take {folder / "root.pem"} off this machine, to a disk that is offline: it is needed only to change keys.
  - Give CI targets.pem, snapshot.pem, timestamp.pem and root.json: weft publish --store STORE --keys DIR
  - Give the control plane snapshot.pem, timestamp.pem and root.json: weft control --online-keys DIR
  - Give every proxy root.json: `root` in its bootstrap file. It is public.""",
        err=True,
    )
