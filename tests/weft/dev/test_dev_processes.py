"""What ``weft dev`` does about processes that end, and about addresses that are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.dev import DevRun, write_home

pytestmark = pytest.mark.integration

NETWORK = "127.46"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[DevRun]:
    write_home(tmp_path, services=1, network=NETWORK)
    file = tmp_path / "weft-dev.toml"
    brief = """[process.brief]\ncommand = ["sh", "-c", "echo no more; exit 3"]\n"""
    missing = """[process.missing]\ncommand = "no-such-program"\n"""
    file.write_text(file.read_text() + brief + missing)
    dev = DevRun(tmp_path, network=NETWORK)
    try:
        yield dev
    finally:
        if dev.process.poll() is None:
            dev.stop()


def test_what_ends_is_told_and_started_again_while_the_rest_serves(run: DevRun, tmp_path: Path) -> None:
    def said(text: str, times: int = 1) -> bool:
        return run.log.read_text().count(text) >= times

    run.wait(lambda: said("brief ended with 3, starts again in", 2), "it was not started again")
    assert said(": no more")
    assert said("missing cannot be started")
    run.wait(lambda: run.mark() == "first", "the rest does not serve")
    (tmp_path / "second").mkdir()
    write_home(tmp_path / "second", services=1, network=NETWORK)
    other = DevRun(tmp_path / "second", network=NETWORK)
    assert other.process.wait(30) == 2
    told = other.log.read_text()
    assert "127.46.2.1:15012 cannot be bound" in told
    assert "Traceback" not in told
    assert list(other.temporary.iterdir()) == []
    assert run.mark() == "first"
