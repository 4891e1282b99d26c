"""A new user's mistakes: each ends with exit code 2 and one sentence that says what to do next, never with a traceback."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pygit2
import pytest
from click.testing import CliRunner

from weft.cli import COMMANDS, main, weft

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
        (
            ["status", "--control", "https://127.0.0.1:1", "--ca", "README.md"],
            "README.md holds no certificate in PEM; `weft ca bundle` prints what belongs in it",
        ),
        (
            [
                "log",
                "--store",
                "s",
                "--root",
                "keys/root.json",
                "--control",
                "https://127.0.0.1:1",
                "--ca",
                "nowhere.pem",
            ],
            "cannot read nowhere.pem: No such file or directory; `weft ca bundle` prints what belongs in it",
        ),
        (["keys", "rotate", "targets", "--store", "s", *KEYS], "nothing is published at s, and nothing was changed"),
        (["dev", "--logs", "nobody"], "--logs takes "),
        (["status", "--admin", "127.0.0.1:1"], "is the address right, and the process running?"),
        (["control", "--state", "c", "--store", "s", "--listen", "here"], "for example 127.0.0.1:15012"),
        (["control", "--state", LOCKED, "--store", "s"], "give a folder that you may write"),
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


OUT_OF_REACH = {
    "http://127.0.0.1:1/mesh": "http://127.0.0.1:1/mesh/",
    "oci://127.0.0.1:1/mesh": "http://127.0.0.1:1/v2/mesh/",
    "s3://bucket/mesh?endpoint=http://127.0.0.1:1": "s3://bucket/mesh/",
}


@pytest.mark.integration
@pytest.mark.parametrize("store", OUT_OF_REACH)
@pytest.mark.parametrize(
    "arguments", [["verify", "--root", "keys/root.json"], ["rollback", *KEYS]], ids=lambda it: it[0]
)
def test_a_store_out_of_reach_is_named_with_where_to_look(
    arguments: list[str], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    sentence = said(*arguments, "--store", store)
    assert OUT_OF_REACH[store] in sentence
    assert sentence.endswith("is the location right, and its server running and in reach?")


@pytest.mark.integration
def test_an_s3_store_without_credentials_says_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    sentence = said("verify", "--root", "keys/root.json", "--store", "s3://bucket/x?endpoint=http://127.0.0.1:1")
    assert sentence.endswith("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role")


def committed(folder: Path) -> None:
    """Commits what ``weft init`` wrote."""
    repository = pygit2.Repository(str(folder))
    repository.index.add("mesh/hello.yaml")
    author = pygit2.Signature("a", "a@example.com")
    repository.create_commit("HEAD", author, author, "begin", repository.index.write_tree(), [])


@pytest.mark.integration
def test_a_store_of_other_keys_is_refused_and_left_as_it_is(folder: Path) -> None:
    committed(folder)
    for arguments in (["publish", ".", "--store", "s", *KEYS], ["keys", "init", "theirs"]):
        assert CliRunner().invoke(weft, arguments, standalone_mode=False).exception is None
    held = sorted(path.name for path in (folder / "s" / "metadata").iterdir())
    together = "do this store and this root.json belong together?"
    assert said("publish", ".", "--store", "s", "--keys", "theirs").endswith(together)
    assert said("verify", "--store", "s", "--root", "theirs/root.json").endswith(together)
    assert said("log", "--store", "s", "--root", "theirs/root.json").endswith(together)
    no_root = said("verify", "--store", "s", "--root", "README.md")
    assert no_root.endswith("give the root.json that `weft keys init` made")
    for role in ("root", "targets", "timestamp"):
        rotating = said("keys", "rotate", role, "--store", "s", "--keys", "theirs")
        assert "look at --store and --keys. Nothing was changed" in rotating
    assert sorted(path.name for path in (folder / "s" / "metadata").iterdir()) == held
    assert not list((folder / "theirs").glob("*.next"))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "next_step"),
    [
        (["publish", ".", "--store", "README.md", *KEYS], "give a folder that you may write"),
        (["publish", ".", "--store", "ftp://x/y", *KEYS], "a store is a directory, or an http://"),
        (["publish", ".", "--store", "oci://", *KEYS], "a registry store is oci://HOST[:PORT]/REPOSITORY"),
        (["publish", ".", "--store", "s", *KEYS, "--rev", "nothere"], "see `git log --oneline`"),
        (
            ["run", "--store", "s", "--root", "no.json", "--slice", "x", "--", "true"],
            "name it as `root` in the bootstrap",
        ),
        (
            ["run", "--store", "ftp://x", "--root", "keys/root.json", "--slice", "x", "--", "true"],
            "a store is a directory",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_a_repository_that_has_a_commit_is_one_sentence_too(
    folder: Path, arguments: list[str], next_step: str
) -> None:
    committed(folder)
    assert next_step in said(*arguments)


@pytest.mark.integration
@pytest.mark.parametrize(
    "arguments",
    [
        ["publish", ".", "--store", "new-store", *KEYS],
        ["keys", "init", "new-keys"],
        ["init", "new-mesh"],
        ["control", "--state", "new-state", "--store", "s"],
    ],
    ids=lambda value: value[0],
)
def test_a_full_disk_is_told_as_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    committed(folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # Each way onto a disk begins with a folder that is not there yet.
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    (sentence,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, sentence[:7]) == (2, "Error: ")
    assert sentence.endswith("No space left on device; make room there")


@pytest.mark.integration
def test_a_program_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code = "from weft.cli import main; main(['demo', '--folder', 'd'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "Error: the program git is needed here and not installed" in done.stderr


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
