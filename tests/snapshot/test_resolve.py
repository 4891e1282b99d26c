"""Drawing: faults, destinations by weight, endpoints by balance, retries and their back-off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from policies.head import ResponseHead
from policies.traffic import Destination, Fault, FaultAbort, FaultDelay, HeaderEdits, Retry
from snapshot.decision import Attempt, Decision, Edits, LocalReply, RetryAfter, Spread
from snapshot.resolve import choose_endpoint, resolve
from snapshot.response import on_response
from snapshot.section import ConsistentHash, Endpoint


class Recorded:
    """Draws from a seeded generator, and the names that were asked."""

    def __init__(self, seed: int = 1) -> None:
        self.random = Random(seed)
        self.names: list[str] = []

    def draw(self, name: str) -> float:
        self.names.append(name)
        return self.random.random()


class Pool:
    """Live data for one cluster."""

    def __init__(
        self, *endpoints: Endpoint, balance: str = "least_request", active: dict[int, int] | None = None
    ) -> None:
        self.all = endpoints
        self.how = balance
        self.load = active or {}
        self.turns = 0
        self.far: Sequence[Endpoint] = ()

    def endpoints(self, cluster: str) -> Sequence[Endpoint]:
        return self.all

    def goes_where_asked(self, cluster: str) -> bool:
        return False

    def active(self, cluster: str, endpoint: Endpoint) -> int:
        return self.load.get(endpoint.port, 0)

    def balance(self, cluster: str) -> str:
        return self.how

    def beyond(self, cluster: str, tried: Sequence[Endpoint]) -> Sequence[Endpoint]:
        return [one for one in self.far if one not in tried]

    def spread(self, cluster: str) -> Spread | None:
        return None

    def owner(self, cluster: str, key: tuple[bytes, ...], draw: float) -> Endpoint | None:
        return None

    def hashing(self, cluster: str) -> ConsistentHash | None:
        return None

    def turn(self, cluster: str) -> int:
        self.turns += 1
        return self.turns - 1


def endpoint(port: int, weight: int = 1) -> Endpoint:
    return Endpoint("127.0.0.1", port, weight=weight)


def to(*weights: int) -> Decision:
    destinations = tuple(Destination(chr(97 + index), weight) for index, weight in enumerate(weights))
    return Decision(destinations=destinations, total_weight=sum(weights))


def test_destinations_share_requests_by_weight() -> None:
    draws, live = Recorded(), Pool(endpoint(1))
    hits = Counter(resolve(to(80, 20), live, 0, draws).destination.cluster for _ in range(20_000))  # type: ignore[union-attr]
    assert abs(hits["b"] / 20_000 - 0.2) < 0.02


def test_a_single_destination_and_a_single_endpoint_draw_nothing() -> None:
    draws = Recorded()
    assert resolve(to(1), Pool(endpoint(1)), 0, draws).endpoint == endpoint(1)
    assert draws.names == []


@pytest.mark.parametrize(
    ("decision", "live", "status", "flag"),
    [
        (to(1), Pool(), 503, "UH"),
        (to(0, 0), Pool(endpoint(1)), 500, ""),
        (Decision(destinations=(Destination("", status=503),), total_weight=1), Pool(), 503, "NC"),
        (Decision(destinations=(Destination("", status=500),), total_weight=1), Pool(), 500, "NC"),
        (Decision(reply=LocalReply(404, flag="NR")), Pool(), 404, "NR"),
    ],
)
def test_what_cannot_be_sent_is_answered(decision: Decision, live: Pool, status: int, flag: str) -> None:
    reply = resolve(decision, live, 0, Recorded()).reply
    assert reply is not None
    assert (reply.status, reply.flag) == (status, flag)


def test_a_delay_and_an_abort_are_drawn_apart_and_the_delay_holds_for_the_abort_too() -> None:
    fault = Fault(FaultDelay(70), FaultAbort(418, 500_000))
    draws = Recorded()
    actions = [
        resolve(Decision(destinations=(Destination("a"),), total_weight=1, fault=fault), Pool(endpoint(1)), 0, draws)
        for _ in range(2000)
    ]
    aborted = [action for action in actions if action.reply is not None]
    assert abs(len(aborted) / 2000 - 0.5) < 0.05
    assert {action.delay_ms for action in actions} == {70}
    assert {action.flags for action in aborted} == {("DI", "FI")}
    assert set(draws.names) == {"fault.abort"}


def test_least_request_takes_the_less_busy_of_two() -> None:
    live, draws = Pool(endpoint(1), endpoint(2), active={1: 9}), Recorded()
    hits = Counter(choose_endpoint("a", live, draws).port for _ in range(4000))  # type: ignore[union-attr]
    assert abs(hits[2] / 4000 - 0.75) < 0.03


def test_least_request_compares_what_is_in_flight_per_weight() -> None:
    live, draws = Pool(endpoint(1, 3), endpoint(2), active={1: 3, 2: 2}), Recorded()
    hits = Counter(choose_endpoint("a", live, draws).port for _ in range(4000))  # type: ignore[union-attr]
    assert abs(hits[1] / 4000 - 15 / 16) < 0.03


@pytest.mark.parametrize("balance", ["round_robin", "random", "least_request"])
def test_every_balance_honours_weights(balance: str) -> None:
    live, draws = Pool(endpoint(1, 3), endpoint(2), balance=balance), Recorded()
    hits = Counter(choose_endpoint("a", live, draws).port for _ in range(20_000))  # type: ignore[union-attr]
    assert abs(hits[1] / 20_000 - 0.75) < 0.02


def test_a_retry_goes_to_another_endpoint_where_there_is_one() -> None:
    live = Pool(endpoint(1), endpoint(2))
    assert {choose_endpoint("a", live, Recorded(seed), (endpoint(1),)) for seed in range(9)} == {endpoint(2)}
    assert choose_endpoint("a", Pool(endpoint(1)), Recorded(), (endpoint(1),)) == endpoint(1)


def test_a_retry_that_may_go_where_it_was_chooses_among_all() -> None:
    live, retry = Pool(endpoint(1), endpoint(2)), Retry(same_hosts=True)
    chosen = {choose_endpoint("a", live, Recorded(seed), (endpoint(1),), retry=retry) for seed in range(9)}
    assert chosen == {endpoint(1), endpoint(2)}


def test_a_remote_retry_goes_to_another_level_while_there_is_one() -> None:
    live, retry = Pool(endpoint(1)), Retry(remote=True)
    live.far = [endpoint(7)]
    assert choose_endpoint("a", live, Recorded(), (), retry=retry) == endpoint(1)
    assert choose_endpoint("a", live, Recorded(), (endpoint(1),), retry=retry) == endpoint(7)
    assert choose_endpoint("a", live, Recorded(), (endpoint(1), endpoint(7)), retry=retry) == endpoint(1)


LIMITED = ResponseHead(429, [(b"x-envoy-ratelimited", b"true")])
GRPC_UNAVAILABLE = ResponseHead(200, [(b"grpc-status", b"14")])


@pytest.mark.parametrize(
    ("retry", "attempt", "head", "again"),
    [
        (Retry(), Attempt(1), ResponseHead(503, []), True),
        (Retry(), Attempt(2), ResponseHead(503, []), True),
        (Retry(), Attempt(3), ResponseHead(503, []), False),
        (Retry(), Attempt(1), ResponseHead(500, []), False),
        (Retry(on=("5xx",)), Attempt(1), ResponseHead(500, []), True),
        (Retry(on=("gateway-error",)), Attempt(1), ResponseHead(504, []), True),
        (Retry(on=("retriable-4xx",)), Attempt(1), ResponseHead(409, []), True),
        (Retry(), Attempt(1), GRPC_UNAVAILABLE, True),
        (Retry(on=("retriable-status-codes",), statuses=(429,)), Attempt(1), LIMITED, False),
        (Retry(on=("envoy-ratelimited",)), Attempt(1), LIMITED, True),
        (Retry(on=("envoy-ratelimited",)), Attempt(1), ResponseHead(429, []), False),
        (Retry(), Attempt(1, "connect-failure"), None, True),
        (Retry(), Attempt(1, "reset"), None, False),
        (Retry(on=("reset",)), Attempt(1, "timeout"), None, True),
        (Retry(), Attempt(1, "connect-failure", replayable=False), None, False),
        (Retry(attempts=0), Attempt(1, "connect-failure"), None, False),
    ],
)
def test_an_attempt_is_repeated_only_for_the_policys_conditions(
    retry: Retry, attempt: Attempt, head: ResponseHead | None, again: bool
) -> None:
    assert isinstance(on_response(Decision(retry=retry), attempt, head, 0, Recorded()), RetryAfter) is again


def test_back_off_grows_with_jitter_up_to_its_ceiling() -> None:
    for number, ceiling in ((1, 25), (2, 75), (5, 250)):
        outcomes = [
            on_response(Decision(retry=Retry(attempts=9)), Attempt(number, "connect-failure"), None, 0, Recorded(seed))
            for seed in range(200)
        ]
        delays = [outcome.delay_ms for outcome in outcomes if isinstance(outcome, RetryAfter)]
        assert max(delays) < ceiling
        assert max(delays) > ceiling * 0.9


def test_the_destinations_response_edits_run_before_the_routes() -> None:
    near, far = HeaderEdits(set=(("a", "destination"),)), HeaderEdits(set=(("a", "route"),))
    attempt = Attempt(1, destination=Destination("a", response_headers=near))
    assert on_response(Decision(response_edits=(far,)), attempt, ResponseHead(200, []), 0, Recorded()) == Edits(
        (near, far)
    )
