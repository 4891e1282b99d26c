"""The release record: which snapshot a channel runs, from which commit. It is the one thing that TUF signs per channel."""

from __future__ import annotations

import msgspec

from snapshot.decoding import json_decoder
from snapshot.trust.failure import Reason, Untrusted


class Release(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One publication of a snapshot on a channel.

    ``version`` is the version of the TUF targets metadata that introduced it: it grows with every publication, of any channel, and is
    never given twice. ``previous`` is the version that it replaced on its channel (0 for the first). ``snapshot`` is the digest of the
    SnapshotIndex blob. ``tip`` is the commit that the next publication must descend from: the newest one published, also after a
    rollback to an older. ``restored`` is the version whose content a rollback brought back (0: none).
    ``break_glass`` says why it was signed with the key for emergencies ("" where it was not). ``time`` is in seconds since 1970.
    """

    channel: str
    commit: str
    snapshot: str
    tree: str
    compiler: str
    time: int
    version: int = 0
    previous: int = 0
    tip: str = ""
    rings: tuple[str, ...] = ()
    forced: bool = False
    restored: int = 0
    note: str = ""
    break_glass: str = ""


def encode_release(release: Release) -> bytes:
    """The canonical bytes: JSON with sorted keys and no white space."""
    return msgspec.json.encode(release, order="deterministic")


def decode_release(raw: bytes) -> Release:
    """Reads a release record; raises Untrusted (``undecodable``). Fields of newer versions are ignored."""
    try:
        return json_decoder(Release).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Untrusted(Reason.UNDECODABLE, f"the release record does not read: {error}") from None
