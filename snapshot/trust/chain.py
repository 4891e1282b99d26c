"""Verifies a root of trust down to a release, from any source of files, without the network, and accepting expiry.

python-tuf's Updater (``client.py``) is what a proxy fetches with: it remembers and refuses what has expired. This verifier answers the other
question, "is this authentic?": a proxy's cold start from its own disk, a publisher that is about to renew an expired
timestamp, and ``weft verify``. It never accepts a wrong signature, too few of them, a mixture of versions, or other bytes than
are pinned; expiry it reports (``Chain.expires``) and leaves to the caller. It cannot see a rollback by itself, having no memory.

    pinned root -> newer roots, each signed by the one before -> timestamp -> snapshot -> targets -> release record
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import msgspec
from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.layout import (
    MAX_RELEASE_BYTES,
    MAX_ROOT_ROTATIONS,
    TIMESTAMP,
    metadata_name,
    release_name,
    target_path,
)
from snapshot.trust.release import Release, decode_release

Read = Callable[[str], bytes | None]
"""Reads a file by its name in the store; None where there is none. May raise Untrusted and StoreError."""

PINNED = "the pinned root"

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


class Chain(msgspec.Struct, frozen=True):
    """Verified metadata of the four roles, and the bytes of every file that it took beyond the pinned root, by name in the store.

    ``roots`` are all roots from the pinned one to ``root``, the newest.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    files: dict[str, bytes]
    roots: tuple[Root, ...]

    @property
    def expires(self) -> dict[str, datetime]:
        """When each role's signature runs out."""
        return {role.type: role.expires for role in (self.root, self.targets, self.snapshot, self.timestamp)}

    @property
    def fresh_until(self) -> datetime:
        """When the first of the four runs out; after that the store is authentic, but may be frozen."""
        return min(self.expires.values())


class KnownRoots:
    """Owns the roots that verified before, each by its bytes and those of the root that vouches for it, so that who follows a store
    verifies a root once and not for every release. Other bytes in either place are another root. Not for several threads at once."""

    def __init__(self) -> None:
        self._verified: dict[tuple[bytes, bytes], Metadata[Root]] = {}

    def get(self, before: bytes, raw: bytes) -> Metadata[Root] | None:
        """The root of those bytes where it verified as the successor of ``before`` (b"": as the pinned one)."""
        return self._verified.get((before, raw))

    def add(self, before: bytes, raw: bytes, root: Metadata[Root]) -> None:
        """Remembers a root that has just verified; more than a store may have roots are never held."""
        if len(self._verified) > MAX_ROOT_ROTATIONS:
            self._verified.clear()
        self._verified[before, raw] = root


def verify_chain(pinned_root: bytes, read: Read, known: KnownRoots | None = None) -> Chain:
    """Verifies from the pinned root to targets; raises Untrusted for what is not authentic and passes on what ``read`` raises.

    Roots that are ``known`` are not verified again; those that verify now are added."""
    files: dict[str, bytes] = {}
    roots = _follow_roots(pinned_root, read, files, known or KnownRoots())
    root = roots[-1].signed
    timestamp = _verified(root, Timestamp, _require(read, TIMESTAMP, files), TIMESTAMP)
    snapshot = _pinned(root, Snapshot, timestamp.snapshot_meta, read, files)
    targets_meta = snapshot.meta.get("targets.json")
    if targets_meta is None:
        raise Untrusted(Reason.UNDECODABLE, "the snapshot metadata does not list targets.json")
    targets = _pinned(root, Targets, targets_meta, read, files)
    return Chain(
        root=root,
        timestamp=timestamp,
        snapshot=snapshot,
        targets=targets,
        files=files,
        roots=tuple(one.signed for one in roots),
    )


def newest_root(pinned_root: bytes, read: Read) -> Metadata[Root]:
    """The newest root that the pinned one leads to, with its signatures; raises Untrusted. Needs nothing else to be published."""
    return _follow_roots(pinned_root, read, {}, KnownRoots())[-1]


def earlier_roots(root: Root, read: Read) -> tuple[Root, ...]:
    """The roots before ``root``, oldest first, so that who pins a newer one can read what older keys signed.

    Each carries enough signatures by the root keys of the one after it; where the root key itself was changed, or a file is gone, they end.
    What they list is of the past: nothing that is to be run may be verified by them. Raises only what ``read`` raises.
    """
    found: list[Root] = []
    for version in range(root.version - 1, max(0, root.version - 1 - MAX_ROOT_ROTATIONS), -1):
        name = metadata_name("root", version)
        raw = read(name)
        if raw is None:
            break
        try:
            older = _load(Root, raw, name, Reason.UNKNOWN_ROOT)
            _require_signed(root, older, name)
        except Untrusted:
            break
        if older.signed.version != version:
            break
        root = older.signed
        found.append(root)
    return tuple(reversed(found))


def verified_signers(root: Root, raw: bytes, name: str) -> tuple[str, ...]:
    """The ids of the targets keys whose signatures on one version of targets hold under a root; raises Untrusted as ``verify_targets``."""
    metadata = _load(Targets, raw, name, Reason.UNDECODABLE)
    _require_signed(root, metadata, name)
    return tuple(root.get_verification_result("targets", metadata.signed_bytes, metadata.signatures).signed)


def verify_targets(root: Root, raw: bytes, name: str) -> Targets:
    """Verifies one version of targets by itself, for history; raises Untrusted."""
    return _verified(root, Targets, raw, name)


def release_target(targets: Targets, channel: str) -> TargetFile | None:
    """What targets pins for a channel, or None where it has no release."""
    return targets.targets.get(target_path(channel))


def release_file(target: TargetFile, channel: str) -> str:
    """The name in the store of the release record that ``target`` pins; raises Untrusted where it is not pinned by sha256."""
    sha256 = target.hashes.get("sha256")
    if sha256 is None:
        raise Untrusted(Reason.UNDECODABLE, f"{channel}: the release is not pinned by its sha256")
    return release_name(channel, sha256)


def verify_release(targets: Targets, channel: str, read: Read) -> tuple[Release, bytes]:
    """The release of a channel that ``targets`` pins, and its bytes; raises Untrusted."""
    target = release_target(targets, channel)
    if target is None:
        raise Untrusted(Reason.MISSING, f"the store has no release on the channel {channel!r}")
    name = release_file(target, channel)
    raw = read(name)
    if raw is None:
        raise Untrusted(Reason.MISSING, f"{name} is missing")
    if len(raw) > MAX_RELEASE_BYTES:
        raise Untrusted(Reason.TOO_LARGE, f"{name} is larger than {MAX_RELEASE_BYTES} bytes")
    _require_pinned(target, raw, name)
    release = decode_release(raw)
    if release.channel != channel or not 0 < release.version <= targets.version:
        raise Untrusted(
            Reason.UNDECODABLE,
            f"{name} is the record of {release.channel!r} version {release.version}, not of {channel!r}",
        )
    return release, raw


def _follow_roots(pinned_root: bytes, read: Read, files: dict[str, bytes], known: KnownRoots) -> list[Metadata[Root]]:
    raw, root = pinned_root, known.get(b"", pinned_root)
    if root is None:
        root = _load(Root, raw, PINNED, Reason.UNKNOWN_ROOT)
        _require_signed(root.signed, root, PINNED)
        known.add(b"", raw, root)
    roots = [root]
    for _ in range(MAX_ROOT_ROTATIONS):
        name = metadata_name("root", root.signed.version + 1)
        newer = read(name)
        if newer is None:
            break
        root = known.get(raw, newer) or _successor(root, newer, name)
        known.add(raw, newer, root)
        files[name] = raw = newer
        roots.append(root)
    return roots


def _successor(root: Metadata[Root], raw: bytes, name: str) -> Metadata[Root]:
    newer = _load(Root, raw, name, Reason.UNKNOWN_ROOT)
    if newer.signed.version != root.signed.version + 1:
        raise Untrusted(Reason.ROLLBACK, f"{name} says that it is version {newer.signed.version}")
    _require_signed(root.signed, newer, name)
    _require_signed(newer.signed, newer, name)
    return newer


def _pinned(root: Root, shape: type[T], meta: MetaFile, read: Read, files: dict[str, bytes]) -> T:
    name = metadata_name(shape.type, meta.version)
    raw = _require(read, name, files)
    _require_pinned(meta, raw, name)
    signed = _verified(root, shape, raw, name)
    if signed.version != meta.version:
        raise Untrusted(Reason.ROLLBACK, f"{name} says that it is version {signed.version}")
    return signed


def _verified(root: Root, shape: type[T], raw: bytes, name: str) -> T:
    metadata = _load(shape, raw, name, Reason.UNDECODABLE)
    _require_signed(root, metadata, name)
    return metadata.signed


def _load(shape: type[T], raw: bytes, name: str, reason: Reason) -> Metadata[T]:
    try:
        metadata: Metadata[T] = Metadata.from_bytes(raw)
    except RepositoryError as error:
        advice = "; give the root.json that `weft keys init` made" if name == PINNED else ""
        raise Untrusted(reason, f"{name} does not read as TUF metadata: {error}{advice}") from None
    if not isinstance(metadata.signed, shape):
        raise Untrusted(reason, f"{name} is {metadata.signed.type} metadata, not {shape.type}")
    return metadata


def _require_signed(root: Root, metadata: Metadata[T], name: str) -> None:
    role = metadata.signed.type
    result = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    if result.verified:
        return
    count = f"{len(result.signed)} of the {result.threshold} signatures needed"
    if role == "root":
        raise Untrusted(Reason.UNKNOWN_ROOT, f"{name} has {count} by the root keys that are trusted here")
    reason = Reason.THRESHOLD if result.signed else Reason.WRONG_SIGNATURE
    advice = "" if result.signed else ": do this store and this root.json belong together?"
    raise Untrusted(reason, f"{name} has {count} by the {role} keys that the root lists{advice}")


def _require_pinned(meta: MetaFile | TargetFile, raw: bytes, name: str) -> None:
    try:
        meta.verify_length_and_hashes(raw)
    except LengthOrHashMismatchError as error:
        raise Untrusted(Reason.DIGEST, f"{name} has other bytes than signed metadata pins: {error}") from None


def _require(read: Read, name: str, files: dict[str, bytes]) -> bytes:
    raw = read(name)
    if raw is None:
        raise Untrusted(Reason.MISSING, f"{name} is missing")
    files[name] = raw
    return raw
