"""Nothing that the demonstration started is left behind, however stubborn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from weft.local import children
from weft.local.children import Children, LocalError, require, run

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(worker.pid, flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def said(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def wait_text(path: Path) -> str:
    with trio.fail_after(10):
        while not (text := said(path)):
            await trio.lowlevel.checkpoint()
        return text


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, f"{pid} is still running"
        os.sched_yield()


@pytest.mark.integration
async def test_a_process_that_does_not_listen_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "STOP_S", 0.2)
    owner = Children(tmp_path, outlive=False)
    leader = owner.start("stubborn", [sys.executable, "-c", STUBBORN])
    worker = int(await wait_text(leader.log))
    await owner.stop_all()
    assert leader.process.returncode == -signal.SIGKILL
    wait_gone(worker)
    assert owner.pids() == []


@pytest.mark.integration
async def test_a_process_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    owner = Children(tmp_path, outlive=False)
    child = owner.start("brief", [sys.executable, "-c", "print('no more'); raise SystemExit(3)"])
    child.process.wait()
    with pytest.raises(LocalError, match=r"brief ended with 3; .*brief\.log says:\nno more"):
        owner.require_alive()
    await owner.stop_all()


@pytest.mark.integration
def test_processes_end_when_the_demonstration_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, time; from weft.local.children import Children; "
        f"owner = Children(pathlib.Path({str(tmp_path)!r}), outlive=False); "
        "print(owner.start('sleeper', [sys.executable, '-c', 'import time; time.sleep(60)']).process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as demonstration:
        assert demonstration.stdout is not None
        sleeper = int(demonstration.stdout.readline())
        os.kill(demonstration.pid, signal.SIGKILL)
        demonstration.wait()
    wait_gone(sleeper)


@pytest.mark.integration
async def test_a_command_that_must_succeed_says_why_it_did_not() -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('the reason')"]
    assert (await run(failing)).code == 1
    with pytest.raises(LocalError, match=r"ended with 1:\nthe reason"):
        await require(failing)


@pytest.mark.integration
async def test_commands_see_no_http_proxy_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    said = await run([sys.executable, "-c", "import os; print(os.environ.get('http_proxy'))"])
    assert said.output.strip() == "None"
