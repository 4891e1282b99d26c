"""The whole demonstration, as a user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MAX_S = 150
"""The demonstration takes about a minute; twice that on a machine that is busy with other tests."""


def of_the_demonstration(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in command:
                found.append(command.decode(errors="replace"))
    return found


@pytest.mark.integration
def test_the_story_is_told_without_a_failed_request_and_nothing_is_left_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "weft", "demo", "--folder", str(folder)],
        capture_output=True,
        text=True,
        timeout=MAX_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    sent = re.search(r"requests sent: ([\d,]+)", done.stdout)
    assert sent is not None
    assert int(sent[1].replace(",", "")) >= 20_000
    assert "\nfailed: 0\n" in done.stdout
    stamped = re.search(r"exactly one snapshot: ([\d,]+) of ([\d,]+)", done.stdout)
    assert stamped is not None
    assert stamped[1] == stamped[2] == sent[1]
    for step in "abcdefgh":
        assert f"({step}) " in done.stdout
    assert re.search(r"mesh/reviews-routing\.yaml:\d+:\d+", done.stdout)
    assert re.search(r"decided at mesh/ratings-callers\.yaml:\d+:\d+@[0-9a-f]+", done.stdout)
    assert of_the_demonstration(folder) == []


@pytest.mark.integration
def test_a_taken_address_is_a_sentence_and_not_a_traceback(tmp_path: Path) -> None:
    holder = (
        "import socket, sys; held = socket.socket(); held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); "
        "held.bind(('127.20.0.1', 15012)); held.listen(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        done = subprocess.run(
            [sys.executable, "-m", "weft", "demo", "--folder", str(tmp_path / "demo")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        process.communicate()
    assert done.returncode == 2
    assert "127.20.0.1:15012 cannot be bound" in done.stderr
    assert "Traceback" not in done.stderr
