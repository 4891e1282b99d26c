"""What a channel has run: its releases from the newest back, each from the signed metadata that introduced it.

A release names the one that it replaced (``previous``), so left-overs of publishers that died are never taken for history. Signatures
by a key that was revoked since are shown as such: history is told, but a revoked key's word is not what a rollback may build on.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from tuf.api.metadata import Root

from snapshot.store import Store
from snapshot.trust.chain import Read, earlier_roots, verified_signers, verify_release, verify_targets
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.keys import is_break_glass
from snapshot.trust.layout import metadata_name
from snapshot.trust.publisher import Published
from snapshot.trust.release import Release
from snapshot.trust.source import read_from


class SigningKey(msgspec.Struct, frozen=True):
    """A key that signed a release: its id, whether the root marks it for emergencies, and whether the newest root lists it no more."""

    keyid: str
    break_glass: bool
    revoked: bool


class Entry(msgspec.Struct, frozen=True):
    """One release of a channel and who signed it."""

    release: Release
    keys: tuple[SigningKey, ...]


def history(store: Store, published: Published, channel: str) -> Iterator[Entry]:
    """The channel's releases, newest first, read as they are asked for.

    Raises Untrusted where the next one is missing (an old store that was thinned out) or not authentic, and StoreError.
    """
    read = read_from(store)
    chain = published.chain
    roots = (*earlier_roots(chain.roots[0], read), *chain.roots)
    version = published.release.version if published.release else 0
    while version:
        entry = _entry(roots, channel, version, read)
        yield entry
        # Versions fall strictly, so that a forged loop by a revoked key ends.
        version = entry.release.previous if entry.release.previous < version else 0


def _entry(roots: tuple[Root, ...], channel: str, version: int, read: Read) -> Entry:
    name = metadata_name("targets", version)
    raw = read(name)
    if raw is None:
        raise Untrusted(Reason.MISSING, f"the store has no version {version}")
    root = _root_of(roots, raw, name)
    release, _ = verify_release(verify_targets(root, raw, name), channel, read)
    if release.version != version:
        raise Untrusted(Reason.MISSING, f"version {version} is not a release of the channel {channel!r}")
    listed = roots[-1].roles["targets"].keyids
    keys = [
        SigningKey(keyid, is_break_glass(root, keyid), keyid not in listed)
        for keyid in verified_signers(root, raw, name)
    ]
    return Entry(release, tuple(keys))


def _root_of(roots: tuple[Root, ...], raw: bytes, name: str) -> Root:
    """The newest root under which this version of targets verifies; raises Untrusted where there is none."""
    for root in reversed(roots[1:]):
        try:
            verify_targets(root, raw, name)
        except Untrusted:
            continue
        return root
    verify_targets(roots[0], raw, name)
    return roots[0]
