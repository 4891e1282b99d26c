"""From what the slice says to what happens now: faults drawn, a destination by weight, an endpoint by the cluster's balance.

Every draw has a name and is taken only where its outcome matters, in one order: fault.delay, fault.abort, destination, locality,
endpoint.1, endpoint.2. So a recorded sequence replays the same Action.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd

from policies.head import Peer, RequestHead
from policies.traffic import PER_MILLION, Destination, FaultAbort, Retry
from snapshot.decision import Action, Decision, Draws, Equals, Live, LocalReply
from snapshot.hashing import key_of
from snapshot.rewriting import redirect_location
from snapshot.section import Endpoint

_GOLDEN = 0.6180339887498949
_HASHED = frozenset({"ring_hash", "maglev"})
NO_HEALTHY_UPSTREAM = LocalReply(
    503, body=b"no healthy upstream", flag="UH", details="no_healthy_upstream", grpc_status=14
)
NO_DESTINATION = LocalReply(500, details="direct_response")


def resolve(
    decision: Decision, live: Live, now: float, draws: Draws, head: RequestHead | None = None, peer: Peer | None = None
) -> Action:
    """Makes a Decision concrete for one request; ``head`` and ``peer`` are what consistent hashing reads.

    ``now`` (seconds, monotonic) is part of the contract for limits that count time."""
    del now
    delay_ms = 0
    flags: tuple[str, ...] = ()
    fault = decision.fault
    if fault is not None:
        if fault.delay is not None and _hit(draws, "fault.delay", fault.delay.per_million):
            delay_ms, flags = fault.delay.delay_ms, ("DI",)
        if fault.abort is not None and _hit(draws, "fault.abort", fault.abort.per_million):
            return Action(reply=_aborted(fault.abort), delay_ms=delay_ms, flags=(*flags, "FI"))
    if decision.reply is not None:
        return Action(reply=decision.reply, delay_ms=delay_ms, flags=flags)
    destination = choose_destination(decision, draws)
    if destination is None:
        return Action(reply=NO_DESTINATION, delay_ms=delay_ms, flags=flags)
    if not destination.cluster:
        return Action(reply=_unresolved(destination, decision, head), delay_ms=delay_ms, flags=flags)
    if decision.passthrough:
        return Action(destination=destination, delay_ms=delay_ms, flags=flags)
    endpoint = choose_endpoint(destination.cluster, live, draws, (), head, peer)
    if endpoint is None and live.goes_where_asked(destination.cluster) and head is not None:
        return Action(destination=destination, delay_ms=delay_ms, flags=flags)
    if endpoint is None:
        return Action(reply=NO_HEALTHY_UPSTREAM, destination=destination, delay_ms=delay_ms, flags=flags)
    return Action(destination=destination, endpoint=endpoint, delay_ms=delay_ms, flags=flags)


def _unresolved(destination: Destination, decision: Decision, head: RequestHead | None) -> LocalReply:
    """What a destination without a cluster answers: its redirect, or that it leads nowhere."""
    redirect = destination.redirect
    if redirect is not None and head is not None:
        location = redirect_location(redirect, decision.matched, head)
        return LocalReply(redirect.status, headers=((b"location", location.encode()),))
    return LocalReply(destination.status, flag="NC", details="cluster_not_found")


def choose_destination(decision: Decision, draws: Draws) -> Destination | None:
    """One destination by weight; None where all weights are 0 (Gateway API answers 500)."""
    destinations = decision.destinations
    if len(destinations) == 1:
        return destinations[0] if destinations[0].weight else None
    if not decision.total_weight:
        return None
    point = draws.draw("destination") * decision.total_weight
    for destination in destinations:
        point -= destination.weight
        if point < 0:
            return destination
    return destinations[-1]


def mirrored(decision: Decision, draws: Draws) -> tuple[str, ...]:
    """The clusters that a request is mirrored to, each by a draw of its own."""
    return tuple(mirror.cluster for mirror in decision.mirrors if _hit(draws, "mirror", mirror.per_million))


def choose_endpoint(
    cluster: str,
    live: Live,
    draws: Draws,
    tried: Sequence[Endpoint] = (),
    head: RequestHead | None = None,
    peer: Peer | None = None,
    retry: Retry | None = None,
) -> Endpoint | None:
    """One endpoint by the cluster's balance, another than those tried where there is one (Envoy's previous_hosts); None where there is none.

    Consistent hashing stays with the key's endpoint whatever was tried (Istio leaves the predicate out there). ``retry`` is the policy by
    which another is wanted.
    """
    endpoints = live.endpoints(cluster)
    if len(endpoints) < 2 and not (retry is not None and retry.remote):
        return endpoints[0] if endpoints else None
    balance = live.balance(cluster)
    if balance in _HASHED:
        hashing = live.hashing(cluster)
        key = key_of(hashing, head, peer) if hashing is not None and peer is not None else ()
        return live.owner(cluster, key, 0.0 if key else draws.draw("endpoint.1"))
    if retry is not None and tried:
        if retry.remote and (beyond := live.beyond(cluster, tried)):
            return _drawn(beyond, draws.draw("endpoint.1"))
        if retry.same_hosts:
            tried = ()
    spread = live.spread(cluster) if balance == "spread" else None
    if spread is not None:
        everyone, endpoints, balance = endpoints, spread.group(draws.draw("locality")), spread.balance
        if tried and all(endpoint in tried for endpoint in endpoints):
            endpoints = everyone
    if tried:
        fresh = [endpoint for endpoint in endpoints if endpoint not in tried]
        endpoints = fresh or endpoints
    if len(endpoints) < 2:
        return endpoints[0] if endpoints else None
    return _balanced(cluster, endpoints, balance, live, draws)


def _balanced(cluster: str, endpoints: Sequence[Endpoint], balance: str, live: Live, draws: Draws) -> Endpoint:
    match balance:
        case "round_robin":
            return _in_turn(endpoints, live.turn(cluster))
        case "random":
            return _drawn(endpoints, draws.draw("endpoint.1"))
        case _:
            first = _drawn(endpoints, draws.draw("endpoint.1"))
            second = _drawn(endpoints, draws.draw("endpoint.2"))
            # In flight per weight: an endpoint of three times the weight is as busy with three times the requests.
            busier = live.active(cluster, first) * second.weight > live.active(cluster, second) * first.weight
            return second if busier else first


def _hit(draws: Draws, name: str, per_million: int) -> bool:
    return per_million >= PER_MILLION or (per_million > 0 and draws.draw(name) * PER_MILLION < per_million)


def _aborted(abort: FaultAbort) -> LocalReply:
    """The reply of an injected abort; its flag is the action's, which has it even where a limit then refuses."""
    return LocalReply(
        abort.status, body=b"fault filter abort", details="fault_filter_abort", grpc_status=abort.grpc_status
    )


def _in_turn(endpoints: Sequence[Endpoint], turn: int) -> Endpoint:
    """Each endpoint as often as its weight in a row of turns, and not one after the other: turns step through the weights by a golden ratio."""
    if type(endpoints) is Equals:
        return endpoints[turn % len(endpoints)]
    total = sum(endpoint.weight for endpoint in endpoints)
    if total == len(endpoints):
        return endpoints[turn % total]
    place = turn * _stride(total) % total
    for endpoint in endpoints:
        place -= endpoint.weight
        if place < 0:
            return endpoint
    return endpoints[-1]


@lru_cache(maxsize=1024)
def _stride(total: int) -> int:
    """The step nearest to ``total`` over the golden ratio that meets every place once in ``total`` turns."""
    step = max(round(total * _GOLDEN), 1)
    while gcd(step, total) != 1:
        step += 1
    return step


def _drawn(endpoints: Sequence[Endpoint], draw: float) -> Endpoint:
    if type(endpoints) is Equals:
        return endpoints[int(draw * len(endpoints))]
    total = sum(endpoint.weight for endpoint in endpoints)
    if total == len(endpoints):
        return endpoints[int(draw * total)]
    point = draw * total
    for endpoint in endpoints:
        point -= endpoint.weight
        if point < 0:
            return endpoint
    return endpoints[-1]
