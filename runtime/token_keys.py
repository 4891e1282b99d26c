"""The keys by which a worker checks tokens, and the tokens that it has checked.

Checking a signature costs some fifty microseconds, so a token that was good is remembered with the key set that said so. Its time and whom it is
meant for are asked every time. Tokens that were not good are not remembered: who sends those should not push out the others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from policies.tokens import KeySource
from snapshot.jwt import NO_KEY, NO_KEYS, Jwt, JwtError, read_jwt
from snapshot.live import FetchedKeys
from snapshot.prepared import PreparedTokenRule, SignatureCheck

MAX_REMEMBERED = 2048
MAX_CHARACTERS = 4 * 1024 * 1024
"""How many tokens are remembered, and of what length together; at either bound the memory starts anew."""

log = logging.getLogger("weft.worker")


class _Known(msgspec.Struct):
    """A token that was good, and the key sets that have said so (a new key set is another object)."""

    jwt: Jwt
    signed_by: list[SignatureCheck]


class TokenKeys:
    """Keys (``snapshot.authenticate``) of one process. Owns the key sets that fill slots, and the memory of good tokens."""

    def __init__(self) -> None:
        self.sets: dict[KeySource, SignatureCheck] = {}
        self._written: dict[KeySource, bytes] = {}
        self._known: dict[str, _Known] = {}
        self._missed: set[KeySource] = set()
        self._characters = 0

    def fill(self, fetched: Iterable[FetchedKeys]) -> None:
        """Takes the key sets that there are now; a slot that is not among them is empty."""
        now = {one.source: one.jwks for one in fetched}
        if not now and not self.sets:
            return
        # Where no slice asks for tokens nothing is ever filled, and the library behind it is not loaded.
        from snapshot.key_set import KeySetError, read_key_set

        self.sets = {source: keys for source, keys in self.sets.items() if self._written.get(source) == now.get(source)}
        for source in now.keys() - self.sets.keys():
            try:
                self.sets[source] = read_key_set(now[source])
            except KeySetError as error:
                log.error("the keys of %s: %s", source.uri or source.issuer, error)  # noqa: TRY400  the reason says it all
        self._written = now

    def read(self, text: str) -> Jwt:
        """See Keys."""
        known = self._known.get(text)
        return known.jwt if known is not None else read_jwt(text)

    def require_signed(self, jwt: Jwt, rule: PreparedTokenRule) -> None:
        """See Keys. Where a slot is empty nobody is believed: there is no key that one could fall back to."""
        keys = rule.keys or self.sets.get(rule.rule.keys)
        if keys is None:
            raise JwtError(NO_KEYS)
        known = self._known.get(jwt.text)
        if known is not None and any(one is keys for one in known.signed_by):
            return
        try:
            keys.require_signed(jwt)
        except JwtError as error:
            if rule.keys is None and str(error) == NO_KEY:
                self._missed.add(rule.rule.keys)
            raise
        self._remember(jwt, keys)

    def take_missed(self) -> tuple[KeySource, ...]:
        """The slots whose keys some token did not fit since this was last asked: their issuers may have new ones."""
        missed, self._missed = tuple(self._missed), set()
        return missed

    def _remember(self, jwt: Jwt, keys: SignatureCheck) -> None:
        known = self._known.get(jwt.text)
        if known is not None:
            # Of sets that are gone nothing is kept: those of a rule are few, and a token is seldom checked by two.
            known.signed_by = [*known.signed_by[-1:], keys]
            return
        self._characters += len(jwt.text)
        if len(self._known) >= MAX_REMEMBERED or self._characters > MAX_CHARACTERS:
            self._known.clear()
            self._characters = len(jwt.text)
        self._known[jwt.text] = _Known(jwt, [keys])
