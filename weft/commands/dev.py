"""``weft dev``."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click
import trio
from rich.console import Console

from weft.dev.devfile import DevFile, load
from weft.dev.folder import session_folder
from weft.dev.screen import LiveScreen, PlainScreen, Screen
from weft.dev.session import Session
from weft.help_text import ending
from weft.local.children import LocalError
from weft.sentences import one_sentence

FIRST_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


ENDING = ending(
    "weft dev",
    "weft dev examples/bookshop",
    "weft dev --plain --logs all",
    exits={0: "ended by `q`, Ctrl-C or SIGTERM"},
)


@click.command(epilog=ENDING)
@click.argument("home", default=".", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--logs",
    "followed",
    multiple=True,
    metavar="NAME",
    help="Show what a process writes (plain output); all for every one.",
)
@click.option("--plain", is_flag=True, help="Plain lines, also on a terminal.")
def command(home: Path, followed: tuple[str, ...], plain: bool) -> None:
    """Run the mesh of a work tree on this machine, and compile it again at every save.

    DIR holds weft-dev.toml, which names the processes to start; each gets a sidecar, and every gateway of the mesh runs too, with keys and
    certificates that are thrown away. Ctrl-C ends everything and leaves nothing behind.
    """
    console = Console()
    with one_sentence(LocalError):
        file = load(home)
        _require_named(followed, [*file.process])
        with session_folder() as folder:
            ended = trio.Event()
            live = console.is_terminal and not plain and not followed
            screen: Screen = (
                LiveScreen(console, ended.set) if live else PlainScreen(_line, followed=frozenset(followed))
            )
            trio.run(_until_ended, file, home.resolve(), folder, screen, ended)


def _require_named(followed: tuple[str, ...], names: list[str]) -> None:
    unknown = [name for name in followed if name not in ("all", *names)]
    if unknown:
        raise click.UsageError(f"weft-dev.toml names no process {unknown[0]!r}: --logs takes {', '.join(names)} or all")


async def _until_ended(file: DevFile, home: Path, folder: Path, screen: Screen, ended: trio.Event) -> None:
    session = Session(file, home, folder, screen, first_port=_first_port())
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:

            async def on_signal() -> None:
                async for _ in signals:
                    ended.set()

            nursery.start_soon(session.run)
            nursery.start_soon(on_signal)
            await ended.wait()
            screen.say("ending")
            nursery.cancel_scope.cancel()


def _first_port() -> int:
    """The first port that we may bind."""
    if os.geteuid() == 0 or not FIRST_PORT.exists():
        return 0
    return int(FIRST_PORT.read_text())


def _line(text: str) -> None:
    click.echo(text)
