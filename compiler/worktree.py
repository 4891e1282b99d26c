"""A folder's files as they are now, committed or not: what ``git add --all`` would commit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Span
from compiler.repository import find_repository
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
    beneath,
    digest_of,
    enters,
    is_configuration,
)


class _Ignores(Protocol):
    def __call__(self, folder: Path, entry: os.DirEntry[str], /) -> bool: ...


class WorkTree:
    """The configuration files below a folder, or one file. Read once, when first asked for; what Git ignores is not configuration.

    ``shown_as`` goes before the paths ("" for none), so that positions are clickable where the user stands.
    """

    commit = ""

    def __init__(self, root: Path, *, shown_as: str = "") -> None:
        if not root.exists():
            raise TreeError(f"{root} does not exist; give a folder or a file of mesh YAML")
        self._root = root
        self._shown_as = shown_as

    @cached_property
    def digest(self) -> str:
        """A sha256 over the paths and contents of the files."""
        return digest_of(self.files())

    def files(self) -> Iterable[tuple[str, bytes]]:
        """The configuration files, sorted by path; raises TreeError for one that cannot be read."""
        return self._read[0]

    def guardrails(self) -> Iterable[tuple[str, bytes]]:
        """The files of the top-level folder ``guardrails``, sorted by path; raises TreeError for one that cannot be read."""
        return self._read_guardrails[0]

    def refusals(self) -> Iterable[Diagnostic]:
        """Links that leave the tree or name a folder, and submodules."""
        return (*self._read[1], *self._read_guardrails[1])

    @cached_property
    def _read(self) -> tuple[tuple[tuple[str, bytes], ...], tuple[Diagnostic, ...]]:
        if self._root.is_file():
            return ((self._shown_as or self._root.name, _content(self._root)),), ()
        return _collect(self._root, self._shown_as)

    @cached_property
    def _read_guardrails(self) -> tuple[tuple[tuple[str, bytes], ...], tuple[Diagnostic, ...]]:
        folder = self._root / GUARDRAILS
        if not folder.is_dir() or folder.is_symlink():
            return (), ()
        return _collect(folder, beneath(self._shown_as, GUARDRAILS))


def _collect(root: Path, shown_as: str) -> tuple[tuple[tuple[str, bytes], ...], tuple[Diagnostic, ...]]:
    """The configuration files below a folder, and what stands in the place of some."""
    files: list[tuple[str, bytes]] = []
    refused: list[Diagnostic] = []
    real_root = root.resolve()
    for relative, entry in _walk(root, _ignores(root)):
        shown, path = beneath(shown_as, relative), Path(entry.path)
        at = Span(shown, 1, 1, 1, 1)
        if entry.is_dir(follow_symlinks=False):
            refused.append(diagnostic("WFT0008", f"{shown} is a submodule, which weft does not read", at))
        elif problem := _problem(entry, path, real_root):
            refused.append(diagnostic("WFT0007", f"{shown} {problem}", at))
        else:
            files.append((shown, _content(path)))
    return tuple(sorted(files)), tuple(refused)


def _walk(root: Path, ignored: _Ignores) -> Iterator[tuple[str, os.DirEntry[str]]]:
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
            if not (enters(relative) if _is_folder(entry) else is_configuration(relative)) or ignored(
                root / prefix, entry
            ):
                continue
            if entry.is_dir(follow_symlinks=False) and not Path(entry.path, ".git").exists():
                folders.append(f"{relative}/")
            else:
                yield relative, entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is none."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir())


def _problem(entry: os.DirEntry[str], path: Path, real_root: Path) -> str:
    """Why an entry of a folder inside the tree may not be read, or "" where it may: a file that is no link is where it seems to be."""
    if entry.is_file(follow_symlinks=False):
        return ""
    return _link_problem(path, real_root) if entry.is_symlink() else NOT_A_FILE


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


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TreeError(f"cannot read {path}: {error.strerror}") from None


def _ignores(root: Path) -> _Ignores:
    """Whether Git ignores a path; nothing is ignored outside a repository."""
    repository = find_repository(root)
    if repository is None or repository.workdir is None:
        return lambda folder, entry: False  # noqa: ARG005  the same signature
    top = Path(repository.workdir).resolve()

    @cache
    def beneath_top(folder: Path) -> str:
        relative = folder.resolve().relative_to(top).as_posix()
        return "" if relative == "." else relative

    def ignored(folder: Path, entry: os.DirEntry[str]) -> bool:
        return repository.path_is_ignored(
            f"{beneath(beneath_top(folder), entry.name)}{'/' if _is_folder(entry) else ''}"
        )

    return ignored
