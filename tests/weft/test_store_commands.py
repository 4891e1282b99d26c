"""``weft keys``, ``publish``, ``verify`` and ``rollback``, as a CI job calls them."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec
import pygit2
import pytest
from click.testing import CliRunner, Result

from runtime.control.interface import ProxyStatus, StatusReport
from snapshot.store_directory import DirectoryStore
from snapshot.trust.history import Entry
from snapshot.trust.keys import load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from snapshot.trust.release import Release
from tests.stores import DAY, NOW, mesh, release_mesh
from weft.cli import weft
from weft.commands.log import _running, _text
from weft.commands.status import _print

AUTHOR = pygit2.Signature("A Tester", "tester@example.org", 1_700_000_000, 0)
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews}}
    spec: {containers: [{name: app, image: registry.example/reviews:1}]}
"""


class Desk:
    """A repository, a keys directory and a store, and weft run over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "mesh"
        self.store = DirectoryStore(folder / "store")
        self._git = pygit2.init_repository(str(self.repository))

    def commit(self, text: str) -> str:
        (self.repository / "mesh.yaml").write_text(text)
        self._git.index.add("mesh.yaml")
        parents = [] if self._git.head_is_unborn else [self._git.head.target]
        return str(self._git.create_commit("HEAD", AUTHOR, AUTHOR, "change", self._git.index.write_tree(), parents))

    def run(self, *arguments: str) -> Result:
        result = CliRunner().invoke(weft, list(arguments), standalone_mode=False)
        result.exit_code = result.return_value if isinstance(result.return_value, int) else result.exit_code
        return result

    def keys(self) -> Result:
        return self.run("keys", "init", str(self.folder / "keys"))

    def publish(self, *more: str) -> Result:
        return self.run("publish", str(self.repository), *self.signing(), *more)

    def rollback(self, *more: str) -> Result:
        return self.run("rollback", *self.signing(), *more)

    def verify(self, *more: str) -> Result:
        root = str(self.folder / "keys" / "root.json")
        return self.run("verify", "--store", str(self.store.path), "--root", root, *more)

    def log(self, *more: str) -> Result:
        root = str(self.folder / "keys" / "root.json")
        return self.run("log", "--store", str(self.store.path), "--root", root, *more)

    def signing(self) -> tuple[str, ...]:
        return "--store", str(self.store.path), "--keys", str(self.folder / "keys")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_commit_is_published_verified_and_rolled_back(desk: Desk) -> None:
    made = desk.keys()
    assert made.stdout == f"{desk.folder}/keys/root.json\n"
    first = desk.commit(SERVICE)
    published = desk.publish()
    assert published.exit_code == 0, published.output
    version, digest = published.stdout.split()[1::2]
    assert version == "1"
    desk.commit(SERVICE.replace("9080", "9081"))
    second = json.loads(desk.publish("-o", "json", "--note", "a port").stdout)
    assert (second["version"], second["note"], second["schemaVersion"]) == (2, "a port", 1)
    assert second["snapshot"] != digest
    assert desk.rollback().stdout == f"version 3 snapshot {digest}\n"
    verified = desk.verify()
    assert verified.exit_code == 0
    assert f"commit    {first}" in verified.stdout
    assert "timestamp signed until" in verified.stdout


def test_a_mistake_is_not_published(desk: Desk) -> None:
    desk.keys()
    desk.commit(SERVICE.replace("9080", "ninety"))
    refused = desk.publish()
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "mesh.yaml:" in refused.stderr
    assert not desk.store.path.exists()


def test_a_mesh_in_which_no_proxy_finds_anything_is_published_only_where_it_is_meant(desk: Desk) -> None:
    desk.keys()
    desk.commit("# nothing yet\n")
    refused = desk.publish()
    assert isinstance(refused.exception, click.ClickException)
    assert "is it the folder of the mesh?" in refused.exception.message
    assert "--allow-empty" in refused.exception.message
    assert not desk.store.path.exists()
    assert desk.publish("--allow-empty").stdout.startswith("version 1 snapshot ")


def test_an_older_commit_that_finishes_last_is_refused(desk: Desk) -> None:
    desk.keys()
    older = desk.commit(SERVICE)
    desk.commit(SERVICE.replace("9080", "9081"))
    assert desk.publish().exit_code == 0
    late = desk.publish("--rev", older)
    assert (late.exit_code, late.stdout) == (1, "")
    assert "does not descend" in late.stderr
    assert json.loads(desk.publish("--rev", older, "--force", "-o", "json").stdout)["forced"]


def test_an_expired_store_exits_1_and_a_tampered_one_2(desk: Desk) -> None:
    desk.keys()
    signing = load_keys(desk.folder / "keys", PUBLISHER_ROLES)
    release_mesh(desk.store, mesh("one"), keys=signing, now=NOW - 2 * DAY)
    expired = desk.verify()
    assert expired.exit_code == 1
    assert "timestamp signed EXPIRED" in expired.stdout
    blob = next(path for path in sorted(desk.store.path.glob("blobs/*/*")))
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    tampered = desk.verify()
    assert tampered.exception is not None
    assert "not authentic (digest)" in str(tampered.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("publish", ".", "--store", "s", "--keys", "no-keys"), "weft keys init"),
        (("verify", "--store", "ftp://x", "--root", "root.json"), "a store is a directory"),
        (("rollback", "--store", "s", "--keys", "no-keys"), "weft keys init"),
    ],
)
def test_what_cannot_run_says_why(
    desk: Desk, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    (desk.folder / "root.json").write_text("{}")
    failed = desk.run(*arguments)
    assert message in str(failed.exception)


def test_keys_are_not_made_twice(desk: Desk) -> None:
    desk.keys()
    assert "never overwritten" in str(desk.keys().exception)


def test_a_key_is_rotated_in_told_steps_and_a_dry_run_changes_nothing(desk: Desk) -> None:
    desk.keys()
    desk.commit(SERVICE)
    desk.publish()
    files = {path: path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()}
    planned = desk.run("keys", "rotate", "targets", *desk.signing(), "--dry-run")
    assert planned.stdout.startswith("1. make a new targets key")
    assert {path: path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()} == files
    done = desk.run("keys", "rotate", "targets", *desk.signing())
    assert done.stdout == f"{desk.folder}/keys/root.json\n"
    assert "published version 3 of the root" in done.stderr
    assert "Give CI the new targets.pem" in done.stderr
    assert desk.verify().exit_code == 0
    desk.commit(SERVICE.replace("9080", "9081"))
    assert desk.publish().exit_code == 0


def test_the_log_says_what_was_published_by_which_commit_and_key(desk: Desk) -> None:
    desk.keys()
    first = desk.commit(SERVICE)
    desk.publish("--note", "the beginning")
    second = desk.commit(SERVICE.replace("9080", "9081"))
    desk.publish()
    desk.publish("--channel", "canary")
    desk.publish("--rev", first, "--force")
    desk.rollback("--note", "back")
    shown = desk.log()
    assert shown.exit_code == 0
    assert [line.split()[1] for line in shown.stdout.splitlines() if line.startswith("version")] == ["5", "4", "2", "1"]
    newest, forced, _, oldest = shown.stdout.split("\n\n")
    assert f"commit    {second}" in newest
    assert "rollback  to the content of version 2" in newest
    assert "note      back" in newest
    assert "forced" in forced
    assert f"commit    {first}" in oldest
    assert "note      the beginning" in oldest
    assert "BREAK GLASS" not in shown.stdout
    document = json.loads(desk.log("-o", "json", "-n", "1").stdout)
    assert (document["schemaVersion"], document["complete"]) == (1, True)
    assert [one["version"] for one in document["releases"]] == [5]
    assert document["releases"][0]["keys"][0]["revoked"] is False


def test_a_history_that_was_thinned_out_ends_with_a_word_and_exits_1(desk: Desk) -> None:
    desk.keys()
    desk.commit(SERVICE)
    desk.publish()
    desk.publish()
    (desk.store.path / "metadata" / "1.targets.json").unlink()
    shown = desk.log()
    assert shown.exit_code == 1
    assert shown.stdout.startswith("version 2 ")
    assert "older releases are not in the store any more" in shown.stderr


def test_a_publication_with_the_key_for_emergencies_is_loud(desk: Desk) -> None:
    assert desk.run("keys", "init", str(desk.folder / "keys"), "--break-glass").exit_code == 0
    desk.commit(SERVICE)
    (desk.folder / "keys" / "targets.pem").unlink()
    assert "targets.pem" in str(desk.publish().exception)
    assert json.loads(desk.publish("--break-glass", "CI is down", "-o", "json").stdout)["break_glass"] == "CI is down"
    assert "BREAK GLASS  CI is down" in desk.log().stdout
    assert "(break-glass)" in desk.log().stdout
    assert "BREAK GLASS  CI is down" in desk.verify().stdout


def test_status_says_loudly_which_proxies_run_such_a_release(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = ProxyStatus("reviews", channel="stable", version=3)
    _print(StatusReport(version=3, published={"stable": 3}, proxies=(quiet,)), "table")
    assert "BREAK GLASS" not in capsys.readouterr().out
    loud = ProxyStatus("reviews", channel="stable", version=4, break_glass="CI is down")
    _print(StatusReport(version=4, published={"stable": 4}, proxies=(loud, loud)), "table")
    assert (
        capsys.readouterr().out.count("BREAK GLASS: version 4 was published with the key for emergencies: CI is down")
        == 1
    )


def test_the_log_says_where_a_release_runs() -> None:
    proxies = (ProxyStatus("b", version=2), ProxyStatus("a", version=2), ProxyStatus("c", channel="canary", version=2))
    running = _running(proxies, "stable")
    release = Release(channel="stable", commit="c", snapshot="s", tree="t", compiler="w", time=0, version=2)
    assert "running   a, b" in _text(Entry(release, ()), running)
    assert "running   nowhere" in _text(Entry(msgspec.structs.replace(release, version=1), ()), running)
    assert "running" not in _text(Entry(release, ()), None)


def test_publishing_tells_of_what_was_forgotten_to_commit(desk: Desk) -> None:
    desk.keys()
    desk.commit(SERVICE)
    assert "note:" not in desk.publish().stderr
    (desk.repository / "forgotten.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: forgotten}\n")
    told = desk.publish()
    assert told.exit_code == 0
    assert told.stderr == "note: forgotten.yaml is not as in the commit that was published; commit to publish it\n"
