"""A new mesh repository: every file of ``template/``, filled in for one mesh and written where nothing of that name is.

The templates are ordinary files with three words between ``@`` signs to fill in. Names that would be hidden are stored without their
dot, so that they are seen here and travel in a wheel; ``_PLACES`` says where they go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pygit2

from snapshot.store import not_written
from weft.starter.origin import Origin

_TEMPLATE = Path(__file__).with_name("template")
_PLACES = {
    "ci/github.yaml": ".github/workflows/mesh.yaml",
    "ci/gitlab.yaml": ".gitlab-ci.yml",
    "ci/pre-commit.yaml": ".pre-commit-config.yaml",
    "ci/gitignore": ".gitignore",
    # The users' program, and none of weft's that its own checks would judge.
    "apps/hello.py.txt": "apps/hello.py",
}
_TRUST_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class StarterError(Exception):
    """Nothing was written; the message says why and what to do."""


class Starter:
    """The files of a new repository, by their path in it. Raises StarterError for a trust domain that SPIFFE would not take."""

    def __init__(self, *, trust_domain: str, origin: Origin) -> None:
        if not _TRUST_DOMAIN.fullmatch(trust_domain):
            raise StarterError(
                f"{trust_domain!r} is no trust domain; take a name in small letters such as mesh.example.org"
            )
        words = {
            "TRUST_DOMAIN": trust_domain,
            "WEFT_URL": origin.url,
            "WEFT_SLUG": origin.slug,
            "WEFT_REVISION": origin.revision,
        }
        self.files: Mapping[str, str] = {
            _PLACES.get(name, name): _fill(path.read_text(encoding="utf-8"), words) for name, path in _templates()
        }

    def write(self, folder: Path) -> None:
        """Writes every file, making ``folder`` where it is not there. Raises StarterError, before anything is written, if one exists."""
        taken = sorted(name for name in self.files if _exists(folder / name))
        if taken:
            more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
            raise StarterError(
                f"{folder / taken[0]}{more} would be overwritten; nothing was written. Give a folder that is new or empty"
            )
        for name, text in self.files.items():
            path = folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                # "x" refuses a file that somebody made since we looked.
                with path.open("x", encoding="utf-8") as file:
                    file.write(text)
            except OSError as error:
                raise StarterError(f"cannot write {path}: {not_written(error)}") from None


def start_history(folder: Path) -> bool:
    """Makes ``folder`` a Git repository on branch main, unless it is in one already; says whether it did."""
    if pygit2.discover_repository(str(folder)):
        return False
    pygit2.init_repository(str(folder), initial_head="main")
    return True


def _templates() -> list[tuple[str, Path]]:
    found = (path for path in _TEMPLATE.rglob("*") if path.is_file())
    return sorted((path.relative_to(_TEMPLATE).as_posix(), path) for path in found)


def _fill(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"@([A-Z_]+)@", lambda found: words[found[1]], text)


def _exists(path: Path) -> bool:
    # A broken link is something too, and writing through it would land elsewhere.
    return path.exists() or path.is_symlink()
