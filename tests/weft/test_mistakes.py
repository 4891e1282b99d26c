"""A new user's mistakes: each ends with exit code 2 and one sentence that says what to do next, never with a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from weft.cli import COMMANDS, weft

KEYS = ("--keys", "keys")
LOCKED = "/proc/nothing-can-be-made-here"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository with keys and one commit."""
    monkeypatch.chdir(tmp_path)
    for arguments in (["init", "."], ["keys", "init", "keys"]):
        assert CliRunner().invoke(weft, arguments).exit_code == 0
    return tmp_path


def said(*arguments: str) -> str:
    """The one sentence of a command that cannot run."""
    code = f"from weft.cli import main; main({list(arguments)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2, done.stderr
    *_, sentence = done.stderr.splitlines()
    assert sentence.startswith("Error: "), done.stderr
    assert "Traceback" not in done.stderr
    return sentence


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "next_step"),
    [
        (["chek"], "did you mean `weft check`?"),
        (["deploy-everything"], "`weft --help` names those there are"),
        (["check", "nowhere"], "give a folder or a file of mesh YAML"),
        (["check", "--rev", "HEAD"], "commit the configuration first"),
        (["compile", "/"], "run `git init` there"),
        (["publish", ".", "--store", "s", "--keys", "nokeys"], "`weft keys init` makes keys"),
        (["publish", ".", "--store", "s", *KEYS], "commit the configuration first"),
        (["verify", "--store", "s", "--root", "nowhere.json"], "give the root.json that `weft keys init` made"),
        (["verify", "--store", "s", "--root", "keys/root.json"], "look at --store and --channel"),
        (["log", "--store", "s", "--root", "nowhere.json"], "give the root.json that `weft keys init` made"),
        (["log", "--store", "s", "--root", "keys/root.json"], "Error: nothing is published on the channel 'stable'"),
        (["rollback", "--store", "s", *KEYS], "or run `weft publish` first"),
        (["keys", "init", "keys"], "Choose an empty directory"),
        (["keys", "init", LOCKED], "give a folder that you may write"),
        (["status"], "name either the control plane"),
        (["status", "--control", "https://127.0.0.1:1"], "is the address right, and the process running?"),
        (
            ["status", "--control", "https://127.0.0.1:1", "--ca", "nowhere.pem"],
            "`weft ca bundle` prints what belongs in it",
        ),
        (["status", "--admin", "127.0.0.1:1"], "is the address right, and the process running?"),
        (["control", "--state", "c", "--store", "s", "--listen", "here"], "for example 127.0.0.1:15012"),
        (["control", "--state", LOCKED, "--store", "s"], "give a folder that this user may write"),
        (["ca", "bundle", "--state", "c"], "start weft control --state c first"),
        (["proxy", "sidecar", "--bootstrap", "nowhere.toml"], "`weft init` writes examples in proxies/"),
        (["demo", "--folder", LOCKED], "give another --folder"),
        (["init", "."], "nothing was written"),
        (["init", LOCKED], "give a folder that you may write"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_with_the_next_step(arguments: list[str], next_step: str) -> None:
    assert next_step in said(*arguments)


@pytest.mark.integration
@pytest.mark.parametrize(
    "arguments", [["verify", "--root", "keys/root.json"], ["rollback", *KEYS]], ids=lambda it: it[0]
)
def test_a_store_out_of_reach_is_named_with_where_to_look(arguments: list[str]) -> None:
    sentence = said(*arguments, "--store", "http://127.0.0.1:1/mesh")
    assert "http://127.0.0.1:1/mesh/" in sentence
    assert sentence.endswith("is the location right, and its server running and in reach?")


@pytest.mark.integration
def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sentence = said("control", "--state", "c", "--store", "s", "--listen", address)
    assert f"cannot listen on {address}: Address already in use; " in sentence
    assert sentence.endswith("give another address and port")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_of_it_says_what_it_is_for(name: str) -> None:
    command = weft.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    for one in [command, *getattr(command, "commands", {}).values()]:
        assert one.help, f"{name} {one.name}"
        silent = [p.opts[0] for p in one.params if p.param_type_name == "option" and not getattr(p, "help", "")]
        assert silent == [], f"{name} {one.name}"
