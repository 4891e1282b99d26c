"""What one exchange does about the limits of its route: takes a token of each, or answers 429."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from policies.limits import RateLimit, Taken
from policies.traffic import HeaderEdits
from runtime.telemetry import REPLIES, Failure
from snapshot.decision import LocalReply

if TYPE_CHECKING:
    from runtime.http.exchange import Exchange
    from snapshot.limiting import Key, PreparedLimit

Go = Callable[[], None]


def enforce(exchange: Exchange, limits: Sequence[PreparedLimit], go: Go) -> None:
    """Asks the limits that count this request, one after the other; goes on where all allow it, else replies. May call back later."""
    edge = exchange.chain.rules.edge
    counted = [(one.limit, one.key(exchange.head, exchange.downstream.peer, edge=edge)) for one in limits]
    _Asking(exchange, [(limit, key) for limit, key in counted if key is not None], go).on()


class _Asking:
    """The limits of one exchange, while they are asked. Owns what the reply will say of them."""

    __slots__ = ("_exchange", "_go", "_left", "_told")

    def __init__(self, exchange: Exchange, counted: list[tuple[RateLimit, Key]], go: Go) -> None:
        self._exchange = exchange
        self._left = counted[::-1]
        self._go = go
        self._told: list[tuple[str, str]] = []

    def on(self) -> None:
        """Asks the next limit; with none left, goes on."""
        exchange = self._exchange
        if exchange.done:
            return  # The downstream has left while an answer was awaited.
        if not self._left:
            self._tell()
            self._go()
            return
        limit, key = self._left.pop()
        exchange.plane.limiter.take(limit, key, lambda taken: self._taken(limit, taken))

    def _taken(self, limit: RateLimit, taken: Taken) -> None:
        exchange = self._exchange
        if exchange.done:
            return
        exchange.plane.instruments.add("weft_rate_limit_total", str(limit.source), "ok" if taken.allowed else "limited")
        if limit.headers:
            # Envoy's filters write on the way back, the last one first.
            self._told = [
                ("x-ratelimit-limit", str(limit.burst)),
                ("x-ratelimit-remaining", str(taken.remaining)),
                ("x-ratelimit-reset", str(taken.reset_s)),
                *self._told,
            ]
        if taken.allowed:
            self.on()
            return
        self._tell()
        exchange.reply(refusal(limit))

    def _tell(self) -> None:
        """The headers go to whatever reply comes, the upstream's or one of our own."""
        if not self._told:
            return
        plan = self._exchange.plan
        decision = plan.decision
        edits = (*decision.response_edits, HeaderEdits(add=tuple(self._told)))
        told = msgspec.structs.replace(decision, response_edits=edits)
        self._exchange.plan = msgspec.structs.replace(plan, decision=told)


def refusal(limit: RateLimit) -> LocalReply:
    """What a request over the limit is answered."""
    headers = ((b"retry-after", b"%d" % limit.retry_after_s),)
    return msgspec.structs.replace(REPLIES[Failure.RATE_LIMITED], status=limit.status, headers=headers)
