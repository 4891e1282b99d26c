"""``weft compile``: the digest alone on standard output, findings beside it, and the snapshot where it is asked for."""

from __future__ import annotations

from pathlib import Path

import click
import pygit2
import pytest
from click.testing import CliRunner

from snapshot.index import Slice, assemble, decode_index
from weft.commands.compile import command

GOOD = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: a}]}}
"""
BAD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http: [{route: [{destination: {host: gone}}]}]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    pygit2.init_repository(str(tmp_path))
    write(tmp_path, "mesh.yaml", GOOD)
    commit(tmp_path)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text)


def commit(root: Path) -> None:
    repository = pygit2.Repository(str(root))
    repository.index.add_all()
    repository.index.write()
    author = pygit2.Signature("a", "a@example.com", 0, 0)
    parents = [] if repository.head_is_unborn else [repository.head.target]
    repository.create_commit("HEAD", author, author, "x", repository.index.write_tree(), parents)


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(command, list(arguments), standalone_mode=False)
    # The command line answers 2 for every ClickException (weft.cli.main).
    code = 2 if isinstance(result.exception, click.ClickException) else result.return_value
    return code, result.stdout, result.stderr


def test_notes_are_counted_and_not_told(repository: Path) -> None:
    write(repository, "crds.yaml", "apiVersion: example.com/v1\nkind: Other\nmetadata: {name: a}\n")
    code, output, told = run(str(repository), "--worktree")
    assert code == 0
    assert len(output.strip()) == 64
    assert told.splitlines() == ["1 note in 2 files"]


def test_the_digest_stands_alone_and_the_snapshot_is_whole(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = run(str(repository), "--out", str(out))
    assert (code, stderr) == (0, "")
    index = decode_index((out / "index.msgpack").read_bytes())
    blobs = {path.name: path.read_bytes() for path in (out / "blobs").iterdir()}
    (entry,) = index.slices
    assert isinstance(assemble(stdout.strip(), entry, blobs), Slice)
    assert stdout == f"{stdout.strip()}\n"


def test_a_commit_is_compiled_and_not_what_lies_beside_it(repository: Path) -> None:
    _, first, _ = run(str(repository))
    write(repository, "wrong.yaml", BAD)
    assert run(str(repository))[:2] == (0, first)
    code, stdout, stderr = run(str(repository), "--worktree")
    assert (code, stdout) == (1, "")
    assert "wrong.yaml:6:40" in stderr
    commit(repository)
    assert run(str(repository))[0] == 1
    assert run(str(repository), "--rev", "HEAD~1")[:2] == (0, first)


def test_partial_publishes_the_rest_and_still_says_what_is_wrong(repository: Path) -> None:
    write(repository, "wrong.yaml", BAD)
    code, stdout, stderr = run(str(repository), "--worktree", "--allow-partial")
    assert code == 0
    assert len(stdout.strip()) == 64
    assert "IST0101" in stderr


def test_what_cannot_be_read_or_written_is_said_in_one_sentence(repository: Path, tmp_path: Path) -> None:
    assert run(str(repository), "--rev", "nonsense")[0] == 2
    assert run(str(repository), "--rev", "HEAD", "--worktree")[0] == 2
    assert run(str(tmp_path / "gone"))[0] == 2
    (tmp_path / "file").write_text("")
    assert run(str(repository), "--out", str(tmp_path / "file" / "below"))[0] == 2
