"""Every command's ``--help`` is enough to use it: what it does, its defaults, commands that can be copied, and its exit codes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from weft.cli import weft
from weft.commands_page import commands_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
WIDTH = 80
NAMED_BY_CLICK = re.compile(r"\b(TEXT|INTEGER|FLOAT|RANGE|PATH|DIRECTORY|FILENAME)\b")


def commands() -> Iterator[tuple[str, ...]]:
    def below(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        own = click.Context(group)
        for name in group.list_commands(own):
            command = group.get_command(own, name)
            yield (*path, name)
            if isinstance(command, click.Group):
                yield from below(command, (*path, name))

    return below(weft, ())


ALL = list(commands())


def help_of(*words: str) -> str:
    result = CliRunner().invoke(weft, [*words, "--help"], prog_name="weft", terminal_width=WIDTH)
    assert result.exit_code == 0, result.output
    return result.output


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = weft
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words = found, words[1:]
    return command, words


def examples(text: str) -> list[str]:
    """The commands under "Examples:", each in one line."""
    _, _, rest = text.partition("Examples:\n")
    lines = rest.partition("\n\n")[0].replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip()]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_fits_into_eighty_columns_and_leaves_no_sentence_unfinished(words: tuple[str, ...]) -> None:
    text = help_of(*words)
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    assert "..." not in text.partition("Commands:")[2], "give the command a short_help"


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_an_option_says_what_its_value_is(words: tuple[str, ...]) -> None:
    options = help_of(*words).partition("Options:")[2].partition("Examples:")[0]
    values = [line.split("  ")[1] for line in options.splitlines() if line.startswith("  -")]
    assert [
        value for value in values if NAMED_BY_CLICK.search(value.replace("PATH|URL", "").replace("--note TEXT", ""))
    ] == []


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_ends_with_exit_codes_and_examples_that_the_command_takes(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("keys", "examples/bookshop", "local"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("root.json", "keys/root.json", "token", "ca.pem", "control-ca.pem", "keys/token"):
        (tmp_path / file).write_text("-----BEGIN CERTIFICATE-----")
    text = help_of(*words)
    if "\nCommands:\n" in text:
        return
    assert re.search(r"^  Exit codes:\n    0 ", text, re.MULTILINE), "say `epilog=ending(...)`"
    shown = [line for line in examples(text) if line.startswith("weft ")]
    assert shown
    for line in shown:
        command, arguments = find(shlex.split(line.partition(" > ")[0])[1:])
        assert command is find(list(words))[0], f"{line}: an example of another command"
        try:
            command.make_context("weft", arguments)
        except click.UsageError as error:
            pytest.fail(f"{line}: {error.format_message()}")


def test_the_page_of_all_commands_is_what_the_program_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == commands_page(), (
        "run: .venv/bin/python -m weft.commands_page > docs/reference/commands.md"
    )


def test_the_version_is_one_line() -> None:
    result = CliRunner().invoke(weft, ["--version"], prog_name="weft")
    assert (result.exit_code, result.output) == (0, "weft 0.1.0\n")


@pytest.mark.integration
def test_a_shell_completes_the_names_of_commands() -> None:
    given = {**os.environ, "_WEFT_COMPLETE": "bash_complete", "COMP_WORDS": "weft pub", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'weft'; from weft.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "plain,publish\n")
