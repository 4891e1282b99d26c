"""Publishing commits: which are refused, what a release says, and going back."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from compiler.diagnostic import Diagnostic, Severity, Span
from compiler.lineage import NotDescended, require_descendant
from compiler.publish import Publication, blocking, publish_commit, require_content, roll_back
from snapshot.store import NotFound, StoreError
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.publisher import read_published
from snapshot.trust.release import Release
from tests.stores import NOW, MemoryStore, mesh, signing_keys

AUTHOR = pygit2.Signature("A Tester", "tester@example.org", 1_700_000_000, 0)


class History:
    """A repository in which commits are made by name: ``commit("b", "a")`` is a child of ``a``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._git = pygit2.init_repository(str(folder))
        self._made: dict[str, pygit2.Oid] = {}

    def commit(self, name: str, *parents: str) -> str:
        tree = self._git.TreeBuilder().write()
        made = self._git.create_commit(None, AUTHOR, AUTHOR, name, tree, [self._made[parent] for parent in parents])
        self._made[name] = made
        return str(made)


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path / "repository")
    history.commit("a")
    history.commit("b", "a")
    history.commit("c", "b")
    history.commit("side", "a")
    history.commit("merged", "side", "c")
    return history


def publish(store: MemoryStore, history: History, name: str, *, force: bool = False) -> Release:
    commit = str(history._made[name])
    asked = Publication(repository=history.path, commit=commit, force=force)
    return publish_commit(asked, mesh(name), store, signing_keys(), now=NOW)


def serving(store: MemoryStore) -> str:
    published = read_published(store, signing_keys().root, "stable")
    assert published is not None
    assert published.release is not None
    require_content(store, published.release.snapshot)
    return published.release.snapshot


def test_descendants_follow_each_other(history: History) -> None:
    store = MemoryStore()
    releases = [publish(store, history, name) for name in ("a", "b", "b", "merged")]
    assert [release.version for release in releases] == [1, 2, 3, 4]
    assert releases[-1].commit == releases[-1].tip == str(history._made["merged"])


@pytest.mark.parametrize("late", ["a", "side"])
def test_a_commit_that_finishes_late_is_refused(history: History, late: str) -> None:
    store = MemoryStore()
    publish(store, history, "b")
    before = dict(store.files)
    with pytest.raises(NotDescended, match="--force"):
        publish(store, history, late)
    assert store.files == before


def test_force_publishes_it_and_says_so(history: History) -> None:
    store = MemoryStore()
    publish(store, history, "b")
    release = publish(store, history, "side", force=True)
    assert release.forced
    assert serving(store) == mesh("side").digest


def test_a_repository_that_lacks_the_published_commit_cannot_tell(history: History, tmp_path: Path) -> None:
    other = History(tmp_path / "other")
    commit = other.commit("unrelated")
    with pytest.raises(NotDescended, match="shallow"):
        require_descendant(other.path, commit, str(history._made["b"]))


def test_a_rollback_is_a_new_version_of_old_content(history: History) -> None:
    store = MemoryStore()
    first = publish(store, history, "a")
    publish(store, history, "b")
    release = roll_back(store, signing_keys(), channel="stable", version=None, note="b was wrong", now=NOW)
    assert (release.version, release.restored, release.previous) == (3, 1, 2)
    assert (release.snapshot, release.commit, release.note) == (first.snapshot, first.commit, "b was wrong")
    assert serving(store) == first.snapshot


def test_after_a_rollback_only_descendants_of_the_newest_commit_are_published(history: History) -> None:
    store = MemoryStore()
    for name in ("a", "c"):
        publish(store, history, name)
    roll_back(store, signing_keys(), channel="stable", version=1, note="", now=NOW)
    with pytest.raises(NotDescended):
        publish(store, history, "b")
    assert publish(store, history, "merged").version == 4


def test_rolling_back_twice_comes_back(history: History) -> None:
    store = MemoryStore()
    for name in ("a", "b"):
        publish(store, history, name)
    for expected in ("a", "b"):
        roll_back(store, signing_keys(), channel="stable", version=None, note="", now=NOW)
        assert serving(store) == mesh(expected).digest


def test_there_is_nothing_before_the_first(history: History) -> None:
    store = MemoryStore()
    with pytest.raises(NotFound, match="run `weft publish` first"):
        roll_back(store, signing_keys(), channel="stable", version=None, note="", now=NOW)
    publish(store, history, "a")
    with pytest.raises(Untrusted) as caught:
        roll_back(store, signing_keys(), channel="stable", version=None, note="", now=NOW)
    assert caught.value.reason is Reason.MISSING


@pytest.mark.parametrize(("damage", "reason"), [(b"", Reason.DIGEST), (None, Reason.MISSING)])
def test_content_that_is_gone_or_damaged_is_not_brought_back(
    history: History, damage: bytes | None, reason: Reason
) -> None:
    store = MemoryStore()
    publish(store, history, "a")
    only_in_a = set(store.files)
    publish(store, history, "b")
    for name in sorted(only_in_a):
        if name.startswith("blobs/"):
            if damage is None:
                del store.files[name]
            else:
                store.files[name] = damage
    with pytest.raises(Untrusted) as caught:
        roll_back(store, signing_keys(), channel="stable", version=1, note="", now=NOW)
    assert caught.value.reason is reason


def finding(code: str, severity: Severity) -> Diagnostic:
    return Diagnostic(code, severity, "x", Span("a.yaml", 1, 1, 1, 2))


@pytest.mark.parametrize(
    ("code", "severity", "blocks"),
    [
        ("IST0101", Severity.ERROR, True),
        ("IST0104", Severity.WARNING, False),
        ("WFT0200", Severity.WARNING, True),
        ("WFT0100", Severity.NOTE, False),
    ],
)
def test_errors_and_what_is_not_carried_yet_forbid_publishing(code: str, severity: Severity, blocks: bool) -> None:
    found = [finding(code, severity)]
    assert blocking(found, allow_partial=False) == (found if blocks else [])
    assert blocking(found, allow_partial=True) == []


def test_a_store_that_fails_is_an_error_and_not_a_release(history: History) -> None:
    with pytest.raises(StoreError):
        publish(MemoryStore(fail_at=1), history, "a")
