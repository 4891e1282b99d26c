"""Which commit comes after which, so that a CI job that finishes late cannot put back an older mesh."""

from __future__ import annotations

from pathlib import Path

import pygit2


class NotDescended(Exception):  # noqa: N818  the word says it
    """A commit does not come after the published one, or the repository cannot tell; the message says what to do."""


def require_descendant(repository: Path, commit: str, tip: str) -> None:
    """Raises NotDescended unless ``commit`` is ``tip`` or one of its descendants in the repository at ``repository``."""
    if commit == tip:
        return
    found = pygit2.discover_repository(str(repository))
    assert found is not None, "the commit was read from this repository"
    git = pygit2.Repository(found)
    try:
        descends = tip in git and git.descendant_of(commit, tip)
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise NotDescended(
            f"the history between {tip[:12]} and {commit[:12]} cannot be read: {error}. {_FETCH}"
        ) from None
    if descends:
        return
    if tip not in git:
        raise NotDescended(f"commit {tip[:12]}, which is published, is not in this repository. {_FETCH}")
    raise NotDescended(
        f"commit {commit[:12]} does not descend from {tip[:12]}, which is published: a newer commit came first, or history was rewritten. "
        "Publish a descendant, use `weft rollback` to go back, or give --force"
    )


_FETCH = "Fetch the whole history (a shallow clone lacks it: `git fetch --unshallow`), or give --force"
