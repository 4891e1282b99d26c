"""Where a user's CI gets weft from: the Git repository and revision that this weft was installed from, as far as pip wrote it down."""

from __future__ import annotations

import importlib.metadata
from urllib.parse import urlsplit

import msgspec

UNKNOWN_URL = "https://github.com/YOUR-ORGANISATION/weft"
"""Stands in a new repository's files until somebody replaces it; no such organisation exists."""


class Origin(msgspec.Struct, frozen=True):
    """A Git URL of weft, and the tag or commit of it that CI pins. ``known`` is False where the URL is the one to replace."""

    url: str
    revision: str
    known: bool = True

    @property
    def slug(self) -> str:
        """``OWNER/NAME``, as GitHub's ``uses:`` wants it: the last two parts of the URL's path."""
        parts = urlsplit(self.url).path.removesuffix(".git").strip("/").split("/")
        return "/".join(parts[-2:])


class _Vcs(msgspec.Struct):
    commit_id: str


class _DirectUrl(msgspec.Struct):
    """PEP 610: what pip was told to install; ``vcs_info`` only where that was a repository."""

    url: str
    vcs_info: _Vcs | None = None


def release_tag() -> str:
    """The tag that the release of this weft bears."""
    return f"v{importlib.metadata.version('weft')}"


def installed_origin() -> Origin:
    """The origin of the weft that runs, from PEP 610's direct_url.json; the unknown one where it came from no Git URL."""
    installed = importlib.metadata.distribution("weft")
    return origin_of(installed.read_text("direct_url.json"))


def origin_of(direct_url: str | None) -> Origin:
    """What such a file says; a file that is absent or damaged says nothing."""
    try:
        told = msgspec.json.decode(direct_url or "", type=_DirectUrl)
    except (msgspec.DecodeError, msgspec.ValidationError):
        told = _DirectUrl("")
    if told.vcs_info is None or not told.url.startswith("https://"):
        return Origin(UNKNOWN_URL, release_tag(), known=False)
    return Origin(told.url, told.vcs_info.commit_id)
