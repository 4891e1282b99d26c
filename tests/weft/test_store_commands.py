"""``weft keys``, ``publish``, ``verify`` and ``rollback``, as a CI job calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pygit2
import pytest
from click.testing import CliRunner, Result

from snapshot.store_directory import DirectoryStore
from snapshot.trust.keys import load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from tests.stores import DAY, NOW, mesh, release_mesh
from weft.cli import weft

AUTHOR = pygit2.Signature("A Tester", "tester@example.org", 1_700_000_000, 0)
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}]
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
        return self.run("publish", str(self.repository), *self._signing(), *more)

    def rollback(self, *more: str) -> Result:
        return self.run("rollback", *self._signing(), *more)

    def verify(self, *more: str) -> Result:
        root = str(self.folder / "keys" / "root.json")
        return self.run("verify", "--store", str(self.store.path), "--root", root, *more)

    def _signing(self) -> tuple[str, ...]:
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
