"""Publishing: a new release becomes the store's truth at one moment, the replacement of timestamp.json, or not at all.

Everything before that moment is new files under new names, which no reader looks at; so a publisher that dies between any two writes
leaves the old release valid, and its left-over files are skipped by number. Two publishers race for the same moment: the
compare-and-swap on timestamp.json lets one win, and the other gets Conflict without having changed what readers see.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

import msgspec
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from snapshot.blobs import put_blob
from snapshot.encode import encode
from snapshot.index import Snapshot as MeshSnapshot
from snapshot.store import Conflict, NotFound, Store
from snapshot.trust.chain import Chain, release_target, verify_chain, verify_release, verify_targets
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.keys import SigningKeys
from snapshot.trust.layout import LIFETIMES, MAX_BYTES, TIMESTAMP, metadata_name, release_name, target_path
from snapshot.trust.release import Release, encode_release
from snapshot.trust.source import read_from

MAX_LEFT_OVERS = 1_000
"""How many files of publishers that died are skipped in search of a free version."""

_PARALLEL_WRITES = 8

T = TypeVar("T", Timestamp, Snapshot, Targets)
Versioned = TypeVar("Versioned", Snapshot, Targets)


class Published(msgspec.Struct, frozen=True):
    """What a store says now, verified but perhaps expired: the base that the next publication replaces.

    ``version`` is the store's version token of timestamp.json. ``release`` is the channel's, None where it has none yet.
    """

    chain: Chain
    version: str
    release: Release | None


class Renewed(msgspec.Struct, frozen=True):
    """Until when the two online roles' signatures hold now."""

    timestamp_until: datetime
    snapshot_until: datetime


def read_published(store: Store, pinned_root: bytes, channel: str) -> Published | None:
    """What the store says, or None where nothing was ever published. Raises Untrusted and StoreError."""
    try:
        found = store.read_unless(TIMESTAMP, "", max_bytes=MAX_BYTES["timestamp"])
    except NotFound:
        return None
    assert found is not None
    read = read_from(store)
    chain = verify_chain(pinned_root, lambda name: found.content if name == TIMESTAMP else read(name))
    release = None
    if release_target(chain.targets, channel) is not None:
        release, _ = verify_release(chain.targets, channel, read)
    return Published(chain, found.version, release)


def read_release(store: Store, published: Published, channel: str, version: int) -> Release:
    """An earlier release of a channel, from the history that consistent snapshots keep; raises Untrusted and StoreError."""
    name = metadata_name("targets", version)
    read = read_from(store)
    raw = read(name)
    if raw is None:
        raise Untrusted(Reason.MISSING, f"the store has no version {version}")
    release, _ = verify_release(_targets_of_history(published.chain, raw, name), channel, read)
    if release.version != version:
        raise Untrusted(Reason.MISSING, f"version {version} is not a release of the channel {channel!r}")
    return release


def _targets_of_history(chain: Chain, raw: bytes, name: str) -> Targets:
    """Targets of an earlier version; a revoked key's word is refused, for whoever stole the key can have written it since."""
    try:
        return verify_targets(chain.root, raw, name)
    except Untrusted as error:
        if error.reason is not Reason.WRONG_SIGNATURE or len(chain.roots) == 1:
            raise
        raise Untrusted(
            error.reason,
            f"{error}. If that release came before a key rotation, its content can be published again from its commit: "
            "weft publish --rev COMMIT --force",
        ) from None


def publish(
    store: Store,
    keys: SigningKeys,
    draft: Release,
    snapshot: MeshSnapshot,
    *,
    published: Published | None,
    now: datetime,
) -> Release:
    """Makes ``snapshot`` the content of ``draft.channel`` and returns the release as signed, its versions filled in.

    ``published`` is what the caller read, and judged, as the base; raises Conflict where the store has moved on since, StoreError where
    it cannot be written. Blobs come first, timestamp.json last.
    """
    assert draft.snapshot == snapshot.digest, "a release names the snapshot that it publishes"
    blobs = {**snapshot.blobs, snapshot.digest: encode(snapshot.index)}
    with ThreadPoolExecutor(_PARALLEL_WRITES) as pool:
        # A write waits for the disk, or for a server, most of its time; going through the results raises the first failure.
        for _ in pool.map(lambda name: put_blob(store, name, blobs[name]), blobs):
            pass
    return publish_release(store, keys, draft, published=published, now=now)


def publish_release(
    store: Store, keys: SigningKeys, draft: Release, *, published: Published | None, now: datetime
) -> Release:
    """As ``publish``, for a snapshot whose blobs the store has already (a rollback)."""
    now = now.replace(microsecond=0)
    if published is None:
        root = Metadata[Root].from_bytes(keys.root).signed
        store.put(metadata_name("root", root.version), keys.root)
    base = published.chain if published else None
    version = _free_version(store, "targets", base.targets.version if base else 0)
    previous = published.release.version if published and published.release else 0
    release = msgspec.structs.replace(draft, version=version, previous=previous)
    raw = encode_release(release)
    target = TargetFile.from_data(target_path(release.channel), raw, ["sha256"])
    store.put(release_name(release.channel, target.hashes["sha256"]), raw)
    entries = {**(base.targets.targets if base else {}), target.path: target}
    targets = Targets(version=version, expires=now + LIFETIMES["targets"], targets=entries)
    targets_meta = _put(store, targets, keys, base)
    snapshot_meta, _ = _put_snapshot(store, keys, base, targets_meta, now)
    _replace_timestamp(store, keys, base, snapshot_meta, now, expected=published.version if published else None)
    return release


def sign_timestamp(store: Store, keys: SigningKeys, *, now: datetime) -> Renewed:
    """Renews timestamp.json, and the snapshot metadata when less than half of its life is left; changes no release.

    Needs the keys of the two online roles only. Raises NotFound where nothing is published yet, Conflict where a publisher came first (which
    renewed both, so nothing is lost), Untrusted where what the store holds is not authentic: that is never signed over.
    """
    now = now.replace(microsecond=0)
    published = read_published(store, keys.root, channel="")
    if published is None:
        raise NotFound("nothing is published in the store yet, so there is nothing to keep fresh")
    chain = published.chain
    meta, until = chain.timestamp.snapshot_meta, chain.snapshot.expires
    if until - now < LIFETIMES["snapshot"] / 2:
        meta, until = _put_snapshot(store, keys, chain, chain.snapshot.meta["targets.json"], now)
    timestamp_until = _replace_timestamp(store, keys, chain, meta, now, expected=published.version)
    return Renewed(timestamp_until, until)


def sign_again(store: Store, keys: SigningKeys, role: str, *, published: Published, now: datetime) -> None:
    """Signs what is published with the keys at hand, from ``role`` up to timestamp.json, under new versions; changes no release.

    For a role whose key has changed. ``published`` is read after the root that lists the new key is in the store. Raises Conflict, StoreError.
    """
    now = now.replace(microsecond=0)
    base = published.chain
    targets_meta = base.snapshot.meta["targets.json"]
    if role == "targets":
        version = _free_version(store, "targets", base.targets.version)
        targets = Targets(version=version, expires=now + LIFETIMES["targets"], targets=base.targets.targets)
        targets_meta = _put(store, targets, keys, base)
    snapshot_meta = base.timestamp.snapshot_meta
    if role in ("targets", "snapshot"):
        snapshot_meta, _ = _put_snapshot(store, keys, base, targets_meta, now)
    _replace_timestamp(store, keys, base, snapshot_meta, now, expected=published.version)


def _put_snapshot(
    store: Store, keys: SigningKeys, base: Chain | None, targets: MetaFile, now: datetime
) -> tuple[MetaFile, datetime]:
    version = _free_version(store, "snapshot", base.snapshot.version if base else 0)
    until = now + LIFETIMES["snapshot"]
    return _put(store, Snapshot(version=version, expires=until, meta={"targets.json": targets}), keys, base), until


def _replace_timestamp(
    store: Store, keys: SigningKeys, base: Chain | None, snapshot: MetaFile, now: datetime, *, expected: str | None
) -> datetime:
    until = now + LIFETIMES["timestamp"]
    version = base.timestamp.version + 1 if base else 1
    timestamp = Timestamp(version=version, expires=until, snapshot_meta=snapshot)
    store.replace(TIMESTAMP, _signed(timestamp, keys, base), expected=expected)
    return until


def _put(store: Store, signed: Versioned, keys: SigningKeys, base: Chain | None) -> MetaFile:
    raw = _signed(signed, keys, base)
    store.put(metadata_name(signed.type, signed.version), raw)
    return MetaFile.from_data(signed.version, raw, ["sha256"])


def _signed(signed: T, keys: SigningKeys, base: Chain | None) -> bytes:
    """The signed bytes; raises Untrusted where no reader would believe them, because the store's newest root has other keys."""
    metadata = Metadata(signed)
    for signer in keys.signers[signed.type]:
        metadata.sign(signer, append=True)
    # A threshold that these keys cannot reach alone is the operator's business; a key that was rotated away is a mistake.
    root = base.root if base else Metadata[Root].from_bytes(keys.root).signed
    if not root.get_verification_result(signed.type, metadata.signed_bytes, metadata.signatures).signed:
        raise Untrusted(
            Reason.WRONG_SIGNATURE,
            f"the {signed.type} key in {keys.folder} was rotated: version {root.version} of the root does not list it. "
            "Take the new key and the new root.json",
        )
    return metadata.to_bytes()


def _free_version(store: Store, role: str, taken: int) -> int:
    for version in range(taken + 1, taken + MAX_LEFT_OVERS):
        if not store.contains(metadata_name(role, version)):
            return version
    raise Conflict(
        f"the store holds {MAX_LEFT_OVERS} unfinished publications: remove those above {metadata_name(role, taken)}"
    )
