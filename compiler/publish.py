"""From a compiled commit to a published release: what is refused, what the release says, and going back.

refuse errors -> read what the store says -> refuse a commit that does not come after it -> blobs, targets, snapshot, timestamp
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from compiler.diagnostic import Diagnostic, Severity
from compiler.lineage import require_descendant
from snapshot.blobs import read_blob
from snapshot.encode import FormatError, decode
from snapshot.index import SliceIndex, SlicePart, Snapshot, SnapshotIndex, slice_blobs
from snapshot.store import NotFound, Store, TooLarge
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.keys import SigningKeys
from snapshot.trust.publisher import Published, publish, publish_release, read_published, read_release
from snapshot.trust.release import Release

NOT_CARRIED_YET = "WFT02"
"""The start of the codes that say "a schema accepts this and this version does not carry it": a warning in check, an error here."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one publication. ``repository`` holds ``commit`` and the history that is judged; ``force`` skips that judgement.

    ``break_glass`` is the reason for signing with the key for emergencies, "" where that is not done.
    """

    repository: Path
    commit: str
    channel: str = "stable"
    force: bool = False
    note: str = ""
    break_glass: str = ""


def blocking(diagnostics: Iterable[Diagnostic], *, allow_partial: bool) -> list[Diagnostic]:
    """The diagnostics that forbid publishing: errors, and what is not carried yet. ``allow_partial`` lets both pass, for what is
    invalid was compiled to an explicit refusal."""
    if allow_partial:
        return []
    return [
        found for found in diagnostics if found.severity is Severity.ERROR or found.code.startswith(NOT_CARRIED_YET)
    ]


def publish_commit(
    asked: Publication, snapshot: Snapshot, store: Store, keys: SigningKeys, *, now: datetime
) -> Release:
    """Publishes the snapshot of a commit and returns the release.

    Raises NotDescended (lineage), Conflict where another publisher came first, Untrusted where the store is not one of these keys, and
    StoreError. Whatever is raised, readers of the store see what they saw before.
    """
    published = read_published(store, keys.root, asked.channel)
    if published and published.release and not asked.force:
        require_descendant(asked.repository, asked.commit, published.release.tip)
    draft = Release(
        channel=asked.channel,
        commit=asked.commit,
        tip=asked.commit,
        snapshot=snapshot.digest,
        tree=snapshot.index.tree,
        compiler=importlib.metadata.version("weft"),
        time=int(now.timestamp()),
        forced=asked.force,
        note=asked.note,
        break_glass=asked.break_glass,
    )
    return publish(store, keys, draft, snapshot, published=published, now=now)


def roll_back(
    store: Store, keys: SigningKeys, *, channel: str, version: int | None, note: str, now: datetime
) -> Release:
    """Publishes an earlier release's content as a new version; None takes the release before the current one.

    The next commit to be published must still descend from the newest one (``tip``), so a late job cannot undo the rollback. Raises
    Untrusted where there is no such release or its content is gone, Conflict, StoreError.
    """
    published = read_published(store, keys.root, channel)
    current = require_release(published, channel)
    assert published is not None, "it has a release"
    wanted = current.previous if version is None else version
    if wanted == 0:
        raise Untrusted(
            Reason.MISSING,
            f"version {current.version} is the first of the channel {channel!r}: there is none before it",
        )
    earlier = read_release(store, published, channel, wanted)
    require_content(store, earlier.snapshot)
    draft = msgspec.structs.replace(
        earlier,
        tip=current.tip,
        restored=earlier.version,
        forced=False,
        note=note,
        break_glass="",
        time=int(now.timestamp()),
    )
    return publish_release(store, keys, draft, published=published, now=now)


def require_content(store: Store, snapshot: str) -> None:
    """Raises Untrusted unless the store holds every blob of a snapshot with the bytes that its name says; each is read once."""
    try:
        index = decode(read_blob(store, snapshot), SnapshotIndex)
        names: dict[str, None] = {}
        parts: dict[str, None] = {}
        for entry in index.slices:
            pinned = decode(read_blob(store, entry.index), SliceIndex)
            parts.update(dict.fromkeys(part.digest for part in pinned.parts))
            names.update(dict.fromkeys(slice_blobs(pinned)))
        for name in parts:
            names.update(dict.fromkeys(slice_blobs(SliceIndex(decode(read_blob(store, name), SlicePart).sections))))
        for name in names:
            read_blob(store, name)
    except NotFound as error:
        raise Untrusted(Reason.MISSING, f"a part of snapshot {snapshot[:12]} is gone from the store: {error}") from None
    except FormatError as error:
        raise Untrusted(Reason(error.reason), f"snapshot {snapshot[:12]}: {error}") from None
    except TooLarge as error:
        raise Untrusted(Reason.TOO_LARGE, f"snapshot {snapshot[:12]}: {error}") from None


def require_release(published: Published | None, channel: str) -> Release:
    """The channel's current release; raises NotFound where nothing was ever published on it."""
    if published is None or published.release is None:
        raise NotFound(
            f"nothing is published on the channel {channel!r} of this store: look at --store and --channel, or run `weft publish` first"
        )
    return published.release
