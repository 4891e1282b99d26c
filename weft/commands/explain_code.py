"""``weft explain-code``."""

from __future__ import annotations

import click

from compiler.explanations import explain, similar


@click.command()
@click.argument("code")
def command(code: str) -> int:
    """Explain CODE, or the finding of that name: what is wrong, and what to do.

    Exits 0, or 2 where there is no such code.
    """
    text = explain(code)
    if text is None:
        meant = " or ".join(similar(code))
        raise click.ClickException(f"there is no code {code}" + (f"; {meant} was probably meant" if meant else ""))
    click.echo(text, nl=False)
    return 0
