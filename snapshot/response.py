"""What follows an attempt: the response goes on with edits, or the request is tried again. The last of the four pure steps."""

from __future__ import annotations

from policies.head import ResponseHead
from policies.traffic import NO_EDITS, Destination, Retry
from snapshot.decision import Attempt, Decision, Draws, Edits, RetryAfter

_GRPC_CONDITIONS = {
    "1": "cancelled",
    "4": "deadline-exceeded",
    "8": "resource-exhausted",
    "13": "internal",
    "14": "unavailable",
}

_CLIENT_ERROR = 400
_AS_IT_IS = Edits(())


def on_response(
    decision: Decision, attempt: Attempt, head: ResponseHead | None, now: float, draws: Draws
) -> Edits | RetryAfter:
    """Decides after one attempt. ``head`` is None where ``attempt.failure`` says why no response came; Edits then mean: give up."""
    del now
    retry = decision.retry
    if (
        retry is not None
        and attempt.number <= retry.attempts
        and attempt.replayable
        and _retriable(retry, attempt, head)
    ):
        return RetryAfter(_backoff_ms(retry, attempt.number, draws))
    return passed_on(decision, attempt.destination)


def passed_on(decision: Decision, destination: Destination | None) -> Edits:
    """What is done to a response that is not waited for again."""
    if destination is None or destination.response_headers is NO_EDITS or destination.response_headers == NO_EDITS:
        return Edits(decision.response_edits) if decision.response_edits else _AS_IT_IS
    return Edits((destination.response_headers, *decision.response_edits))


def _retriable(retry: Retry, attempt: Attempt, head: ResponseHead | None) -> bool:
    on = retry.on
    if head is None:
        return _failed(on, attempt.failure)
    status = head.status
    if status >= _CLIENT_ERROR:
        if any(name == b"x-envoy-ratelimited" for name, _ in head.headers):
            # A limit that said no says so again, unless the policy wants just that (Envoy).
            return "envoy-ratelimited" in on
        if status >= 500 and "5xx" in on:
            return True
        if status in (502, 503, 504) and "gateway-error" in on:
            return True
        if status == 409 and "retriable-4xx" in on:
            return True
    if status in retry.statuses and "retriable-status-codes" in on:
        return True
    for name, value in head.headers:  # noqa: SIM110  a generator would cost every response a frame
        if name == b"grpc-status" and _GRPC_CONDITIONS.get(value.decode("ascii", "replace"), "") in on:
            return True
    return False


def _failed(on: tuple[str, ...], failure: str) -> bool:
    """Which conditions a failed attempt meets (Envoy's router: 5xx and gateway-error hold for every reset)."""
    if "5xx" in on or "gateway-error" in on or failure in on:
        return True
    return (
        failure in ("reset", "timeout", "reset-before-request", "refused-stream", "connect-failure") and "reset" in on
    )


def _backoff_ms(retry: Retry, number: int, draws: Draws) -> int:
    """Fully jittered exponential back-off (Envoy): uniform in [0, base * (2^n - 1)), at most ``max_backoff_ms``."""
    ceiling = min(retry.base_backoff_ms * (2**number - 1), retry.max_backoff_ms)
    return int(draws.draw("backoff") * ceiling)
