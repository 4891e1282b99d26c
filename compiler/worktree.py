"""A folder's files as they are now, committed or not: what ``git add --all`` would commit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Span
from compiler.repository import find_repository
from compiler.stamps import Stamps
from compiler.tree import (
    GUARDRAILS,
    LINK_OUT,
    LINK_TO_FOLDER,
    LINK_TO_NOTHING,
    MAX_FILE_BYTES,
    MAX_LINKS,
    NOT_A_FILE,
    SUFFIXES,
    TreeError,
    TreeFile,
    beneath,
    digest_of_entries,
    enters,
    held_file,
    is_configuration,
)


class WorkTree:
    """The configuration files below a folder, or one file. Looked at once, when first asked for; what Git ignores is not configuration.

    ``shown_as`` goes before the paths ("" for none), so that positions are clickable where the user stands. With ``stamps``, what has not
    been touched since they were noted is not read.
    """

    commit = ""

    def __init__(self, root: Path, *, shown_as: str = "", stamps: Stamps | None = None) -> None:
        if not root.exists():
            raise TreeError(f"{root} does not exist; give a folder or a file of mesh YAML")
        self._root = root
        self._shown_as = shown_as
        self._stamps = stamps or Stamps()

    @cached_property
    def digest(self) -> str:
        """A sha256 over the paths and contents of the files."""
        return digest_of_entries(self.entries())

    def files(self) -> Iterable[tuple[str, bytes]]:
        """The configuration files, sorted by path; raises TreeError for one that cannot be read."""
        return tuple((entry.path, entry.read()) for entry in self._found[0])

    def entries(self) -> Sequence[TreeFile]:
        """The configuration files, sorted by path; raises TreeError for one that cannot be read."""
        return self._found[0]

    def guardrails(self) -> Iterable[tuple[str, bytes]]:
        """The files of the top-level folder ``guardrails``, sorted by path; raises TreeError for one that cannot be read."""
        return tuple((entry.path, entry.read()) for entry in self._found_guardrails[0])

    def refusals(self) -> Iterable[Diagnostic]:
        """Links that leave the tree or name a folder, and submodules."""
        return (*self._found[1], *self._found_guardrails[1])

    @cached_property
    def _found(self) -> tuple[list[TreeFile], tuple[Diagnostic, ...]]:
        if self._root.is_file():
            return [_entry(self._shown_as or self._root.name, str(self._root), self._stamps)], ()
        return _collect(self._root, self._shown_as, self._stamps)

    @cached_property
    def _found_guardrails(self) -> tuple[list[TreeFile], tuple[Diagnostic, ...]]:
        folder = self._root / GUARDRAILS
        if not folder.is_dir() or folder.is_symlink():
            return [], ()
        return _collect(folder, beneath(self._shown_as, GUARDRAILS), self._stamps)


def _collect(root: Path, shown_as: str, stamps: Stamps) -> tuple[list[TreeFile], tuple[Diagnostic, ...]]:
    """The configuration files below a folder, and what stands in the place of some."""
    files: list[TreeFile] = []
    refused: list[Diagnostic] = []
    real_root = root.resolve()
    for relative, entry in _walk(root, _ignores(root)):
        shown = beneath(shown_as, relative)
        if entry.is_file(follow_symlinks=False):
            # A file that is no link is where it seems to be.
            files.append(_entry(shown, entry.path, stamps))
        elif entry.is_dir(follow_symlinks=False):
            at = Span(shown, 1, 1, 1, 1)
            refused.append(diagnostic("WFT0008", f"{shown} is a submodule, which weft does not read", at))
        elif problem := _link_problem(Path(entry.path), real_root) if entry.is_symlink() else NOT_A_FILE:
            refused.append(diagnostic("WFT0007", f"{shown} {problem}", Span(shown, 1, 1, 1, 1)))
        else:
            files.append(_entry(shown, entry.path, stamps))
    return sorted(files, key=lambda file: file.path), tuple(refused)


def _walk(root: Path, ignored: Callable[[str], bool]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Configuration files, links in their place, and submodules' folders, without descending into the latter two."""
    folders = [""]
    while folders:
        prefix = folders.pop()
        try:
            entries = list(os.scandir(root / prefix))
        except OSError as error:
            raise TreeError(f"cannot read the folder {root / prefix}: {error.strerror}") from None
        for entry in entries:
            relative = f"{prefix}{entry.name}"
            folder = _is_folder(entry)
            # Only folders that may hold configuration are entered, so of a file the name decides.
            if not (enters(relative) if folder else is_configuration(entry.name)):
                continue
            if ignored(f"{relative}/" if folder else relative):
                continue
            if entry.is_dir(follow_symlinks=False) and not Path(entry.path, ".git").exists():
                folders.append(f"{relative}/")
            else:
                yield relative, entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is none."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir())


def _link_problem(path: Path, real_root: Path) -> str:
    """Why a path may not be read, or "" where it may. A link's text counts as in a commit, where nothing absolute is inside the tree."""
    step = path
    for _ in range(MAX_LINKS):
        if not step.is_symlink():
            break
        target = step.readlink()
        if target.is_absolute():
            return LINK_OUT
        step = step.parent / target
    # Unlike Path.resolve, realpath takes links that lead to themselves.
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(real_root):
        return LINK_OUT
    if real.is_dir():
        return LINK_TO_FOLDER
    return "" if real.is_file() and real.name.endswith(SUFFIXES) else LINK_TO_NOTHING


def _entry(shown: str, path: str, stamps: Stamps) -> TreeFile:
    """A file, read where the stamps do not know what it holds."""
    try:
        known = stamps.digest(path, os.stat(path))  # noqa: PTH116  a Path per file is a tenth of a large mesh's time
        if known is not None:
            return TreeFile(shown, known, lambda: _unchanged(Path(path), known))
        with open(path, "rb") as file:  # noqa: PTH123  as above
            before = os.fstat(file.fileno())
            held = held_file(shown, file.read(MAX_FILE_BYTES + 1))
    except OSError as error:
        raise TreeError(f"cannot read {path}: {error.strerror}") from None
    stamps.note(path, before, held.state)
    return held


def _unchanged(path: Path, digest: bytes) -> bytes:
    """What a file holds; raises TreeError where that is not any more what it held when the tree was looked at."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TreeError(f"cannot read {path}: {error.strerror}") from None
    if hashlib.sha256(content).digest() != digest:
        raise TreeError(f"{path} was changed while the tree was being read; run the command again")
    return content


def _ignores(root: Path) -> Callable[[str], bool]:
    """Whether Git ignores a path below a folder, which ends in ``/`` where it is a folder; nothing is ignored outside a repository."""
    repository = find_repository(root)
    if repository is None or repository.workdir is None:
        return lambda path: False  # noqa: ARG005  the same signature
    beneath_top = root.resolve().relative_to(Path(repository.workdir).resolve()).as_posix()
    base = "" if beneath_top == "." else beneath_top
    return lambda path: repository.path_is_ignored(beneath(base, path))
