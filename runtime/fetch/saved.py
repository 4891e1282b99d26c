"""The last verified slice on disk: one file, replaced whole, from which a proxy starts when its store is gone.

The file is not trusted either: reading it verifies the signatures from the pinned root down and every blob's digest, and only expiry
is forgiven. It is also the cache: blobs that the next release shares with it are not fetched again. Its size is that of one slice.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
import zstandard

from runtime.bootstrap import Bootstrap, BootstrapError
from runtime.fetch.contents import MAX_SLICE_BYTES, fetch_slice
from runtime.fetch.news import VerifiedSlice
from snapshot.blobs import inflate
from snapshot.encode import FormatError, decode, digest, encode
from snapshot.index import Selector
from snapshot.store import NotFound, StoreError, TooLarge
from snapshot.store_directory import DirectoryStore, write_atomically
from snapshot.trust.chain import Chain, verify_chain, verify_release
from snapshot.trust.failure import Reason, Untrusted

NAME = "last-slice.weft"
_FORMAT = 1
_MAX_BYTES = 2 * MAX_SLICE_BYTES


class Saved(msgspec.Struct, frozen=True):
    """What the file holds. ``files`` is the metadata by name in the store, ``blobs`` the slice's and both indexes'."""

    format: int
    files: dict[str, bytes]
    record: bytes
    blobs: dict[str, bytes]
    fetched_at: float


class Restored(msgspec.Struct, frozen=True):
    """A saved slice that verified, and what fetching goes on from."""

    verified: VerifiedSlice
    chain: Chain
    record: bytes
    blobs: dict[str, bytes]


def require_root(bootstrap: Bootstrap) -> None:
    """Raises BootstrapError where the pinned root is not there and nothing was ever saved: such a proxy could never serve.

    With a saved slice it goes on, and tells again and again: the file may come back, and until then nothing can be verified.
    """
    root = Path(bootstrap.root)
    if not root.is_file() and not (Path(bootstrap.state) / NAME).exists():
        raise BootstrapError(
            f"there is no root of trust at {root}: put the root.json that `weft keys init` made there, or name it as `root` in the bootstrap"
        )


def save(state: Path, chain: Chain, record: bytes, blobs: dict[str, bytes], *, fetched_at: float) -> None:
    """Replaces the saved slice; raises Untrusted (``state``) where the disk refuses, and then the old one is still there."""
    saved = Saved(format=_FORMAT, files=chain.files, record=record, blobs=blobs, fetched_at=fetched_at)
    packed = zstandard.ZstdCompressor(level=1).compress(encode(saved))
    try:
        write_atomically(state / NAME, packed, mode=0o600)
    except StoreError as error:
        raise Untrusted(Reason.STATE, f"the verified slice cannot be kept for the next start: {error}") from None


def restore(state: Path, pinned_root: bytes, channel: str, selector: Selector, *, now: datetime) -> Restored | None:
    """The saved slice, or None where none was saved. Raises Untrusted where it is damaged, of another root, or of another proxy."""
    try:
        packed = DirectoryStore(state).read(NAME, max_bytes=_MAX_BYTES)
    except NotFound:
        return None
    except StoreError as error:
        raise Untrusted(Reason.STATE, str(error)) from None
    try:
        saved = decode(inflate(packed, max_bytes=_MAX_BYTES), Saved)
    except (FormatError, TooLarge) as error:
        raise Untrusted(Reason.STATE, f"{state / NAME} is damaged: {error}") from None
    chain = verify_chain(pinned_root, saved.files.get)
    release, _ = verify_release(chain.targets, channel, lambda _: saved.record)
    contents = fetch_slice(
        None, release, selector, {name: raw for name, raw in saved.blobs.items() if digest(raw) == name}
    )
    until = chain.fresh_until
    verified = VerifiedSlice(release, contents.slice, now < until, saved.fetched_at, until.timestamp())
    return Restored(verified, chain, saved.record, contents.blobs)
