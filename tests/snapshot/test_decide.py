"""The decision, by tables and against the linear walk."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.head import Peer, Principal, RequestHead
from policies.match import (
    Exact,
    HeaderMatch,
    PathExact,
    PathMatch,
    PathPrefix,
    PathRegex,
    PathSegments,
    Prefix,
    Present,
    QueryMatch,
    Regex,
)
from policies.source import SourceRef
from policies.traffic import Destination, DirectResponse, Forward, HeaderEdits, Redirect, Rewrite
from snapshot.considerations import considerations
from snapshot.decide import decide
from snapshot.decision import Decision
from snapshot.prepared import PreparedSlice, PrepareError, prepare
from snapshot.section import PolicySet, Route, Section
from tests.slices import (
    PEER,
    SOURCE,
    cluster,
    gateway_listener,
    host_sections,
    prepared_of,
    request,
    route,
    slice_of,
    table,
)


def slice_with(
    *routes: Route, domains: tuple[str, ...] = ("*",), extra: tuple[Section, ...] = (), policies: str = ""
) -> PreparedSlice:
    clusters = [cluster(name) for name in "abcdef"]
    return prepared_of(
        gateway_listener(policies=policies), table(), *clusters, *host_sections("h", domains, routes), *extra
    )


def decided(prepared: PreparedSlice, head: RequestHead, peer: Peer = PEER) -> Decision:
    return decide(prepared, prepared.chains["http", "http"], head, peer, Principal(peer.identity))


def cluster_of(decision: Decision) -> str:
    return decision.destinations[0].cluster if decision.destinations else f"reply {decision.reply.status}"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("match", "path", "holds"),
    [
        (PathExact("/a"), "/a", True),
        (PathExact("/a"), "/a/", False),
        (PathExact("/A", ignore_case=True), "/a", True),
        (PathPrefix("/a"), "/ab", True),
        (PathPrefix("/A", ignore_case=True), "/ab", True),
        (PathPrefix("/a/"), "/a", False),
        (PathSegments("/a"), "/a", True),
        (PathSegments("/a"), "/a/b", True),
        (PathSegments("/a/"), "/a", True),
        (PathSegments("/a"), "/ab", False),
        (PathSegments("/"), "/anything", True),
        (PathRegex("/a/[0-9]+"), "/a/12", True),
        (PathRegex("/a/[0-9]+"), "/a/12/b", False),
    ],
)
def test_a_path_match_holds_for_exactly_the_paths_that_its_kind_says(match: PathMatch, path: str, holds: bool) -> None:
    prepared = slice_with(route(match, "a"))
    assert cluster_of(decided(prepared, request(path))) == ("a" if holds else "reply 404")


def test_the_first_route_in_order_wins_whatever_kind_of_path_it_has() -> None:
    prepared = slice_with(route(PathPrefix("/a"), "a"), route(PathExact("/a/b"), "b"), route(PathRegex("/.*"), "c"))
    assert cluster_of(decided(prepared, request("/a/b"))) == "a"
    assert cluster_of(decided(prepared, request("/z"))) == "c"


@pytest.mark.parametrize(
    ("match", "head", "holds"),
    [
        ({"method": Exact("GET")}, request(method="GET"), True),
        ({"method": Exact("GET")}, request(method="POST"), False),
        ({"scheme": Exact("https")}, request(), False),
        ({"authority": Prefix("a.")}, request(host="a.test"), True),
        ({"headers": (HeaderMatch("X-User", Exact("jo")),)}, request(headers=[(b"x-user", b"jo")]), True),
        ({"headers": (HeaderMatch("x-user", Exact("jo")),)}, request(), False),
        (
            {"headers": (HeaderMatch("x-user", Exact("jo,mo")),)},
            request(headers=[(b"x-user", b"jo"), (b"x-user", b"mo")]),
            True,
        ),
        ({"headers": (HeaderMatch("x-user", Present()),)}, request(headers=[(b"x-user", b"")]), True),
        ({"headers": (HeaderMatch("x-user", Exact("jo"), invert=True),)}, request(), True),
        (
            {"headers": (HeaderMatch("x-user", Exact("jo"), invert=True),)},
            request(headers=[(b"x-user", b"\xff")]),
            False,
        ),
        ({"headers": (HeaderMatch("x-user", Regex("j.")),)}, request(headers=[(b"x-user", b"jo")]), True),
        ({"query": (QueryMatch("q", Exact("a b")),)}, request(query="z=1&q=a+b&q=c"), True),
        ({"query": (QueryMatch("q", Exact("c")),)}, request(query="q=a&q=c"), False),
        ({"query": (QueryMatch("q", Exact("")),)}, request(query="q"), True),
    ],
)
def test_every_other_part_of_a_match_must_hold_too(match: dict[str, object], head: RequestHead, holds: bool) -> None:
    assert cluster_of(decided(slice_with(route(None, "a", **match)), head)) == ("a" if holds else "reply 404")


def test_a_host_is_found_exact_first_then_by_the_longest_wildcard_then_by_the_star() -> None:
    prepared = prepared_of(
        gateway_listener(),
        table(),
        *(cluster(name) for name in "abcd"),
        *host_sections("exact", ["a.b.test"], [route(None, "a")]),
        *host_sections("long", ["*.b.test"], [route(None, "b")]),
        *host_sections("short", ["*.test"], [route(None, "c")]),
        *host_sections("star", ["*"], [route(None, "d")]),
    )
    found = {
        host: cluster_of(decided(prepared, request(host=host)))
        for host in ("a.b.test", "A.B.test:80", "x.b.test", "b.test", "test")
    }
    assert found == {"a.b.test": "a", "A.B.test:80": "a", "x.b.test": "b", "b.test": "c", "test": "d"}


def test_a_host_that_no_virtual_host_claims_is_answered_404_with_flag_nr() -> None:
    reply = decided(slice_with(route(None, "a"), domains=("only.test",)), request(host="other.test")).reply
    assert reply is not None
    assert (reply.status, reply.flag, reply.details) == (404, "NR", "route_not_found")


@pytest.mark.parametrize(
    ("match", "rewrite", "path", "forwarded"),
    [
        (PathPrefix("/old"), Rewrite(prefix="/new"), "/old/x", "/new/x"),
        (PathPrefix("/old/"), Rewrite(prefix="/"), "/old/x", "/x"),
        (PathSegments("/old"), Rewrite(prefix="/new"), "/old", "/new"),
        (PathSegments("/old"), Rewrite(prefix="/"), "/old/x", "/x"),
        (PathSegments("/old/"), Rewrite(prefix="/new/"), "/old/x/", "/new/x/"),
        (PathSegments("/"), Rewrite(prefix="/new"), "/x", "/new/x"),
        (PathExact("/old"), Rewrite(path="/new"), "/old", "/new"),
        (PathRegex("/v[0-9]/.*"), Rewrite(regex="/v([0-9])/", substitution=r"/version-\1/"), "/v2/x", "/version-2/x"),
        (None, Rewrite(authority="other.test"), "/x", None),
    ],
)
def test_a_rewrite_changes_the_forwarded_path(
    match: PathMatch | None, rewrite: Rewrite, path: str, forwarded: str | None
) -> None:
    decision = decided(slice_with(route(match, action=Forward((Destination("a"),), rewrite))), request(path))
    assert (decision.path, decision.authority) == (forwarded, rewrite.authority)


@pytest.mark.parametrize(
    ("redirect", "head", "location"),
    [
        (
            Redirect(scheme="https", port_from_scheme=True),
            request("/x", host="a.test:8080", query="q=1"),
            "https://a.test/x?q=1",
        ),
        (Redirect(host="b.test"), request("/x", host="a.test:8080"), "http://b.test:8080/x"),
        (Redirect(authority="b.test:81"), request("/x"), "http://b.test:81/x"),
        (Redirect(port=8443, scheme="https"), request("/x"), "https://a.test:8443/x"),
        (Redirect(port=443, scheme="https"), request("/x"), "https://a.test/x"),
        (Redirect(port=80), request("/x", host="b"), "http://b/x"),
        (Redirect(port=80), request("/x", host="b:80"), "http://b:80/x"),
        (Redirect(port=85), request("/x", host="b"), "http://b:85/x"),
        (Redirect(port=85), request("/x", host="b:85"), "http://b:85/x"),
        (Redirect(port=80, scheme="https"), request("/x", host="b"), "https://b:80/x"),
        (Redirect(port=0), request("/x", host="b:80"), "http://b/x"),
        (Redirect(scheme="https"), request("/x", host="b:80"), "https://b/x"),
        (Redirect(scheme="https"), request("/x", host="b:8080"), "https://b:8080/x"),
        (Redirect(authority="c:80", port=81), request("/x"), "http://c:81/x"),
        (Redirect(path="/full"), request("/x", query="q"), "http://a.test/full?q"),
    ],
)
def test_a_redirect_keeps_what_it_does_not_name(redirect: Redirect, head: RequestHead, location: str) -> None:
    reply = decided(slice_with(route(None, action=redirect)), head).reply
    assert reply is not None
    assert (reply.status, reply.headers) == (301, ((b"location", location.encode()),))


def test_a_direct_response_is_given_with_the_levels_response_edits() -> None:
    made = route(None, action=DirectResponse(418, "teapot"))
    decision = decided(
        slice_with(Route(made.source, made.match, made.action, response_headers=HeaderEdits(set=(("a", "b"),)))),
        request(),
    )
    assert decision.reply is not None
    assert (decision.reply.status, decision.reply.body, decision.response_edits) == (
        418,
        b"teapot",
        (HeaderEdits(set=(("a", "b"),)),),
    )


def policy_set(*policies: AuthorizationPolicy) -> PolicySet:
    return PolicySet("p", policies)


def rule(*, index: int = 0, sources: tuple[tuple[Clause, ...], ...] = (), when: tuple[Clause, ...] = ()) -> Rule:
    return Rule(SourceRef("AuthorizationPolicy", "default", "p", f"spec.rules[{index}]"), sources=sources, when=when)


MATES = Peer("127.0.0.9", 1, "127.0.0.1", 80, identity="spiffe://cluster.local/ns/shop/sa/web")


def test_a_deny_rule_names_itself_in_the_decision_and_in_the_details() -> None:
    banned = AuthorizationPolicy(
        SOURCE, Action.DENY, (rule(index=2, sources=((Clause("source.namespace", (Exact("shop"),)),),)),)
    )
    prepared = slice_with(route(None, "a"), extra=(policy_set(banned),), policies="p")
    decision = decided(prepared, request(), MATES)
    assert decision.reply is not None
    assert (decision.reply.status, decision.reply.body) == (403, b"RBAC: access denied")
    assert decision.reply.details == "rbac_access_denied_matched_policy[ns[default]-policy[p]-rule[2]]"
    assert decision.sources == (banned.rules[0].source,)
    assert cluster_of(decided(prepared, request())) == "a"


def test_an_allow_policy_without_rules_denies_all() -> None:
    prepared = slice_with(
        route(None, "a"), extra=(policy_set(AuthorizationPolicy(SOURCE, Action.ALLOW)),), policies="p"
    )
    assert cluster_of(decided(prepared, request())) == "reply 403"


def test_a_decision_is_cacheable_only_where_nothing_but_its_key_was_read() -> None:
    plain = slice_with(
        route(PathPrefix("/a"), "a"), route(None, "b", headers=(HeaderMatch("x", Present()),)), route(None, "c")
    )
    assert decided(plain, request("/a")).cacheable
    assert not decided(plain, request("/b")).cacheable
    by_identity = policy_set(
        AuthorizationPolicy(SOURCE, Action.ALLOW, (rule(sources=((Clause("source.principal", (Present(),)),),)),))
    )
    assert decided(slice_with(route(None, "a"), extra=(by_identity,), policies="p"), request(), MATES).cacheable
    by_address = policy_set(
        AuthorizationPolicy(SOURCE, Action.ALLOW, (rule(sources=((Clause("source.ip", (Exact("127.0.0.0/8"),)),),)),))
    )
    assert not decided(slice_with(route(None, "a"), extra=(by_address,), policies="p"), request()).cacheable


def test_a_slice_whose_route_names_a_cluster_that_it_lacks_does_not_load() -> None:
    with pytest.raises(PrepareError, match="'nowhere'"):
        slice_with(route(None, "nowhere"))


def test_preparing_again_shares_what_did_not_change() -> None:
    routes = [route(PathExact(f"/{number}"), "a") for number in range(130)]
    parts = [gateway_listener(), table(), cluster("a"), cluster("b"), *host_sections("h", ["*"], routes)]
    first = prepared_of(*parts)
    same = prepare(slice_of(*parts), first)
    assert same.hosts[("virtual_host", "80/h")] is first.hosts[("virtual_host", "80/h")]
    routes[129] = route(PathExact("/new"), "b")
    changed = prepare(slice_of(*parts[:4], *host_sections("h", ["*"], routes)), first)
    assert changed.hosts[("virtual_host", "80/h")].routes[0] is first.hosts[("virtual_host", "80/h")].routes[0]
    assert cluster_of(decided(changed, request("/new"))) == "b"
    assert cluster_of(decided(changed, request("/129"))) == "reply 404"


PATHS = st.sampled_from(["/", "/a", "/a/", "/a/b", "/A", "/ab", "/b", "/b/c", "*"])
MATCHES = st.one_of(
    st.none(),
    st.builds(PathExact, PATHS, st.booleans()),
    st.builds(PathPrefix, PATHS, st.booleans()),
    st.builds(PathSegments, st.sampled_from(["/", "/a", "/a/", "/a/b", "/b"])),
    st.sampled_from([PathRegex("/a.*"), PathRegex("/[ab]/?"), PathRegex(".*c")]),
)
ROUTES = st.builds(
    lambda path, method, header: route(
        path, "a", method=method, headers=(HeaderMatch("x", Exact(header[0]), invert=header[1]),) if header else ()
    ),
    MATCHES,
    st.sampled_from([None, Exact("GET"), Exact("POST")]),
    st.sampled_from([None, ("1", False), ("1", True)]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ROUTES, max_size=70),
    PATHS,
    st.sampled_from(["GET", "POST"]),
    st.sampled_from([[], [(b"x", b"1")], [(b"x", b"2")]]),
)
def test_the_first_route_of_the_linear_walk_is_the_one_that_decide_takes(
    routes: list[Route], path: str, method: str, headers: list[tuple[bytes, bytes]]
) -> None:
    numbered = [
        Route(SourceRef("Test", "default", "r", f"http[{index}]"), made.match, made.action)
        for index, made in enumerate(routes)
    ]
    prepared = slice_with(*numbered)
    head = request(path, method=method, headers=headers)
    walked = list(considerations(prepared, prepared.chains["http", "http"], head, PEER, Principal()))
    first = next((step.source for step in walked if step.matched), None)
    decision = decided(prepared, head)
    assert (decision.sources[0] if decision.sources else None) == first
    assert len(walked) == len(routes)
