"""The tutorial is true: its commands are run in order, in one shell and an empty folder, and print what the page says they print.

A ``sh`` block is run; the ``text`` block after it shows lines of its output, in their order, ``...`` standing for anything. A block that
ends with another exit code than 0 names those it may end with after its language: ``sh exit=1``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial" / "first-mesh.md"
FENCE = re.compile(r"^```(?P<language>\w+) ?(?:exit=(?P<codes>[\d,]+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT_S = 120


class Block(msgspec.Struct):
    """Commands of the page, the exit codes that the last of them may have, and the lines that the page says they print."""

    commands: str
    codes: tuple[int, ...] = (0,)
    shown: list[str] = []


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    for fence in FENCE.finditer(text):
        if fence["language"] == "sh":
            codes = tuple(int(code) for code in (fence["codes"] or "0").split(","))
            found.append(Block(fence["body"], codes))
        elif fence["language"] == "text":
            found[-1].shown = fence["body"].splitlines()
    return found


def script(all_blocks: list[Block]) -> str:
    """One bash program: a line ``@@@ N CODE`` closes each block's output; a command that fails early ends it."""
    parts = ["exec 2>&1", "trap 'jobs -p | xargs -r kill 2>/dev/null; wait' EXIT"]
    for number, block in enumerate(all_blocks):
        strict = "set -euo pipefail" if block.codes == (0,) else "set +e"
        parts.append(f"{strict}\n{block.commands}code=$?; echo; echo '@@@' {number} $code")
    return "\n".join(parts)


def missing(shown: list[str], output: str) -> list[str]:
    """The lines that the page shows and the output lacks, looked for in order. Spaces before a count do not matter."""
    rest = iter(output.splitlines())
    wanted = {line: re.compile(".*".join(map(re.escape, line.strip().split("...")))) for line in shown}
    return [line for line, pattern in wanted.items() if not any(pattern.fullmatch(got.strip()) for got in rest)]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder of its own; ``weft`` is first in the path outside of it."""
    program = tmp_path / "bin" / "weft"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m weft "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def run(program: str, folder: Path) -> str:
    person = {"NAME": "A Reader", "EMAIL": "reader@mesh.example"}
    environment = {
        "PATH": f"{folder.parent / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()},
    }
    output = folder.parent / "output"
    with output.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-c", program],
            cwd=folder,
            env=environment,
            stdout=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        with suppress(subprocess.TimeoutExpired):
            shell.wait(LIMIT_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return output.read_text(errors="replace")


@pytest.mark.integration
def test_a_reader_who_types_what_the_page_says_gets_what_it_shows(empty: Path) -> None:
    page = blocks(PAGE.read_text(encoding="utf-8"))
    assert len(page) > 10
    output = run(script(page), empty)
    for number, block in enumerate(page):
        part, found, output = output.partition(f"@@@ {number} ")
        logs = "\n".join(f"{log.name}: {log.read_text()[-600:]}" for log in (empty / "my-mesh" / "local").glob("*.log"))
        assert found, f"the page's commands ended early, in:\n{block.commands}\nwith:\n{part}\n{logs}"
        code, _, output = output.partition("\n")
        assert int(code) in block.codes, f"{block.commands}\n{part}"
        assert missing(block.shown, part) == [], f"{block.commands}\n{part}"


def test_lines_that_the_page_shows_are_looked_for_in_order() -> None:
    assert missing(["a ... b", "c"], "x\n  a 1 b\nc\n") == []
    assert missing(["c", "a ... b"], "x\na 1 b\nc\n") == ["a ... b"]
    assert missing(["a"], "ab\n") == ["a"]
