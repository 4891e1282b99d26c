"""The options that every command with a store shares, and how a release is printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from snapshot.trust.release import Release

F = TypeVar("F", bound=Callable[..., object])

SCHEMA_VERSION = 1


def reading(command: F) -> F:
    """--store, --store-ca, --channel and -o."""
    for option in reversed(
        (
            click.option(
                "--store", required=True, metavar="PATH|URL", help="The store: a directory, or the URL that serves it."
            ),
            click.option(
                "--store-ca",
                default="",
                metavar="FILE",
                help="CA certificates (PEM) that an https store's certificate must chain to.",
            ),
            click.option("--channel", default="stable", show_default=True, help="The channel of releases."),
            click.option(
                "-o",
                "output",
                type=click.Choice(["text", "json"]),
                default="text",
                show_default=True,
                help="How the result is printed.",
            ),
        )
    ):
        command = option(command)
    return command


def publishing(command: F) -> F:
    """The options of ``reading``, and --keys, --token-file and --note."""
    for option in reversed(
        (
            click.option(
                "--keys",
                required=True,
                metavar="DIR",
                type=click.Path(path_type=Path),
                help="The directory that `weft keys init` made.",
            ),
            click.option(
                "--token-file",
                "token",
                default="",
                metavar="FILE",
                callback=_read_token,
                envvar="WEFT_PUBLISH_TOKEN_FILE",
                show_envvar=True,
                help="The publish token, for a store behind HTTP.",
            ),
            click.option("--note", default="", help="A sentence for the release record: why."),
        )
    ):
        command = option(command)
    return reading(command)


def print_release(release: Release, output: str) -> None:
    """One line on the standard output: ``version N snapshot DIGEST``, or the whole record as JSON."""
    if output == "json":
        click.echo(msgspec.json.encode({"schemaVersion": SCHEMA_VERSION, **msgspec.structs.asdict(release)}).decode())
        return
    click.echo(f"version {release.version} snapshot {release.snapshot}")


def _read_token(_: click.Context, __: click.Parameter, path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {path}: {error}") from None
