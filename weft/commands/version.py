"""``weft version``."""

from __future__ import annotations

import importlib.metadata

import click

from snapshot.encode import FEATURES, FORMAT
from weft.help_text import ending


@click.command(epilog=ending("weft version", exits={2: "weft is not installed"}))
def command() -> None:
    """Print weft's version and the slice format it reads."""
    click.echo(f"weft {importlib.metadata.version('weft')} (slice format {FORMAT}; {', '.join(sorted(FEATURES))})")
