"""``weft dev`` through random edits, valid and not: no request is lost, and nothing is left of it.

WEFT_DEV_EDITS=200 makes it the long run; the default is short.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from benchmarks.dev import EDITED, HOST, ROUTE, DevRun, write_home
from weft.local.http_client import BadReplyError, HttpClient

pytestmark = pytest.mark.integration

EDITS = int(os.environ.get("WEFT_DEV_EDITS", "16"))
NETWORK = "127.44"
UNRELATED = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: edge\n"
BROKEN = (
    "{{{ this is no YAML",
    ROUTE.format(mark="broken").replace("destination:", "destinaton:"),
    ROUTE.format(mark="broken").replace("hosts:\n    - shop.example", "hosts: 7"),
    "apiVersion: [\n\0\n",
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[DevRun]:
    write_home(tmp_path, services=2, network=NETWORK)
    dev = DevRun(tmp_path, network=NETWORK)
    try:
        yield dev
    finally:
        if dev.process.poll() is None:
            dev.stop()


def left_behind(temporary: Path) -> list[str]:
    """Processes that were started with this folder for temporary files, sockets on the networks of the run, and the folder's files."""
    found = [str(path) for path in temporary.iterdir()]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(temporary) in environment:
                found.append(f"process {entry.name}")
    # The kernel writes addresses with their last number first.
    networks = {"2C7F", "2D7F"}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if local[4:8] in networks and state == "0A":
            found.append(f"listening at {local}")
    return found


class Load:
    """A client that never rests; ``lost`` are the requests that were not answered 200."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sent = 0
        self.lost: list[str] = []
        self._address = address

    async def ask_forever(self) -> None:
        client = HttpClient(self._address)
        try:
            while True:
                self.sent += 1
                try:
                    reply = await client.get(HOST, "/books")
                    if reply.status != 200:
                        self.lost.append(f"{reply.status} {reply.body[:80]!r}")
                except (OSError, trio.BrokenResourceError, trio.TooSlowError, BadReplyError) as error:
                    self.lost.append(repr(error))
                await trio.sleep(0.01)
        finally:
            with trio.CancelScope(shield=True):
                await client.close()


async def told(run: DevRun, count: int) -> list[str]:
    with trio.fail_after(20):
        while len(lines := run.told()) < count:
            assert run.process.poll() is None, run.log.read_text()
            await trio.sleep(0.02)
    return lines


async def test_random_edits_lose_no_request_and_leave_nothing_behind(run: DevRun, tmp_path: Path) -> None:
    draws = random.Random(7)
    await trio.to_thread.run_sync(run.wait, lambda: run.mark() == "first", "it did not come up")
    load = Load(run.ingress)
    seen = 1
    mark = "first"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.ask_forever)
        for number in range(EDITS):
            kind = draws.choice(("valid", "valid", "broken", "other", "gone"))
            before = await told(run, seen)
            if kind == "valid":
                mark = f"mark-{number}"
                (tmp_path / EDITED).write_text(ROUTE.format(mark=mark))
            elif kind == "broken":
                (tmp_path / EDITED).write_text(draws.choice(BROKEN))
            elif kind == "other":
                (tmp_path / "mesh" / f"other-{number}.yaml").write_text(UNRELATED.format(name=f"other-{number}"))
            else:
                for path in [*(tmp_path / "mesh").glob("other-*.yaml")][:1]:
                    path.unlink()
                    break
                else:
                    continue
            seen = len(before) + 1
            lines = await told(run, seen)
            if kind in ("valid", "broken"):
                assert lines[-1].startswith("live:" if kind == "valid" else "broken:"), lines[-1]
            if kind == "broken":
                assert "goes on serving" in lines[-1]
            assert await trio.to_thread.run_sync(run.mark) == mark
        nursery.cancel_scope.cancel()
    assert load.lost == []
    assert load.sent > EDITS
    running = left_behind(run.temporary)
    for kind in ("/weft-dev-", "process ", "listening at "):
        assert any(kind in text for text in running), f"the test would not see {kind}"
    assert await trio.to_thread.run_sync(run.stop) == 0
    assert left_behind(run.temporary) == []


def weft_dev(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "weft", "dev", str(folder)], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no"),
        ("mesh = 'nowhere'\n", 'mesh = "nowhere" is no folder'),
        ("network = '10.0'\n", "give the first two numbers of loopback addresses"),
        ("[process.a]\ncommand = 'x'\nworkload = 'a'\n", 'workload = "a" is not namespace/name'),
        ("[process.a]\ncommand = ''\n", "the command is empty"),
        ("[process.A]\ncommand = 'x'\n", "a name is of small letters"),
        ("[process.a]\nkommand = 'x'\n", "kommand"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "weft-dev.toml").write_text(text)
    done = weft_dev(tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert says in done.stderr
