"""What becomes of an attempt: on_response is asked about each, and says whether the request is tried again, when, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.head import ResponseHead
from policies.traffic import HeaderEdits
from runtime.balance.retries import UNCOUNTED, grant_retry
from runtime.balance.watch import http_of_grpc
from runtime.telemetry import REPLIES, Failure
from snapshot.decision import Attempt, RetryAfter
from snapshot.resolve import choose_endpoint
from snapshot.response import on_response, passed_on

if TYPE_CHECKING:
    from runtime.http.exchange import Exchange
    from runtime.plane import Plane

_SERVER_ERROR = 500
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_KINDS = {
    Failure.CONNECT_FAILED: "connect-failure",
    Failure.CONNECT_TIMEOUT: "connect-failure",
    Failure.UPSTREAM_TLS: "connect-failure",
    Failure.UPSTREAM_IDENTITY: "connect-failure",
    Failure.PER_TRY_TIMEOUT: "timeout",
    Failure.UPSTREAM_REFUSED: "refused-stream",
}


_TIMED_OUT = frozenset({Failure.UPSTREAM_TIMEOUT, Failure.PER_TRY_TIMEOUT})


def ask(exchange: Exchange, failure: str, head: ResponseHead | None) -> tuple[HeaderEdits, ...] | None:
    """The edits of the response; None where the answer was to try again, which is then under way."""
    attempt = Attempt(exchange.number, failure, exchange.replayable, exchange.tried, exchange.destination)
    verdict = on_response(exchange.plan.decision, attempt, head, exchange.plane.lane.now, exchange.plane.draws)
    if not isinstance(verdict, RetryAfter):
        return verdict.edits
    exchange.release_retry()
    cluster, pool = exchange.cluster, exchange.pool
    grant = grant_retry(exchange.plane, cluster.section) if cluster is not None else UNCOUNTED
    if grant is None:
        exchange.flags = (*exchange.flags, "UO")
        return passed_on(exchange.plan.decision, exchange.destination).edits
    if pool is not None:
        pool.load.retried += 1
        # An answer that is asked for again was no good one, whatever its status; a failure has been counted.
        pool.tally.erred += head is not None
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
    note_failure(exchange, failure)
    if failure is Failure.OVERFLOW:
        exchange.reply(REPLIES[failure])
        return
    if ask(exchange, _KINDS.get(failure, "reset"), None) is None:
        return
    retry = exchange.plan.decision.retry
    if exchange.number > 1 and retry is not None and exchange.number > retry.attempts:
        exhausted(exchange)
    exchange.reply(REPLIES[failure])


def exhausted(exchange: Exchange) -> None:
    """The last attempt that the route allows came to nothing, too."""
    exchange.flags = (*exchange.flags, "URX")
    if exchange.pool is not None:
        exchange.pool.load.exhausted += 1


def none_healthy(plane: Plane, cluster: str) -> None:
    """A cluster had no endpoint for a request or a connection."""
    plane.instruments.add("envoy_cluster_upstream_cx_none_healthy", cluster)


def judge_grpc(exchange: Exchange) -> None:
    """The answer to a gRPC request has its status: by that it counts as a success or an error (Envoy)."""
    assert exchange.pool is not None
    if http_of_grpc(exchange.grpc_status or "") < _SERVER_ERROR:
        exchange.pool.tally.succeeded += 1
    else:
        exchange.pool.tally.erred += 1


def note_failure(exchange: Exchange, failure: Failure) -> None:
    """An attempt has failed: its endpoint's counts hear of it, and outlier detection where the cluster has it.

    An answer that had begun has been counted already, but for gRPC's, which are judged by what comes last.
    """
    cluster, pool = exchange.cluster, exchange.pool
    if pool is not None:
        pool.tally.erred += not exchange.code or exchange.grpc_status == ""
        if failure in _TIMED_OUT:
            pool.tally.timed_out += 1
            if failure is Failure.PER_TRY_TIMEOUT:
                pool.load.try_timed_out += 1
            else:
                pool.load.timed_out += 1
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
            none_healthy(exchange.plane, exchange.destination.cluster)
            exchange.reply(REPLIES[Failure.NO_HEALTHY_UPSTREAM])
            return
        exchange.endpoint = chosen
    exchange.attempt()
