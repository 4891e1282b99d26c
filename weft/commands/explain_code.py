"""``weft explain-code``."""

from __future__ import annotations

import click

from compiler.explanations import explain, similar
from weft.help_text import ending


@click.command(epilog=ending("weft explain-code IST0101", exits={2: "there is no such code"}))
@click.argument("code")
def command(code: str) -> int:
    """Explain CODE, or the finding of that name: what is wrong, and what to do."""
    text = explain(code)
    if text is None:
        meant = " or ".join(similar(code))
        raise click.ClickException(f"there is no code {code}" + (f"; {meant} was probably meant" if meant else ""))
    click.echo(text, nl=False)
    return 0
