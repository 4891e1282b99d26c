"""The GitLab pipeline that ``weft init`` writes, by running the scripts of its jobs as a runner does: variables in the environment, one shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pygit2
import pytest
import yaml
from click.testing import CliRunner

from weft.cli import weft

ROOT = Path(__file__).parents[2]
URL = "https://git.example.org/platform/weft.git"
ROLES = ("targets", "snapshot", "timestamp")


class Ran(msgspec.Struct):
    """A job's exit code and what it printed."""

    code: int
    printed: str


class Project:
    """A check-out of a new mesh, with the project's variables and a ``weft`` in the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkout = folder / "checkout"
        self.invoke("init", str(self.checkout), "--weft-url", URL)
        self.invoke("keys", "init", str(folder / "keys"))
        (self.checkout / "keys" / "root.json").write_bytes((folder / "keys" / "root.json").read_bytes())
        self.pipeline: dict[str, Any] = yaml.safe_load((self.checkout / ".gitlab-ci.yml").read_text())
        (folder / "bin").mkdir()
        self.program("weft", f'PYTHONPATH={ROOT} exec {sys.executable} -m weft "$@"')

    def invoke(self, *arguments: str) -> None:
        assert CliRunner().invoke(weft, [*arguments]).exit_code == 0

    def program(self, name: str, line: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def commit(self) -> str:
        repository = pygit2.Repository(str(self.checkout))
        repository.index.add_all()
        author = pygit2.Signature("a", "a@example.org", 0, 0)
        parents = [] if repository.head_is_unborn else [repository.head.target]
        tree = repository.index.write_tree()
        return str(repository.create_commit("HEAD", author, author, "a change", tree, parents))

    def run(self, lines: list[str]) -> Ran:
        given = {
            **{name: str(value) for name, value in self.pipeline["variables"].items()},
            **{f"WEFT_{role.upper()}_KEY": str(self.folder / "keys" / f"{role}.pem") for role in ROLES},
            "WEFT_STORE": str(self.folder / "store"),
            "CI_COMMIT_SHA": self.commit(),
            "TMPDIR": str(self.folder),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }
        command = ["bash", "-eo", "pipefail", "-c", "\n".join(lines)]
        done = subprocess.run(
            command, cwd=self.checkout, env=given, capture_output=True, text=True, timeout=60, check=False
        )
        return Ran(done.returncode, done.stdout + done.stderr)

    def job(self, name: str) -> Ran:
        return self.run(self.pipeline[name]["script"])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_each_job_belongs_to_a_stage_and_publishing_to_the_default_branch_alone(project: Project) -> None:
    assert [project.pipeline[name]["stage"] for name in ("check", "publish")] == project.pipeline["stages"]
    assert project.pipeline["publish"]["rules"] == [{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}]
    assert project.pipeline["publish"]["resource_group"]


@pytest.mark.integration
def test_a_mesh_without_mistakes_passes_and_is_published(project: Project) -> None:
    assert project.job("check").code == 0
    assert json.loads((project.checkout / "weft-findings.json").read_text()) == []
    assert project.job("publish").printed.startswith("version 1 snapshot ")


@pytest.mark.integration
def test_a_mistake_fails_the_job_and_is_in_the_report_that_gitlab_reads(project: Project) -> None:
    routing = project.checkout / "mesh" / "routing.yaml"
    routing.write_text(routing.read_text().replace("subset: v2", "subset: v22"))
    ran = project.job("check")
    assert ran.code == 1
    assert "error[IST0101]: subset `v22`" in ran.printed
    (found,) = json.loads((project.checkout / "weft-findings.json").read_text())
    assert found["location"]["path"] == "mesh/routing.yaml"
    assert project.pipeline["check"]["artifacts"]["reports"] == {"codequality": "weft-findings.json"}
    assert project.job("publish").code == 1
    assert not (project.folder / "store").exists()


@pytest.mark.integration
def test_no_key_is_left_behind_even_where_publishing_is_refused(project: Project) -> None:
    (project.checkout / "mesh" / "mesh.yaml").write_text("kind: [")
    assert project.job("publish").code == 1
    left = [path for path in project.folder.rglob("*.pem") if path.parent != project.folder / "keys"]
    assert left == []


@pytest.mark.integration
def test_weft_is_installed_at_the_pinned_revision_with_exact_versions(project: Project) -> None:
    recorded = project.folder / "recorded"
    for name in ("apt-get", "git", "pip"):
        project.program(name, f'echo {name} "$@" >> {recorded}')
    assert project.run(project.pipeline["default"]["before_script"]).code == 0
    lines = recorded.read_text().splitlines()
    revision = project.pipeline["variables"]["WEFT_REVISION"]
    assert f"git clone --quiet {URL} /opt/weft" in lines
    assert f"git -C /opt/weft checkout --quiet {revision}" in lines
    assert lines[-2:] == [
        "pip install --quiet --require-hashes -r /opt/weft/deploy/requirements.lock",
        "pip install --quiet --no-deps /opt/weft",
    ]
