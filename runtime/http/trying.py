"""What becomes of an attempt: on_response is asked about each, and says whether the request is tried again, when, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.head import ResponseHead
from policies.traffic import HeaderEdits
from runtime.balance.retries import UNCOUNTED, grant_retry
from runtime.telemetry import REPLIES, Failure
from snapshot.decision import Attempt, RetryAfter
from snapshot.resolve import choose_endpoint
from snapshot.response import on_response, passed_on

if TYPE_CHECKING:
    from runtime.http.exchange import Exchange

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_KINDS = {
    Failure.CONNECT_FAILED: "connect-failure",
    Failure.CONNECT_TIMEOUT: "connect-failure",
    Failure.UPSTREAM_TLS: "connect-failure",
    Failure.UPSTREAM_IDENTITY: "connect-failure",
    Failure.PER_TRY_TIMEOUT: "timeout",
    Failure.UPSTREAM_RESET: "refused-stream",
}


def ask(exchange: Exchange, failure: str, head: ResponseHead | None) -> tuple[HeaderEdits, ...] | None:
    """The edits of the response; None where the answer was to try again, which is then under way."""
    attempt = Attempt(exchange.number, failure, exchange.replayable, exchange.tried, exchange.destination)
    verdict = on_response(exchange.plan.decision, attempt, head, exchange.plane.lane.now, exchange.plane.draws)
    if not isinstance(verdict, RetryAfter):
        return verdict.edits
    exchange.release_retry()
    cluster = exchange.cluster
    grant = grant_retry(exchange.plane, cluster.section) if cluster is not None else UNCOUNTED
    if grant is None:
        exchange.flags = (*exchange.flags, "UO")
        return passed_on(exchange.plan.decision, exchange.destination).edits
    if exchange.endpoint is not None:
        exchange.tried = (*exchange.tried, exchange.endpoint)
    exchange.give_up_attempt()
    exchange.retrying = grant
    if verdict.delay_ms:
        exchange.set_deadline("parked", verdict.delay_ms, lambda: _try_again(exchange))
    else:
        _try_again(exchange)
    return None


def attempt_failed(exchange: Exchange, failure: Failure, reason: str) -> None:
    """An attempt brought no response: the request is tried again, or answered by us."""
    exchange.transport_failure = reason
    tell_watch(exchange, failure)
    if failure is Failure.OVERFLOW:
        exchange.reply(REPLIES[failure])
        return
    if ask(exchange, _KINDS.get(failure, "reset"), None) is None:
        return
    retry = exchange.plan.decision.retry
    if exchange.number > 1 and retry is not None and exchange.number > retry.attempts:
        exchange.flags = (*exchange.flags, "URX")
    exchange.reply(REPLIES[failure])


def tell_watch(exchange: Exchange, failure: Failure) -> None:
    """Outlier detection hears of an attempt's failure, where the cluster has it."""
    cluster = exchange.cluster
    if cluster is not None and cluster.watch is not None:
        cluster.watch.on_failure(exchange.endpoint, failure)


def _try_again(exchange: Exchange) -> None:
    assert exchange.destination is not None
    if not exchange.generation.goes_where_asked(exchange.destination.cluster):
        chosen = choose_endpoint(
            exchange.destination.cluster,
            exchange.generation,
            exchange.plane.draws,
            exchange.tried,
            exchange.forwarded,
            exchange.downstream.peer,
            exchange.plan.decision.retry,
        )
        if chosen is None:
            exchange.reply(REPLIES[Failure.NO_HEALTHY_UPSTREAM])
            return
        exchange.endpoint = chosen
    exchange.attempt()
