"""A work tree reads only what was touched, and never takes a changed file for what it held before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from compiler.kept import Kept
from compiler.stamps import SETTLED_NS, Stamps
from compiler.tree import TreeError
from compiler.worktree import WorkTree

KEY, PLACE = b"k" * 32, b"p" * 32
OLD = b"old"
LONG_AGO_NS = 1_000_000_000_000_000_000


class Aged(Stamps):
    """Stamps of files that changed long ago, as the file system says: the time of an inode's change cannot be set back in a test."""

    def digest(self, path: str, stat: os.stat_result) -> bytes | None:
        return super().digest(path, aged(stat))

    def note(self, path: str, stat: os.stat_result, digest: bytes) -> None:
        super().note(path, aged(stat), digest)


class AgedStat:
    """What ``os.stat`` says of a file that changed long ago."""

    def __init__(self, stat: os.stat_result) -> None:
        self.st_dev, self.st_ino, self.st_size = stat.st_dev, stat.st_ino, stat.st_size
        self.st_mtime_ns, self.st_ctime_ns = stat.st_mtime_ns, LONG_AGO_NS


def aged(stat: os.stat_result) -> os.stat_result:
    return AgedStat(stat)  # type: ignore[return-value]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mesh" / "a.yaml"
    path.parent.mkdir()
    write(path, OLD)
    return path


def write(path: Path, content: bytes, *, age_ns: int = 10 * SETTLED_NS) -> None:
    """Writes a file in place, modified long before the others that this writes with a smaller age."""
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO_NS - age_ns, LONG_AGO_NS - age_ns))


def stamps(tmp_path: Path) -> Aged:
    return Aged(Kept(tmp_path / "stamps", KEY), PLACE)


def states(file: Path, known: Stamps) -> list[bytes]:
    return [entry.state for entry in WorkTree(file.parent, stamps=known).entries()]


def test_a_file_that_was_not_touched_is_not_read_again(tmp_path: Path, file: Path) -> None:
    first = stamps(tmp_path)
    before = states(file, first)
    first.save()
    # The same size, inode and times, as no edit leaves them: the other content shows who looked.
    write(file, b"OLD")
    assert states(file, stamps(tmp_path)) == before
    assert states(file, Stamps()) != before


@pytest.mark.parametrize("age_ns", [0, 1, SETTLED_NS])
def test_a_file_with_another_time_is_read(tmp_path: Path, file: Path, age_ns: int) -> None:
    first = stamps(tmp_path)
    before = states(file, first)
    write(file, b"OLD", age_ns=age_ns)
    assert states(file, first) != before


def test_a_file_in_the_place_of_another_is_read(tmp_path: Path, file: Path) -> None:
    first = stamps(tmp_path)
    before = states(file, first)
    other = tmp_path / "other"
    write(other, b"OLD")
    other.replace(file)
    assert states(file, first) != before


def test_nothing_is_noted_of_a_file_that_changed_just_now(file: Path) -> None:
    known = Stamps()
    states(file, known)
    assert known.digest(str(file), file.stat()) is None


def test_content_is_read_when_it_is_asked_for_and_must_be_what_was_seen(tmp_path: Path, file: Path) -> None:
    first = stamps(tmp_path)
    states(file, first)
    (entry,) = WorkTree(file.parent, stamps=first).entries()
    assert entry.read() == OLD
    write(file, b"new")
    with pytest.raises(TreeError, match="was changed while"):
        entry.read()


def test_what_is_not_there_any_more_is_forgotten(tmp_path: Path, file: Path) -> None:
    first = stamps(tmp_path)
    states(file, first)
    first.save()
    second = stamps(tmp_path)
    second.digest(str(file), file.stat())
    second.save()
    third = stamps(tmp_path)
    assert third.digest(str(file), file.stat()) is not None
    fourth = stamps(tmp_path)
    write(tmp_path / "mesh" / "b.yaml", OLD)
    file.unlink()
    states(file, fourth)
    fourth.save()
    assert stamps(tmp_path)._known.keys() == {str(tmp_path / "mesh" / "b.yaml")}


@pytest.mark.parametrize("raw", [b"", b"no msgpack", b"\x81\xa1a\x90"])
def test_damaged_notes_are_none(tmp_path: Path, file: Path, raw: bytes) -> None:
    kept = Kept(tmp_path / "stamps", KEY)
    kept.put(PLACE, raw)
    kept.save(lambda: (PLACE,))
    assert len(states(file, stamps(tmp_path))) == 1


def test_a_blob_is_read_once_and_remembered_by_its_name(tmp_path: Path) -> None:
    first = stamps(tmp_path)
    reads: list[bytes] = []

    def content() -> bytes:
        reads.append(OLD)
        return OLD

    digests = {first.of_blob(b"b" * 20, content) for _ in range(2)}
    first.save()
    digests.add(stamps(tmp_path).of_blob(b"b" * 20, content))
    assert digests == {hashlib.sha256(OLD).digest()}
    assert reads == [OLD]
    assert stamps(tmp_path).of_blob(b"c" * 20, lambda: b"other") == hashlib.sha256(b"other").digest()
