"""AuthorizationPolicy's meaning, by tables."""

from __future__ import annotations

import pytest

from policies.attributes import Asked
from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.authorizing import prepare_policies
from policies.head import Headers, Peer, Principal, TokenIdentity
from policies.match import Exact, Prefix, Present, Suffix
from policies.source import SourceRef
from tests.slices import request

SOURCE = SourceRef("AuthorizationPolicy", "shop", "p")
WEB = Peer(
    "10.0.0.7", 1, "10.0.0.1", 8080, identity="spiffe://cluster.local/ns/shop/sa/web", server_name="a.test", tls=True
)


def policy(action: Action, *clauses: Clause) -> AuthorizationPolicy:
    return AuthorizationPolicy(SOURCE, action, (Rule(SOURCE, when=clauses),))


def asked(
    headers: Headers | None = None, *, peer: Peer = WEB, token: TokenIdentity | None = None, edge: bool = False
) -> Asked:
    head = request("/info/1", host="Shop.test:8080", method="GET", headers=headers or [])
    return Asked(head, peer, Principal(peer.identity, token), edge)


def denies(clause: Clause, what: Asked) -> bool:
    return not prepare_policies((policy(Action.DENY, clause),), http=True).evaluate(what).allowed


def allows(clause: Clause, what: Asked) -> bool:
    return prepare_policies((policy(Action.ALLOW, clause),), http=True).evaluate(what).allowed


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("source.principal", Exact("cluster.local/ns/shop/sa/web")),
        ("source.principal", Suffix("/sa/web")),
        ("source.namespace", Exact("shop")),
        ("source.serviceAccount", Exact("shop/web")),
        ("source.trustDomain", Exact("cluster.local")),
        ("source.ip", Exact("10.0.0.0/24")),
        ("remote.ip", Exact("10.0.0.7")),
        ("destination.ip", Exact("10.0.0.1")),
        ("destination.port", Exact("8080")),
        ("connection.sni", Exact("a.test")),
        ("request.host", Exact("shop.TEST")),
        ("request.host", Exact("shop.test:8080")),
        ("request.method", Exact("GET")),
        ("request.path", Prefix("/info/")),
        ("request.headers[X-User]", Present()),
    ],
)
def test_each_attribute_is_read_from_where_istio_reads_it(attribute: str, value: Exact) -> None:
    what = asked([(b"x-user", b"jo")])
    assert allows(Clause(attribute, (value,)), what)
    assert denies(Clause(attribute, (value,)), what)
    assert not allows(Clause(attribute, not_values=(value,)), what)


def test_a_token_gives_request_principal_audiences_and_claims() -> None:
    token = TokenIdentity(
        "https://issuer", "jo", ("shop",), {"azp": "app", "groups": ["a", "b"], "nested": {"role": "admin"}}
    )
    what = asked(token=token)
    assert allows(Clause("request.auth.principal", (Exact("https://issuer/jo"),)), what)
    assert allows(Clause("request.auth.audiences", (Exact("shop"),)), what)
    assert allows(Clause("request.auth.presenter", (Exact("app"),)), what)
    assert denies(Clause("request.auth.claims[groups]", (Exact("b"),)), what)
    assert allows(Clause("request.auth.claims[nested][role]", (Exact("admin"),)), what)
    assert not allows(Clause("request.auth.principal", (Present(),)), asked())


@pytest.mark.parametrize(
    ("values", "denied", "allowed"),
    [
        ([b"a"], True, True),
        ([b"b"], False, False),
        ([b"a", b"b"], True, False),
        ([b"\xff"], True, False),
        ([], False, False),
    ],
)
def test_a_repeated_header_cannot_dodge_a_denial_or_buy_a_permission(
    values: list[bytes], denied: bool, allowed: bool
) -> None:
    what = asked([(b"x", value) for value in values])
    clause = Clause("request.headers[x]", (Exact("a"),))
    assert (denies(clause, what), allows(clause, what)) == (denied, allowed)


@pytest.mark.parametrize(
    ("values", "denied", "allowed"),
    [([b"a"], False, False), ([b"b"], True, True), ([b"a", b"b"], True, False), ([], True, True)],
)
def test_a_negative_clause_holds_for_what_is_absent_and_fails_closed_for_what_is_repeated(
    values: list[bytes], denied: bool, allowed: bool
) -> None:
    what = asked([(b"x", value) for value in values])
    clause = Clause("request.headers[x]", not_values=(Exact("a"),))
    assert (denies(clause, what), allows(clause, what)) == (denied, allowed)


def test_deny_is_asked_before_allow_and_no_allow_policy_allows() -> None:
    everything = AuthorizationPolicy(SOURCE, Action.ALLOW, (Rule(SOURCE),))
    banned = policy(Action.DENY, Clause("source.namespace", (Exact("shop"),)))
    assert not prepare_policies((everything, banned), http=True).evaluate(asked()).allowed
    assert prepare_policies((), http=True).evaluate(asked()).allowed
    assert not prepare_policies((AuthorizationPolicy(SOURCE, Action.ALLOW),), http=True).evaluate(asked()).allowed
    assert prepare_policies((AuthorizationPolicy(SOURCE, Action.DENY),), http=True).evaluate(asked()).allowed


def test_sources_and_operations_are_alternatives_whose_parts_must_all_hold() -> None:
    rule = Rule(
        SOURCE,
        sources=(
            (Clause("source.namespace", (Exact("other"),)),),
            (Clause("source.namespace", (Exact("shop"),)), Clause("source.ip", (Exact("10.0.0.7"),))),
        ),
        operations=((Clause("request.method", (Exact("POST"), Exact("GET"))),),),
    )
    prepared = prepare_policies((AuthorizationPolicy(SOURCE, Action.ALLOW, (rule,)),), http=True)
    assert prepared.evaluate(asked()).allowed
    assert not prepared.evaluate(asked(peer=Peer("10.0.0.8", 1, "10.0.0.1", 80, identity=WEB.identity))).allowed


def test_on_a_connection_an_allow_rule_with_http_parts_is_dropped_and_a_deny_rule_is_asked_without_them() -> None:
    connection = Asked(None, WEB, Principal(WEB.identity))
    by_path, by_port = Clause("request.path", (Exact("/x"),)), Clause("destination.port", (Exact("8080"),))
    assert not prepare_policies((policy(Action.ALLOW, by_path, by_port),), http=False).evaluate(connection).allowed
    assert not prepare_policies((policy(Action.DENY, by_path, by_port),), http=False).evaluate(connection).allowed
    assert prepare_policies((policy(Action.ALLOW, by_port),), http=False).evaluate(connection).allowed


def test_the_remote_address_is_the_last_forwarded_one_inside_the_mesh_and_the_peers_at_the_edge() -> None:
    headers = [(b"x-forwarded-for", b"1.1.1.1, 2.2.2.2")]
    clause = Clause("remote.ip", (Exact("2.2.2.2"),))
    assert allows(clause, asked(headers))
    assert not allows(clause, asked(headers, edge=True))
