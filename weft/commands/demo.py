"""``weft demo``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import trio
from rich.console import Console

from weft.demo.demonstration import Told, addresses, demonstrate, stop, summary
from weft.demo.screen import LiveScreen, PlainScreen, Screen
from weft.help_text import ending
from weft.local.children import LocalError
from weft.sentences import one_sentence


@click.command(
    epilog=ending("weft demo", "weft demo --keep", "weft demo --stop", exits={2: "a step of the story failed"})
)
@click.option("--keep", is_flag=True, help="Leave it running at the end and print the addresses.")
@click.option("--stop", "stopping", is_flag=True, help="End what an earlier --keep left running.")
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default="build/demo",
    show_default=True,
    help="Where repository, keys, store and logs go; emptied at the start.",
)
def command(keep: bool, stopping: bool, folder: Path) -> int:
    """Run the bookshop demonstration on this machine: a mesh, a steady load, and eight things that happen to it."""
    if stopping:
        click.echo(f"ended {stop(folder)} processes")
        return 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot write to {folder}: {error.strerror}; give another --folder") from None
    console = Console()
    screen: Screen = LiveScreen(console) if console.is_terminal else PlainScreen(click.echo)
    with one_sentence(LocalError, after=f"\nThe logs are in {folder / 'logs'}"), screen:
        told: Told = trio.run(partial(demonstrate, folder.resolve(), screen, keep=keep))
    click.echo("\n".join(summary(told)))
    if keep:
        click.echo("\nStill running; weft demo --stop ends it. For example:")
        click.echo("\n".join(f"  {line}" for line in addresses()))
    return 0
