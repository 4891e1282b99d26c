"""Cross-origin requests: which preflights are answered, which responses are marked."""

from __future__ import annotations

import msgspec
import pytest

from policies.head import Principal
from policies.match import Exact, Regex
from policies.traffic import Cors, DirectResponse, Fault, FaultAbort, Forward, Redirect, RouteAction
from snapshot.decide import decide
from snapshot.decision import Decision
from snapshot.section import Route
from tests.compiler.compiled import request
from tests.slices import PEER, cluster, gateway_listener, host_sections, prepared_of, route, table

GOOD, OTHER = "https://a.test", "https://b.test"
ASKED = {"access-control-request-method": "PUT", "access-control-request-headers": "x-a"}
CORS = Cors((Exact(GOOD), Regex("https://.+[.]c[.]test")), "GET,PUT", "x-a", "x-b", 60, credentials=True)


def decided(cors: Cors, method: str, **headers: str) -> Decision:
    one = route(None, "a")
    guarded = Route(one.source, one.match, one.action, fault=Fault(abort=FaultAbort(500)), cors=cors)
    prepared = prepared_of(gateway_listener(), table(), *host_sections("all", ["*"], [guarded]), cluster("a"))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    head = request(host="x", method=method, headers=named)
    return decide(prepared, prepared.chains["http", "http"], head, PEER, Principal(""))


def test_a_preflight_of_an_allowed_origin_is_answered_without_a_fault() -> None:
    decision = decided(CORS, "OPTIONS", origin=GOOD, **ASKED)
    assert decision.reply is not None
    assert (decision.reply.status, decision.fault) == (200, None)
    assert dict(decision.reply.headers) == {
        b"access-control-allow-origin": b"https://a.test",
        b"access-control-allow-credentials": b"true",
        b"access-control-allow-methods": b"GET,PUT",
        b"access-control-allow-headers": b"x-a",
        b"access-control-expose-headers": b"x-b",
        b"access-control-max-age": b"60",
    }


@pytest.mark.parametrize("credentials", [True, False])
def test_what_was_asked_for_stands_for_everything(*, credentials: bool) -> None:
    decision = decided(Cors((Exact(GOOD),), "*", "*", credentials=credentials), "OPTIONS", origin=GOOD, **ASKED)
    assert decision.reply is not None
    answer = dict(decision.reply.headers)
    assert (answer[b"access-control-allow-methods"], answer[b"access-control-allow-headers"]) == (b"PUT", b"x-a")
    assert b"access-control-max-age" not in answer


@pytest.mark.parametrize(("forwarded", "status"), [(True, None), (False, 200)])
def test_a_preflight_of_another_origin_is_forwarded_or_answered_without_a_mark(
    *, forwarded: bool, status: int | None
) -> None:
    decision = decided(Cors((Exact(GOOD),), "GET", forward_unmatched=forwarded), "OPTIONS", origin=OTHER, **ASKED)
    assert (decision.reply.status if decision.reply else None) == status
    assert decision.reply is None or decision.reply.headers == ((b"access-control-allow-methods", b"GET"),)
    assert decision.response_edits == ()


@pytest.mark.parametrize(("origin", "marked"), [(GOOD, True), ("https://x.c.test", True), (OTHER, False), ("é", False)])
def test_a_response_to_an_allowed_origin_is_marked(origin: str, *, marked: bool) -> None:
    decision = decided(CORS, "GET", origin=origin)
    assert decision.reply is None
    marks = dict(decision.response_edits[0].set) if decision.response_edits else {}
    wanted = {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-b",
    }
    assert marks == (wanted if marked else {})


def test_a_route_with_a_policy_is_never_answered_from_a_cache() -> None:
    assert not decided(CORS, "GET").cacheable
    assert not decided(CORS, "GET", origin=GOOD).cacheable


@pytest.mark.parametrize("action", [DirectResponse(404), Redirect(host="other.test"), Forward(())])
def test_what_is_answered_here_is_not_for_other_origins(action: RouteAction) -> None:
    one = msgspec.structs.replace(route(None), action=action, cors=CORS)
    prepared = prepared_of(gateway_listener(), table(), *host_sections("all", ["*"], [one]))
    for method in ("GET", "OPTIONS"):
        head = request(host="x", method=method, headers={"origin": GOOD, **ASKED})
        decision = decide(prepared, prepared.chains["http", "http"], head, PEER, Principal(""))
        marks = [pair for edit in decision.response_edits for pair in edit.set]
        assert marks == []
        assert decision.reply is None or (decision.reply.status != 200 and not decision.total_weight)
