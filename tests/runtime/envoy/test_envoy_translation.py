"""What single parts of a slice become in Envoy's words, as far as no running Envoy is needed to tell."""

from __future__ import annotations

import msgspec
import pytest
import re2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as manager_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.match import Exact, PathExact, PathMatch, PathPrefix, PathSegments, Prefix, Regex
from policies.source import SourceRef
from policies.traffic import (
    Cors,
    Destination,
    DirectResponse,
    Fault,
    FaultAbort,
    Forward,
    HeaderEdits,
    Mirror,
    Redirect,
    Rewrite,
)
from runtime.bootstrap import Bootstrap
from runtime.endpoints import LiveData
from runtime.envoy.actions import Marked, quoted, rewriting
from runtime.envoy.authorization import Place, rbac
from runtime.envoy.failure import TranslationError, UntranslatableError
from runtime.envoy.headers import header_fields
from runtime.envoy.listeners import fits
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.routes import CORS, cors_policy
from runtime.envoy.routes import route as route_message
from runtime.envoy.tls import NOBODY, upstream
from runtime.envoy.translate import translate
from snapshot.index import Selector
from snapshot.rewriting import rewritten_path
from snapshot.section import (
    FilterChain,
    HttpChain,
    MeshTls,
    MeshUpstream,
    PoolLimits,
    Proxy,
    Route,
    ServerTls,
    TcpChain,
)
from tests.slices import SOURCE, WORKLOAD, cluster, gateway_listener, host_sections, prepared_of, route, table

PROXY = Proxy(workload=WORKLOAD, trust_domain="cluster.local", trust_domain_aliases=("old.local",))
PLACE = Placement(Bootstrap(Selector(), "", "", ""), LiveData(Bootstrap(Selector(), "", "", "")), Delivery.STATIC)
HTTP = HttpChain("80")

paths = st.builds(
    lambda parts: "/" + "/".join(parts), st.lists(st.sampled_from(["a", "b", "", "a.b", "%20"]), max_size=4)
)
matched = st.one_of(
    st.builds(PathSegments, st.sampled_from(["/", "/a", "/a/", "/a/b", "/a.b"])),
    st.builds(PathPrefix, st.sampled_from(["", "/", "/a", "/a/", "/a.b"])),
)


def rewritten(rewrite: Rewrite, match: PathMatch, path: str) -> str:
    """What Envoy makes of a path, by its documented rules."""
    fields = rewriting(rewrite, match)
    if "prefix_rewrite" in fields:
        assert isinstance(match, PathPrefix | PathExact)
        return str(fields["prefix_rewrite"]) + path[len(match.value) :]
    edit = fields["regex_rewrite"]
    assert isinstance(edit, dict)
    replaced: str = re2.sub(edit["pattern"].regex, edit["substitution"], path)
    return replaced


@settings(max_examples=400, deadline=None)
@given(paths, matched, st.sampled_from(["/", "/x", "/x/", r"/x\1", ""]))
def test_a_rewritten_prefix_is_what_the_decision_makes_of_it(path: str, match: PathMatch, prefix: str) -> None:
    taken = (
        path == match.value.rstrip("/") or path.startswith(match.value.rstrip("/") + "/")
        if isinstance(match, PathSegments)
        else path.startswith(match.value)  # type: ignore[union-attr]
    )
    if taken:
        rewrite = Rewrite(prefix=prefix)
        assert rewritten(rewrite, match, path) == rewritten_path(rewrite, match, path)


@given(st.text(max_size=12))
def test_quoted_text_matches_itself_alone(text: str) -> None:
    assert re2.fullmatch(quoted(text), text)


def test_a_percent_sign_is_text_and_names_of_the_codecs_are_left_alone() -> None:
    fields = header_fields(HeaderEdits(remove=("te",), set=(("x", "50%"), ("host", "y"))), HeaderEdits())
    assert fields["request_headers_to_remove"] == []
    (option,) = fields["request_headers_to_add"]  # type: ignore[misc]
    assert option.header.value == "50%%"


def test_a_cluster_that_lists_no_identity_accepts_nobody() -> None:
    socket = upstream(MeshUpstream((), "sni"), "http1", PROXY, Delivery.STATIC)
    assert NOBODY.encode() in socket.typed_config.value


def test_identities_of_foreign_trust_domains_are_not_accepted() -> None:
    listed = ("spiffe://old.local/ns/a/sa/b", "spiffe://evil.local/ns/a/sa/b")
    socket = upstream(MeshUpstream(listed, "sni"), "http1", PROXY, Delivery.STATIC)
    assert b"spiffe://old.local/ns/a/sa/b" in socket.typed_config.value
    assert b"evil.local" not in socket.typed_config.value


def test_of_chains_that_fit_equally_the_first_has_the_connection() -> None:
    mesh = FilterChain("mesh", SOURCE, HTTP, tls=MeshTls())
    edge = FilterChain("edge", SOURCE, HTTP, ("a.test", "b.test"), ServerTls(("x",)))
    late = FilterChain("late", SOURCE, HTTP, ("b.test", "c.test"), ServerTls(("x",)))
    never = FilterChain("never", SOURCE, HTTP, ("a.test",), ServerTls(("x",)))
    found = {chain.name: fit for chain, fit in fits((mesh, edge, late, never), "http")}
    assert found["late"].server_names == ("c.test",)
    assert "never" not in found
    assert found["mesh"].protocols == ()


def test_a_mesh_chain_beside_one_for_everybody_is_told_by_its_protocols() -> None:
    mesh = FilterChain("mesh", SOURCE, HTTP, tls=MeshTls())
    through = FilterChain("through", SOURCE, TcpChain((), SOURCE), passthrough=True)
    found = {chain.name: fit for chain, fit in fits((mesh, through), "auto")}
    assert "istio-http/1.1" in found["mesh"].protocols
    assert found["through"].protocols == ()


def test_conditions_that_envoy_has_no_form_for_are_refused() -> None:
    rule = Rule(SOURCE, when=(Clause("request.auth.principal", (Regex("y"),)),))
    with pytest.raises(TranslationError, match="principal"):
        rbac([AuthorizationPolicy(SOURCE, Action.DENY, (rule,))], Action.DENY, Place(http=True))


def test_on_connections_an_allow_rule_that_names_http_is_dropped_and_a_deny_rule_keeps_the_rest() -> None:
    clauses = (Clause("request.path", (Prefix("/"),)),)
    sources = ((Clause("source.namespace", (Exact("a"),)),),)
    for action, kept in ((Action.ALLOW, 0), (Action.DENY, 1)):
        policy = AuthorizationPolicy(SOURCE, action, (Rule(SOURCE, sources, (clauses,)),))
        made = rbac([policy], action, Place(http=False))
        assert made is not None
        assert len(made.policies) == kept


def slice_with(*routes: Route) -> object:
    return prepared_of(
        gateway_listener(), table(), *host_sections("h", ["a.test"], routes), cluster("a", ("127.0.0.1", 1))
    )


@pytest.mark.parametrize(
    "broken",
    [
        route(action=Redirect(status=399)),
        Route(
            SourceRef("Test", "default", "x"), route().match, DirectResponse(200), fault=Fault(abort=FaultAbort(503))
        ),
        route(action=Forward((Destination("", status=502), Destination("a")))),
    ],
)
def test_what_cannot_be_translated_is_refused_with_its_source(broken: Route) -> None:
    with pytest.raises(UntranslatableError) as raised:
        translate(slice_with(route(), broken), PLACE)  # type: ignore[arg-type]
    assert len(raised.value.problems) == 1
    assert str(broken.source) in raised.value.problems[0]


def test_mirrors_and_cors_stand_on_the_route() -> None:
    origin = Cors((Exact("https://a.test"),), "GET", max_age_s=5, forward_unmatched=False)
    one = route(action=Forward((Destination("a"),), mirrors=(Mirror("m", 125_000),)))
    both = [gateway_listener(), table(), cluster("a"), cluster("m")]
    marked = Route(one.source, one.match, one.action, cors=origin)
    prepared = prepared_of(*both, *host_sections("all", ["*"], [marked]))
    made = route_message(next(iter(prepared.hosts.values())).routes[0], Marked(frozenset(), frozenset()))
    (mirror,) = made.route.request_mirror_policies
    assert (mirror.cluster, mirror.runtime_fraction.default_value.numerator) == ("m", 125_000)
    policy = cors_policy(origin)
    assert made.typed_per_filter_config[CORS].value == policy.SerializeToString()
    assert (policy.allow_methods, policy.max_age, policy.forward_not_matching_preflights.value) == ("GET", "5", False)


def test_a_route_names_what_made_it() -> None:
    prepared = prepared_of(gateway_listener(80), table(), *host_sections("a", ["*"], [route(None, "b")]), cluster("b"))
    (listener,) = translate(prepared, PLACE).listeners
    manager = listener.filter_chains[0].filters[0].typed_config
    found = manager_pb2.HttpConnectionManager.FromString(manager.value)
    (made,) = found.route_config.virtual_hosts[0].routes
    assert list(made.metadata.filter_metadata["weft"]["sources"]) == ["Test/default/b"]


def test_sessions_of_datagrams_are_bounded_also_where_nothing_is_said() -> None:
    found = []
    for limits in (PoolLimits(), PoolLimits(max_connections=9)):
        section = msgspec.structs.replace(cluster("dns", ("127.0.0.1", 53)), protocol="udp", limits=limits)
        (made,) = translate(prepared_of(section), PLACE).clusters
        found.append(made.circuit_breakers.thresholds[0].max_connections.value)
    assert found == [4096, 9]
