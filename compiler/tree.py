"""Where configuration comes from: the files of one tree, whichever way it is stored.

What counts as configuration is the same for a commit and for a work tree: files named ``*.yaml``, ``*.yml`` or ``*.json`` outside
hidden folders and outside the top-level folders ``tests`` (expectations of the mesh, read by other commands) and ``guardrails`` (rules
about it, which ``guardrails()`` gives). Only those files, so two checkouts of one commit give the same diagnostics wherever they stand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from compiler.diagnostic import Diagnostic

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_LINKS = 8
SUFFIXES = (".yaml", ".yml", ".json")
GUARDRAILS = "guardrails"
ASIDE = frozenset({"tests", GUARDRAILS})

LINK_OUT = "is a symbolic link out of the tree"
LINK_TO_FOLDER = "is a symbolic link to a folder, whose files would be read twice"
LINK_TO_NOTHING = "is a symbolic link to nothing that weft reads"
NOT_A_FILE = "is a pipe, a socket or a device"


class TreeError(Exception):
    """The tree itself cannot be read (no repository, no such revision, no such path); the message says which and what to do."""


class TreeFile(NamedTuple):
    """A file that need not have been read. ``state`` is the sha256 of its content; ``read`` gives that content, or raises TreeError."""

    path: str
    state: bytes
    read: Callable[[], bytes]


class Tree(Protocol):
    """A source of configuration files. ``commit`` is "" where the files are not those of a commit."""

    @property
    def digest(self) -> str:
        """What identifies the content, in hexadecimal: Git's tree hash for a commit, else ``digest_of`` over the files."""
        ...

    @property
    def commit(self) -> str:
        """The full hash of the commit, or ""."""
        ...

    def files(self) -> Iterable[tuple[str, bytes]]:
        """Paths relative to the root (``/`` between parts) with their content, sorted by path.

        Content is cut after ``MAX_FILE_BYTES + 1``, so that a reader can tell a file that is too large without holding it.
        """
        ...

    def entries(self) -> Sequence[TreeFile]:
        """The same files, of which only those are read that have to be."""
        ...

    def guardrails(self) -> Iterable[tuple[str, bytes]]:
        """The files of the top-level folder ``guardrails``, in the manner of ``files``."""
        ...

    def refusals(self) -> Iterable[Diagnostic]:
        """What was found in the place of configuration and not read: links that leave the tree, submodules."""
        ...


class MemoryTree:
    """A tree whose files are in memory."""

    commit = ""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = tuple(sorted((path, content) for path, content in files.items() if is_configuration(path)))
        self._guardrails = tuple(
            sorted((path, content) for path, content in files.items() if path.startswith(f"{GUARDRAILS}/"))
        )
        self.digest = digest_of(self._files)

    def files(self) -> Iterable[tuple[str, bytes]]:
        """The configuration files, sorted by path."""
        return self._files

    def entries(self) -> Sequence[TreeFile]:
        """The configuration files, sorted by path."""
        return [held_file(path, content) for path, content in self._files]

    def guardrails(self) -> Iterable[tuple[str, bytes]]:
        """The files below ``guardrails``, sorted by path."""
        return self._guardrails

    def refusals(self) -> Iterable[Diagnostic]:
        """Nothing: memory holds no links."""
        return ()


class JoinedTree:
    """Several trees as one, in the order of their paths; a file that is in two of them is read once."""

    commit = ""

    def __init__(self, trees: Iterable[Tree]) -> None:
        self._trees = tuple(trees)
        found = {entry.path: entry for tree in self._trees for entry in tree.entries()}
        self._entries = [found[path] for path in sorted(found)]

    @property
    def digest(self) -> str:
        """A digest over the files of all trees."""
        return digest_of_entries(self._entries)

    def files(self) -> Iterable[tuple[str, bytes]]:
        """The files of all trees, sorted by path."""
        return tuple((entry.path, entry.read()) for entry in self._entries)

    def entries(self) -> Sequence[TreeFile]:
        """The files of all trees, sorted by path."""
        return self._entries

    def guardrails(self) -> Iterable[tuple[str, bytes]]:
        """The guardrails of all trees; each holds for all of them."""
        return tuple(sorted({path: content for tree in self._trees for path, content in tree.guardrails()}.items()))

    def refusals(self) -> Iterable[Diagnostic]:
        """What any of the trees refused."""
        return tuple(dict.fromkeys(found for tree in self._trees for found in tree.refusals()))


def beneath(folder: str, path: str) -> str:
    """A path below a folder, "" being where the user stands."""
    return f"{folder}/{path}" if folder else path


def is_configuration(path: str) -> bool:
    """Whether a path relative to the tree's root names a file that weft reads."""
    folders, _, name = path.rpartition("/")
    return name.endswith(SUFFIXES) and not name.startswith(".") and (not folders or enters(folders))


def enters(folder: str) -> bool:
    """Whether files below this folder (relative to the tree's root) can be configuration."""
    parts = folder.split("/")
    return parts[0] not in ASIDE and not any(part.startswith(".") for part in parts)


def held_file(path: str, content: bytes) -> TreeFile:
    """A file whose content is in memory."""
    return TreeFile(path, hashlib.sha256(content).digest(), lambda: content)


def digest_of(files: Iterable[tuple[str, bytes]]) -> str:
    """A sha256 over paths and contents in the given order."""
    return _digest((path, hashlib.sha256(content).digest()) for path, content in files)


def digest_of_entries(entries: Iterable[TreeFile]) -> str:
    """The same where the files are not read."""
    return _digest((entry.path, entry.state) for entry in entries)


def _digest(states: Iterable[tuple[str, bytes]]) -> str:
    """Lengths go in too, so that no two lists of files collide."""
    parts = []
    for path, state in states:
        name = path.encode("utf-8", "surrogateescape")
        parts.append(b"%d %d\n%b%b" % (len(name), len(state), name, state))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def joined_digest(*parts: bytes) -> bytes:
    """A sha256 over several byte strings; their lengths go in too, so that no two lists collide."""
    return hashlib.sha256(b"".join([b"%d\n%b" % (len(part), part) for part in parts])).digest()
