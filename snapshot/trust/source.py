"""Reads a store's signed files for ``chain.verify_chain``, each bounded by what its role may weigh."""

from __future__ import annotations

from snapshot.store import NotFound, Store, TooLarge
from snapshot.trust.chain import Read
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.layout import MAX_BYTES, MAX_RELEASE_BYTES


def read_from(store: Store) -> Read:
    """A reader of the store's files: None for what is missing, Untrusted (``too_large``) for what is too large, else StoreError."""

    def read(name: str) -> bytes | None:
        try:
            return store.read(name, max_bytes=max_bytes(name))
        except NotFound:
            return None
        except TooLarge as error:
            raise Untrusted(Reason.TOO_LARGE, str(error)) from None

    return read


def max_bytes(name: str) -> int:
    """How large the signed file of that name may be."""
    role = name.removesuffix(".json").rpartition(".")[2].rpartition("/")[2]
    return MAX_BYTES.get(role, MAX_RELEASE_BYTES)
