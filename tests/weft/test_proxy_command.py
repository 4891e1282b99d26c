"""``weft proxy`` and ``weft status`` as an operator meets them: exit codes, one sentence for a mistake, a graceful end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import pytest
import trio

from runtime.control.interface import ProxyStatus, StatusReport
from snapshot.store_directory import DirectoryStore
from tests.ports import free_port
from tests.slices import gateway_listener, snapshot_of
from tests.stores import release_mesh, sections, signing_keys
from weft.status_table import is_current

pytestmark = pytest.mark.integration

WEFT = (sys.executable, "-c", "from weft.cli import main; main()")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WEFT, *arguments], capture_output=True, text=True, timeout=30, check=False)


def start(file: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen([*WEFT, "proxy", "ingress", "--bootstrap", str(file)], stderr=out)


BOOTSTRAP = """
store = "store"
root = "root.json"
state = "state"
selector = {name = "test"}
ports = {admin = ADMIN, outbound = -1, metrics = -1, merged_metrics = -1, readiness = -1}
"""


def bootstrap(folder: Path, *, admin: int = 0, more: str = "") -> Path:
    (folder / "root.json").write_bytes(signing_keys().root)
    path = folder / "proxy.toml"
    path.write_text(more + BOOTSTRAP.replace("ADMIN", str(admin)))
    return path


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("colour = 'blue'\n", "colour"),
        ("workers = 'two'\n", "workers"),
        ("this is no TOML\n", "proxy.toml"),
        ("control = 'http://127.0.0.1:1'\n", "must begin with https://"),
    ],
)
def test_a_wrong_bootstrap_is_one_sentence_and_exit_2(tmp_path: Path, more: str, says: str) -> None:
    done = run("proxy", "sidecar", "--bootstrap", str(bootstrap(tmp_path, more=more)))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_missing_bootstrap_and_a_taken_admin_port_are_told(tmp_path: Path) -> None:
    done = run("proxy", "ingress", "--bootstrap", str(tmp_path / "nothing.toml"))
    assert (done.returncode, "cannot read the bootstrap file" in done.stderr) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("proxy", "ingress", "--bootstrap", str(bootstrap(tmp_path, admin=port)))
    assert done.returncode == 2
    assert f"the admin port 127.0.0.1:{port} is taken by another process: stop it" in done.stderr


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110  the state of another process
            await trio.sleep(0.02)


async def test_a_proxy_serves_is_seen_by_status_and_ends_gracefully_on_sigterm(tmp_path: Path) -> None:
    port, admin = free_port("127.0.0.1"), free_port("127.0.0.1")
    store = DirectoryStore(tmp_path / "store")
    release_mesh(store, snapshot_of({"test": [*sections("hello"), gateway_listener(port)]}))
    file = bootstrap(tmp_path, admin=admin)
    process = start(file, tmp_path / "log")
    try:
        url = f"http://127.0.0.1:{port}/"
        async with httpx.AsyncClient(trust_env=False) as client:

            async def answer() -> str:
                with suppress(httpx.TransportError):
                    return (await client.get(url)).text
                return ""

            with trio.fail_after(20):
                while await answer() != "hello":  # noqa: ASYNC110  the state of another process
                    await trio.sleep(0.05)
        status = ("status", "--admin", f"127.0.0.1:{admin}", "--wait", "--timeout", "0.5", "-o", "json")
        assert (await trio.to_thread.run_sync(lambda: run(*status, "--release", "1"))).returncode == 0
        behind = await trio.to_thread.run_sync(lambda: run(*status, "--release", "2"))
        assert (behind.returncode, "not up to date: test" in behind.stderr) == (1, True)
        (proxy,) = msgspec.json.decode(behind.stdout)["proxies"]
        assert proxy["version"] == 1
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.poll() is not None)
        assert process.returncode == 0
        text = (tmp_path / "log").read_text()
        for event in ("swapped to version 1", "ready:", "SIGTERM: ending", "drained"):
            assert text.count(event) == 1, text
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def test_the_workers_of_a_killed_supervisor_end_by_themselves(tmp_path: Path) -> None:
    port, admin = free_port("127.0.0.1"), free_port("127.0.0.1")
    release_mesh(
        DirectoryStore(tmp_path / "store"), snapshot_of({"test": [*sections("hello"), gateway_listener(port)]})
    )
    process = start(bootstrap(tmp_path, admin=admin), tmp_path / "log")
    try:
        workers: list[int] = []
        async with httpx.AsyncClient(trust_env=False) as client:
            with trio.fail_after(20):
                while not workers:
                    with suppress(httpx.TransportError):
                        info = (await client.get(f"http://127.0.0.1:{admin}/server_info")).json()
                        workers = list(info["workers"].values())
                    await trio.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    await until(lambda: not any(is_alive(pid) for pid in workers))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_proxy_that_is_named_goes_before_a_control_plane_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_CONTROL", "https://127.0.0.1:9")
    done = run("status", "--admin", "127.0.0.1:10")
    assert "127.0.0.1:10: " in done.stderr
    both = run("status", "--admin", "127.0.0.1:10", "--control", "https://127.0.0.1:9")
    assert "name either the control plane" in both.stderr


def test_status_wants_to_know_whom_to_ask() -> None:
    assert run("status").returncode == 2
    done = run("status", "--control", "https://127.0.0.1:9", "--ca", "/nothing")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_report_counts_as_current_by_the_channel_of_each_proxy() -> None:
    report = StatusReport(1, {"stable": 3, "canary": 5}, ())
    assert is_current(report, ProxyStatus("a", version=3), None)
    assert not is_current(report, ProxyStatus("a", version=3, channel="canary"), None)
    assert not is_current(report, ProxyStatus("a", version=0, channel="none"), None)
    assert is_current(report, ProxyStatus("a", version=4), 4)
