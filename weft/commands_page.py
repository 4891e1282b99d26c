"""The reference page of all commands, made from the program itself: ``python -m weft.commands_page > docs/reference/commands.md``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import click

from weft.cli import weft

_HEAD = """\
# Commands

What `weft COMMAND --help` says. Exit codes are the same everywhere unless a command says otherwise: 0 is done, 1 is a finding or a refusal,
2 is that it could not run; then one sentence on standard error says why and what to do. What is meant for programs goes to standard
output, what is meant for people to standard error. `NO_COLOR` is respected.

Completion for bash: `eval "$(_WEFT_COMPLETE=bash_source weft)"`; `zsh_source` and `fish_source` are there too.
"""


def commands_page() -> str:
    """The page as Markdown: one section per command, in the order of ``weft --help``."""
    root = click.Context(weft, info_name="weft")
    return "\n".join([_HEAD, *(section for name in weft.list_commands(root) for section in _sections(root, name))])


def _sections(parent: click.Context, name: str) -> Iterator[str]:
    assert isinstance(parent.command, click.Group), "commands are in groups"
    command = parent.command.get_command(parent, name)
    assert command is not None, "it is listed"
    own = click.Context(command, info_name=name, parent=parent)
    yield _section(own)
    if isinstance(command, click.Group):
        for inner in command.list_commands(own):
            yield from _sections(own, inner)


def _section(own: click.Context) -> str:
    parts = [
        f"{'##' if own.parent and own.parent.parent is None else '###'} {own.command_path}",
        inspect.cleandoc(own.command.help or ""),
    ]
    if not isinstance(own.command, click.Group):
        usage = " ".join([own.command_path, *own.command.collect_usage_pieces(own)])
        parts.append(f"    {usage}")
        parts.append("\n".join(_options(own)))
        # The sign is for click's eyes only.
        parts.append("```\n" + (own.command.epilog or "").replace("\b\n", "") + "\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _options(own: click.Context) -> Iterator[str]:
    rows = [
        row
        for parameter in own.command.params
        if isinstance(parameter, click.Option) and (row := parameter.get_help_record(own)) is not None
    ]
    if rows:
        yield "| option | |"
        yield "|---|---|"
        for option, meaning in rows:
            yield f"| `{_cell(option)}` | {_cell(meaning)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(commands_page())
