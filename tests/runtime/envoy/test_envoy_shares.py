"""Destinations that change paths by themselves become routes with running shares."""

from __future__ import annotations

from policies.match import PathSegments
from policies.traffic import Destination, Forward, Redirect, Rewrite
from runtime.envoy.actions import Marked
from runtime.envoy.routes import virtual_host
from runtime.envoy.shares import parted
from snapshot.prepared import PreparedVirtualHost
from tests.slices import cluster, gateway_listener, host_sections, prepared_of, route, table

UNMARKED = Marked(frozenset(), frozenset())


def host_of(*destinations: Destination, rewrite: Rewrite | None = None) -> PreparedVirtualHost:
    action = Forward(destinations, rewrite)
    sections = host_sections("all", ["*"], [route(PathSegments("/a"), action=action)])
    prepared = prepared_of(gateway_listener(), table(), *sections, cluster("x"), cluster("y"))
    return next(iter(prepared.hosts.values()))


def test_a_route_whose_destinations_change_nothing_stays_one() -> None:
    assert [share for _, share in parted(host_of(Destination("x"), Destination("y")).routes[0])] == [0]


def test_shares_run_and_the_last_takes_what_is_left() -> None:
    host = host_of(
        Destination("x", 1, rewrite=Rewrite(prefix="/b")),
        Destination("", 2, redirect=Redirect(302, path="/c")),
        Destination("y", 1),
        Destination("y", 0, rewrite=Rewrite(prefix="/d")),
    )
    made = virtual_host(host, ["*"], UNMARKED, proxy=False)
    shares = [one.match.runtime_fraction.default_value.numerator for one in made.routes]
    assert shares == [250_000, 750_000, 0]
    assert made.routes[0].route.regex_rewrite.substitution == r"/b\1"
    assert made.routes[1].redirect.path_redirect == "/c"
    assert [one.name for one in made.routes[2].route.weighted_clusters.clusters] == ["y"]


def test_an_authority_of_one_destination_needs_no_route_and_the_routes_own_wins() -> None:
    own = Destination("x", rewrite=Rewrite(authority="x.test"))
    (made,) = virtual_host(host_of(own, Destination("y")), ["*"], UNMARKED, proxy=False).routes
    assert [one.host_rewrite_literal for one in made.route.weighted_clusters.clusters] == ["x.test", ""]
    host = host_of(own, Destination("y"), rewrite=Rewrite(authority="all.test"))
    (made,) = virtual_host(host, ["*"], UNMARKED, proxy=False).routes
    assert made.route.host_rewrite_literal == "all.test"
    assert [one.host_rewrite_literal for one in made.route.weighted_clusters.clusters] == ["", ""]
