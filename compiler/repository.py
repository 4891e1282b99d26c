"""Opening a Git repository, and saying what stands in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pygit2

from compiler.tree import TreeError


def find_repository(path: Path) -> pygit2.Repository | None:
    """The repository that a path is in, or None. Raises TreeError where there is one that Git refuses to open, for example because of its owner."""
    if not path.exists():
        return None
    try:
        found = pygit2.discover_repository(str(path))
        return None if found is None else pygit2.Repository(found)
    except pygit2.GitError as error:
        raise TreeError(f"Git does not open the repository of {path}: {error}. See `git -C {path} status`") from None


def cache_folder(path: Path) -> Path:
    """Where what is known of a path is kept: below its repository's own folder, else the user's cache."""
    repository = find_repository(path)
    if repository is not None:
        return Path(repository.path) / "weft"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(home) / "weft"
