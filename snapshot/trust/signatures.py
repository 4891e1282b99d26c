"""Signatures that one follower of a store has verified are not verified again, by either of its two verifiers.

For each release both check the same signatures over the same bytes, and the Updater checks those of the release before once more, to compare
versions. Whether a signature holds depends on nothing but the key, the signature and the signed bytes: a check is left out only where all three are
what they were when it held. Which keys count, how many must have signed, versions and expiry are judged anew each time, by both.

securesystemslib makes keys by a table that its users may extend; the keys made by it after ``remember_checks`` are those of this module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, Signature, SSlibKey

MAX_HELD = 1024

_at_hand: ContextVar[VerifiedSignatures | None] = ContextVar("verified signatures", default=None)


class VerifiedSignatures:
    """Owns the digests of checks that held, for one follower; at most MAX_HELD, then all are forgotten. A check that failed is never held."""

    def __init__(self) -> None:
        self._held: set[bytes] = set()

    def __contains__(self, check: bytes) -> bool:
        return check in self._held

    def add(self, check: bytes) -> None:
        """Remembers a check that has just held."""
        if len(self._held) >= MAX_HELD:
            self._held.clear()
        self._held.add(check)

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Whoever verifies in the body, in this thread, leaves out what is held, and adds to it."""
        before = _at_hand.set(self)
        try:
            yield
        finally:
            _at_hand.reset(before)


class RememberingKey(SSlibKey):
    """A public key of the library's own kind that asks what is at hand first; without that it is that kind."""

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """As the library's; raises what that raises."""
        held = _at_hand.get()
        check = b"" if held is None else self._check(signature, data)
        if held is not None and check in held:
            return
        super().verify_signature(signature, data)
        if held is not None:
            held.add(check)

    def _check(self, signature: Signature, data: bytes) -> bytes:
        """One digest of everything that the outcome depends on; each part has a length or a fixed place, so no two checks look alike."""
        key = (self.keyid, self.keytype, self.scheme, sorted(self.keyval.items()), signature.keyid, signature.signature)
        return hashlib.sha256(hashlib.sha256(repr(key).encode()).digest() + hashlib.sha256(data).digest()).digest()


def remember_checks() -> None:
    """Has the library make RememberingKeys where it would make keys of its own kind."""
    for kind, made in KEY_FOR_TYPE_AND_SCHEME.items():
        if made is SSlibKey:
            KEY_FOR_TYPE_AND_SCHEME[kind] = RememberingKey
