"""``weft run`` as a process manager meets it: the proxy is there before the command, signals go through, the code comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from snapshot.store_directory import DirectoryStore
from tests.ports import free_port
from tests.slices import gateway_listener, snapshot_of
from tests.stores import release_mesh, sections, signing_keys

pytestmark = pytest.mark.integration

WEFT = (sys.executable, "-m", "weft", "run")
BOOTSTRAP = """
store = "store"
root = "root.json"
state = "state"
selector = {name = "test"}
ports = {admin = 0, outbound = 0, metrics = -1, merged_metrics = -1, readiness = -1}
"""
CALLS = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
connection.request("GET", "/")
print("the proxy says", connection.getresponse().read().decode(), flush=True)
raise SystemExit(7)
"""
WAITS = """
import os, signal, sys
got = []
signal.signal(signal.SIGHUP, lambda number, frame: print("HUP", flush=True))
signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
print("up", os.environ.get("http_proxy"), flush=True)
while not got:
    signal.pause()
print("TERM", flush=True)
raise SystemExit(3)
"""


def bootstrap(folder: Path, *, published: bool = True) -> tuple[Path, int]:
    port = free_port("127.0.0.1")
    if published:
        publish(folder, port)
    (folder / "root.json").write_bytes(signing_keys().root)
    file = folder / "proxy.toml"
    file.write_text(BOOTSTRAP)
    return file, port


def publish(folder: Path, port: int) -> None:
    mesh = snapshot_of({"test": [*sections("hello"), gateway_listener(port)]})
    release_mesh(DirectoryStore(folder / "store"), mesh)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WEFT, *arguments], capture_output=True, text=True, timeout=30, check=False)


def test_the_command_starts_when_the_proxy_serves_and_its_code_is_ours(tmp_path: Path) -> None:
    file, port = bootstrap(tmp_path, published=False)
    log = tmp_path / "proxy.log"
    command = [*WEFT, "--bootstrap", str(file), "--proxy-log", str(log), "--", sys.executable, "-c", CALLS, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # The command ends at once where nothing listens, so it has not been started while the proxy only complains.
        while "nothing is published" not in (log.read_text() if log.exists() else ""):
            assert process.poll() is None
        publish(tmp_path, port)
        said, errors = process.communicate(timeout=30)
    assert (process.returncode, said) == (7, "the proxy says hello\n"), errors + log.read_text()
    assert "drained" in log.read_text()


def test_signals_are_passed_and_the_proxy_outlives_the_command(tmp_path: Path) -> None:
    file, _ = bootstrap(tmp_path)
    command = [*WEFT, "--bootstrap", str(file), "--http-proxy", "--", sys.executable, "-c", WAITS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("up http://127.0.0.1:")
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "HUP\n"
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=20)
    assert (process.returncode, said) == (3, "TERM\n"), errors
    assert errors.index("ready") < errors.index("draining")


def test_a_command_that_a_signal_ends_gives_128_and_its_number(tmp_path: Path) -> None:
    file, _ = bootstrap(tmp_path)
    suicide = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run("--bootstrap", str(file), "--", sys.executable, "-c", suicide).returncode == 137


def test_without_a_ready_proxy_nothing_is_started(tmp_path: Path) -> None:
    file, _ = bootstrap(tmp_path, published=False)
    done = run("--bootstrap", str(file), "--ready-timeout", "1", "--", "touch", str(tmp_path / "started"))
    assert done.returncode == 2
    assert "nothing was started: no snapshot serves yet; " in done.stderr
    assert "nothing is published" in done.stderr
    assert not (tmp_path / "started").exists()


def test_options_alone_are_enough(tmp_path: Path) -> None:
    bootstrap(tmp_path)
    store = ("--store", str(tmp_path / "store"), "--root", str(tmp_path / "root.json"), "--address", "127.61.0.9")
    assert run(*store, "--slice", "test", "--", "true").returncode == 0
    assert "give --bootstrap FILE" in run("--", "true").stderr


def test_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    done = run("--bootstrap", str(tmp_path / "none.toml"), "--", "true")
    assert (done.returncode, "cannot read the bootstrap file" in done.stderr) == (2, True)
    missing = run("--bootstrap", str(tmp_path / "none.toml"), "--", "no-such-program")
    assert (missing.returncode, "no-such-program" in missing.stderr) == (127, True)
    wrong = run("--application-port", "http=80", "--slice", "a", "--store", "s", "--root", "r", "--", "true")
    assert (wrong.returncode, "must be port numbers" in wrong.stderr) == (2, True)
    assert "Traceback" not in done.stderr + missing.stderr + wrong.stderr
