"""What is kept on disk comes back as it was written by this user, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.kept import MAX_NEWEST_BYTES, Kept, authenticated, cache_key, opened

KEY, OTHER = b"k" * 32, b"o" * 32
A, B, A2 = b"\x01a", b"\x02b", b"\x01c"


def everything() -> tuple[bytes, ...]:
    return A, B, A2


def kept(folder: Path, key: bytes = KEY) -> Kept:
    return Kept(folder / "store", key)


def test_values_come_back_in_another_process(tmp_path: Path) -> None:
    first = kept(tmp_path)
    first.put(A, b"one")
    first.put(B, b"two")
    first.save(everything)
    second = kept(tmp_path)
    assert (second.get(A), second.get(B), second.get(A2)) == (b"one", b"two", None)


def test_what_is_not_alive_goes_when_there_is_too_much(tmp_path: Path) -> None:
    first = kept(tmp_path)
    for name in (A, B):
        first.put(name, b"one")
    first.save(everything)
    second = kept(tmp_path)
    second.put(A2, b"x" * MAX_NEWEST_BYTES)
    second.save(lambda: (A2, B))
    third = kept(tmp_path)
    assert (third.get(A), third.get(A2), third.get(B)) == (None, b"x" * MAX_NEWEST_BYTES, b"one")


def test_much_is_spread_over_files_of_which_only_what_changes_is_written(tmp_path: Path) -> None:
    big = b"x" * MAX_NEWEST_BYTES
    first = kept(tmp_path)
    first.put(A, b"one")
    first.put(B, big)
    first.save(everything)
    assert {file.name for file in (tmp_path / "store").iterdir()} == {"newest", "01", "02"}
    before = (tmp_path / "store" / "02").stat().st_ino
    second = kept(tmp_path)
    second.put(A2, big + b"y")
    second.save(lambda: (A2, B))
    third = kept(tmp_path)
    assert (third.get(A), third.get(A2), third.get(B)) == (None, big + b"y", big)
    assert (tmp_path / "store" / "02").stat().st_ino == before


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    first = kept(tmp_path)
    first.put(A, b"one")
    first.save(everything)
    (file,) = (tmp_path / "store").iterdir()
    before = file.stat().st_ino
    second = kept(tmp_path)
    second.get(A)
    second.save(everything)
    assert file.stat().st_ino == before


@pytest.mark.parametrize("position", [0, 31, 32, -1])
def test_a_changed_byte_makes_a_file_worthless(tmp_path: Path, position: int) -> None:
    first = kept(tmp_path)
    first.put(A, b"one")
    first.save(everything)
    (file,) = (tmp_path / "store").iterdir()
    raw = bytearray(file.read_bytes())
    raw[position] ^= 1
    file.write_bytes(raw)
    assert kept(tmp_path).get(A) is None


@pytest.mark.parametrize("file", ["01", "newest"])
@pytest.mark.parametrize("raw", [b"", b"x" * 31, b"signed", b"\0" * 4096])
def test_other_bytes_are_no_entries(tmp_path: Path, raw: bytes, file: str) -> None:
    (tmp_path / "store").mkdir()
    signed = authenticated(KEY, f"store/{file}".encode(), b"no msgpack")
    (tmp_path / "store" / file).write_bytes(signed if raw == b"signed" else raw)
    assert kept(tmp_path).get(A) is None


def test_what_another_key_wrote_is_not_there(tmp_path: Path) -> None:
    theirs = kept(tmp_path, OTHER)
    theirs.put(A, b"forged")
    theirs.save(everything)
    assert kept(tmp_path).get(A) is None


def test_a_file_in_the_place_of_another_is_not_there(tmp_path: Path) -> None:
    first = kept(tmp_path)
    first.put(A, b"one")
    first.save(everything)
    (tmp_path / "store" / "newest").rename(tmp_path / "store" / "01")
    moved = kept(tmp_path)
    assert moved.get(A) is None


def test_a_folder_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    first = kept(tmp_path)
    first.put(A, b"one")
    first.save(everything)
    assert kept(tmp_path).get(A) is None


def test_purposes_do_not_mix() -> None:
    raw = authenticated(KEY, b"a", b"b1")
    assert opened(KEY, b"a", raw) == b"b1"
    assert opened(KEY, b"b", raw) is None
    assert opened(KEY, b"ab", authenticated(KEY, b"a", b"b")) is None


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    key = cache_key()
    assert key is not None
    assert len(key) == 32
    assert cache_key() == key
    path = tmp_path / "state" / "weft" / "cache-key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["cache-key"]


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o602])
def test_a_key_that_others_can_read_or_write_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert cache_key() is not None
    (tmp_path / "weft" / "cache-key").chmod(mode)
    assert cache_key() is None


@pytest.mark.parametrize("content", [b"", b"short", b"l" * 33])
def test_a_damaged_key_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert cache_key() is not None
    (tmp_path / "weft" / "cache-key").write_bytes(content)
    assert cache_key() is None


def test_without_a_place_for_the_key_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert cache_key() is None
