"""The files of one commit, straight from Git's object store: no check-out, no work tree, nothing that is not committed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

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
    SUFFIXES,
    TreeError,
    TreeFile,
    beneath,
    enters,
    is_configuration,
)


class CommitTree:
    """The configuration files of a commit, or of one folder of it where ``path`` is below the repository's top.

    ``rev`` is anything that ``git rev-parse`` understands; ``shown_as`` goes before the paths ("" for none). With ``stamps``, blobs that
    they know are not read.
    Raises TreeError for no repository, no such revision, no such folder.
    """

    def __init__(self, path: Path, rev: str = "HEAD", *, shown_as: str = "", stamps: Stamps | None = None) -> None:
        repository = _open(path)
        commit = _commit(repository, rev, path)
        self.commit = str(commit.id)
        self._tree = _subtree(commit.tree, _folder_of(repository, path), rev)
        self.digest = str(self._tree.id)
        self._shown_as = shown_as
        self._stamps = stamps or Stamps()

    def files(self) -> Iterable[tuple[str, bytes]]:
        """The configuration files, sorted by path."""
        return tuple((entry.path, entry.read()) for entry in self._found[0])

    def entries(self) -> Sequence[TreeFile]:
        """The configuration files, sorted by path."""
        return self._found[0]

    def guardrails(self) -> Iterable[tuple[str, bytes]]:
        """The files of the top-level folder ``guardrails``, sorted by path."""
        return tuple((entry.path, entry.read()) for entry in self._found_guardrails[0])

    def refusals(self) -> Iterable[Diagnostic]:
        """Links that leave the tree or name a folder, and submodules."""
        return (*self._found[1], *self._found_guardrails[1])

    @cached_property
    def _found(self) -> tuple[list[TreeFile], tuple[Diagnostic, ...]]:
        return _collect(self._tree, self._shown_as, self._stamps)

    @cached_property
    def _found_guardrails(self) -> tuple[list[TreeFile], tuple[Diagnostic, ...]]:
        folder = self._tree[GUARDRAILS] if GUARDRAILS in self._tree else None  # noqa: SIM401  a pygit2.Tree has no get
        if not isinstance(folder, pygit2.Tree):
            return [], ()
        return _collect(folder, beneath(self._shown_as, GUARDRAILS), self._stamps)


def _collect(top: pygit2.Tree, shown_as: str, stamps: Stamps) -> tuple[list[TreeFile], tuple[Diagnostic, ...]]:
    """The configuration files below a folder, and what stands in the place of some."""
    files: list[TreeFile] = []
    refused: list[Diagnostic] = []
    for path, entry in _walk(top):
        shown = beneath(shown_as, path)
        at = Span(shown, 1, 1, 1, 1)
        if entry.filemode == FileMode.COMMIT:
            refused.append(diagnostic("WFT0008", f"{shown} is a submodule, which weft does not read", at))
            continue
        blob = _follow(top, path, entry) if entry.filemode == FileMode.LINK else entry
        if isinstance(blob, str):
            refused.append(diagnostic("WFT0007", f"{shown} {blob}", at))
        else:
            assert isinstance(blob, pygit2.Blob)
            content = partial(_content, blob)
            files.append(TreeFile(shown, stamps.of_blob(blob.id.raw, content), content))
    return sorted(files, key=lambda file: file.path), tuple(refused)


def _content(blob: pygit2.Blob) -> bytes:
    return blob.data[: MAX_FILE_BYTES + 1]


def _walk(top: pygit2.Tree) -> Iterator[tuple[str, pygit2.Object]]:
    """Configuration files, links in their place, and submodules."""
    folders = [("", top)]
    while folders:
        prefix, tree = folders.pop()
        for entry in tree:
            path = f"{prefix}{entry.name}"
            if isinstance(entry, pygit2.Tree):
                if enters(path):
                    folders.append((f"{path}/", entry))
            elif (enters(path) if entry.filemode == FileMode.COMMIT else is_configuration(path)) or (
                entry.filemode == FileMode.LINK and enters(path) and _leads_to_folder(top, path, entry)
            ):
                yield path, entry


def _leads_to_folder(top: pygit2.Tree, path: str, link: pygit2.Object) -> bool:
    return _follow(top, path, link) == LINK_TO_FOLDER


def _follow(top: pygit2.Tree, path: str, link: pygit2.Object) -> pygit2.Object | str:
    """The blob that a link leads to inside the tree, or why it leads to none."""
    entry, here = link, path
    for _ in range(MAX_LINKS):
        assert isinstance(entry, pygit2.Blob)
        target = entry.data.decode("utf-8", "surrogateescape")
        here = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        if here.startswith(("/", "../")) or here == "..":
            return LINK_OUT
        if here == ".":
            return LINK_TO_FOLDER
        try:
            entry = top[here]
        except KeyError:
            return LINK_TO_NOTHING
        if isinstance(entry, pygit2.Tree):
            return LINK_TO_FOLDER
        if entry.filemode != FileMode.LINK:
            return entry if isinstance(entry, pygit2.Blob) and here.endswith(SUFFIXES) else LINK_TO_NOTHING
    return LINK_TO_NOTHING


def _open(path: Path) -> pygit2.Repository:
    # The folder may be gone from the work tree and still be in the commit.
    standing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    repository = find_repository(standing)
    if repository is None:
        raise TreeError(f"{path} is not in a Git repository; run `git init` there, or give the path of one")
    return repository


def _commit(repository: pygit2.Repository, rev: str, path: Path) -> pygit2.Commit:
    if rev == "HEAD" and repository.head_is_unborn:
        raise TreeError(f"the repository at {path} has no commit yet; commit the configuration first")
    try:
        commit = repository.revparse_single(rev).peel(pygit2.Commit)
    except (KeyError, ValueError, pygit2.GitError):
        raise TreeError(f"`{rev}` names no commit of the repository at {path}; see `git log --oneline`") from None
    return commit


def _folder_of(repository: pygit2.Repository, path: Path) -> str:
    """Where a path stands in its repository, "" for the top (and for a bare repository)."""
    if repository.workdir is None:
        return ""
    relative = path.resolve().relative_to(Path(repository.workdir).resolve()).as_posix()
    return "" if relative == "." else relative


def _subtree(top: pygit2.Tree, folder: str, rev: str) -> pygit2.Tree:
    if not folder:
        return top
    try:
        tree = top[folder]
    except KeyError:
        raise TreeError(f"the commit {rev} has no folder {folder}; commit it first, or give another path") from None
    if not isinstance(tree, pygit2.Tree):
        raise TreeError(f"{folder} is not a folder in the commit {rev}; give the folder that it is in")
    return tree
