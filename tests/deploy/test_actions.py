"""The GitHub actions, by running the shell of their steps as a runner does: inputs in the environment, outputs in a file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pygit2
import pytest
import yaml
from click.testing import CliRunner

from weft.cli import weft

ROOT = Path(__file__).parents[2]
ACTIONS = ROOT / ".github" / "actions"
EXPRESSION = re.compile(r"\$\{\{ inputs\.([a-z-]+) \}\}")


class Ran(msgspec.Struct):
    """What a step printed, its exit code, and the outputs that it set."""

    code: int
    printed: str
    outputs: dict[str, str]


class Runner:
    """A job on a runner: its check-out and its temporary folder. ``weft`` is in the path, as after the step ``install``."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "temporary"
        self.checkout = folder / "checkout"
        self._bin = folder / "bin"
        for path in (self.temporary, self._bin):
            path.mkdir()
        self.program("weft", f'PYTHONPATH={ROOT} exec {sys.executable} -m weft "$@"')

    def program(self, name: str, line: str) -> None:
        """Puts a shell program of one line into the path."""
        path = self._bin / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def run(self, action: str, step: str, inputs: Mapping[str, str] | None = None) -> Ran:
        """One step of an action with these inputs, the others at their defaults."""
        described = yaml.safe_load((ACTIONS / action / "action.yml").read_text())
        values = {name: str(one.get("default", "")) for name, one in described["inputs"].items()} | dict(inputs or {})
        found = next(one for one in described["runs"]["steps"] if one.get("id") == step)
        assert "${{" not in found["run"], "an input in the text of the program could be a command"
        given = {name: EXPRESSION.sub(lambda at: values[at[1]], text) for name, text in found.get("env", {}).items()}
        outputs = self.temporary / "outputs"
        outputs.write_text("")
        own = {
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "RUNNER_TEMP": str(self.temporary),
            "GITHUB_ACTION_PATH": str(ACTIONS / action),
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_PATH": str(self.temporary / "path"),
        }
        # How a runner starts `shell: bash`.
        command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", found["run"]]
        done = subprocess.run(
            command, cwd=self.checkout, env=given | own, capture_output=True, text=True, timeout=60, check=False
        )
        set_ = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        return Ran(done.returncode, done.stdout + done.stderr, set_)


def commit(folder: Path) -> str:
    repository = pygit2.Repository(str(folder))
    repository.index.add_all()
    author = pygit2.Signature("a", "a@example.org", 0, 0)
    parents = [] if repository.head_is_unborn else [repository.head.target]
    return str(repository.create_commit("HEAD", author, author, "a change", repository.index.write_tree(), parents))


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    job = Runner(tmp_path)
    assert CliRunner().invoke(weft, ["init", str(job.checkout)]).exception is None
    assert CliRunner().invoke(weft, ["keys", "init", str(tmp_path / "keys")]).exception is None
    (job.checkout / "keys" / "root.json").write_bytes((tmp_path / "keys" / "root.json").read_bytes())
    commit(job.checkout)
    return job


@pytest.fixture
def publishing(runner: Runner, tmp_path: Path) -> dict[str, str]:
    keys = {
        f"{role}-key": (tmp_path / "keys" / f"{role}.pem").read_text() for role in ("targets", "snapshot", "timestamp")
    }
    return {"store": str(tmp_path / "store"), **keys}


@pytest.mark.integration
def test_a_mesh_without_mistakes_passes_with_no_error_counted(runner: Runner) -> None:
    assert runner.run("check", "check") == Ran(0, "", {"errors": "0", "warnings": "0"})


@pytest.mark.integration
def test_a_mistake_is_an_annotation_at_its_line_and_fails_the_job(runner: Runner) -> None:
    routing = runner.checkout / "mesh" / "routing.yaml"
    routing.write_text(routing.read_text().replace("subset: v2", "subset: v22"))
    commit(runner.checkout)
    ran = runner.run("check", "check")
    assert (ran.code, ran.outputs) == (1, {"errors": "1", "warnings": "0"})
    assert ran.printed.startswith("::error file=mesh/routing.yaml,line=")


@pytest.mark.integration
def test_a_check_that_cannot_run_says_why_and_counts_nothing(runner: Runner) -> None:
    ran = runner.run("check", "check", {"rev": "nowhere"})
    assert (ran.code, ran.outputs) == (2, {})
    assert "`nowhere` names no commit" in ran.printed


@pytest.mark.integration
def test_an_input_is_never_a_command(runner: Runner) -> None:
    runner.run("check", "check", {"path": '"; touch broken; "', "rev": "$(touch broken)"})
    assert not (runner.checkout / "broken").exists()


@pytest.mark.integration
def test_publishing_names_version_and_snapshot_and_leaves_no_key_behind(
    runner: Runner, publishing: dict[str, str]
) -> None:
    ran = runner.run("publish", "publish", publishing)
    assert ran.code == 0, ran.printed
    assert ran.outputs["version"] == "1"
    assert re.fullmatch("[0-9a-f]{64}", ran.outputs["snapshot"])
    assert runner.run("publish", "publish", publishing).outputs == {**ran.outputs, "version": "2"}
    assert [path for path in runner.temporary.rglob("*") if path.suffix == ".pem"] == []


@pytest.mark.integration
def test_a_refused_publication_fails_the_job_and_leaves_no_key_behind(
    runner: Runner, publishing: dict[str, str]
) -> None:
    (runner.checkout / "mesh" / "mesh.yaml").write_text("kind: [")
    commit(runner.checkout)
    ran = runner.run("publish", "publish", publishing)
    assert (ran.code, ran.outputs) == (1, {})
    assert "refused: nothing was published" in ran.printed
    assert [path.name for path in runner.temporary.iterdir()] == ["outputs"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("without", "says"),
    [("store", "the input store is empty"), ("targets-key", "the input targets-key is empty: set the secret")],
)
def test_a_secret_that_the_branch_may_not_use_is_one_sentence(
    runner: Runner, publishing: dict[str, str], without: str, says: str
) -> None:
    ran = runner.run("publish", "publish", {**publishing, without: ""})
    assert (ran.code, ran.outputs) == (2, {})
    assert ran.printed.startswith(f"::error::{says}")
    assert ran.printed.count("\n") == 1


@pytest.mark.integration
def test_a_root_that_is_not_committed_is_one_sentence(runner: Runner, publishing: dict[str, str]) -> None:
    ran = runner.run("publish", "publish", {**publishing, "root": "elsewhere.json"})
    assert (ran.code, ran.printed.count("\n")) == (2, 1)
    assert "there is no elsewhere.json" in ran.printed


@pytest.mark.integration
@pytest.mark.parametrize("action", ["check", "publish"])
def test_installing_takes_exact_versions_and_the_weft_of_the_action(runner: Runner, action: str) -> None:
    place = runner.temporary / "weft" / "bin"
    recorded = runner.temporary / "recorded"
    runner.program("python3", f'echo "$@" >> {recorded}; mkdir -p {place}; cp -u "$0" {place}/python || true')
    assert runner.run(action, "install").code == 0
    made, dependencies, itself = recorded.read_text().splitlines()
    assert made == f"-m venv {place.parent}"
    assert dependencies.endswith(f"--require-hashes -r {ROOT / 'deploy' / 'requirements.lock'}")
    assert itself.endswith(f"--no-deps {ROOT}")
    assert (runner.temporary / "path").read_text() == f"{place}\n"


@pytest.mark.parametrize("action", ["check", "publish"])
def test_every_input_and_output_is_described_and_in_the_how_to(action: str) -> None:
    described = yaml.safe_load((ACTIONS / action / "action.yml").read_text())
    page = (ROOT / "docs" / "how-to" / "ci.md").read_text()
    for name, one in [*described["inputs"].items(), *described["outputs"].items()]:
        assert one["description"].endswith("."), name
        assert f"`{name}`" in page, name


def test_the_lock_that_users_install_from_has_the_versions_that_the_tests_ran_with() -> None:
    pin = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
    tested = dict(pin.findall((ROOT / "requirements.lock").read_text()))
    installed = dict(pin.findall((ROOT / "deploy" / "requirements.lock").read_text()))
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[\[>]", one)[0].replace(".", "-") for one in needed} <= installed.keys()
    assert {name: version for name, version in installed.items() if tested.get(name) != version} == {}


def test_the_pre_commit_hook_is_a_command_that_exists() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, command = hook["entry"].split()
    assert program == "weft"
    assert weft.get_command(None, command) is not None  # type: ignore[arg-type]
    assert hook["pass_filenames"] is False
