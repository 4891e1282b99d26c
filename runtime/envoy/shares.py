"""Routes whose destinations rewrite paths, or redirect, each by itself: Envoy has such changes on routes alone.

One route becomes one per destination, each for a share of the requests. Envoy compares one random number of the request with all of them, so the
shares are running sums, and the last route takes what is left.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from policies.traffic import PER_MILLION, Destination, Forward, RouteAction
from snapshot.prepared import PreparedRoute


def parted(prepared: PreparedRoute) -> Iterator[tuple[PreparedRoute, int]]:
    """A route with the share of requests per million that it takes of those that come to it; 0 is all."""
    action = prepared.route.action
    alive = [one for one in action.destinations if one.weight] if isinstance(action, Forward) else []
    if not isinstance(action, Forward) or not any(map(_needs_route, alive)):
        yield prepared, 0
        return
    total = sum(one.weight for one in alive)
    before = 0
    for destination in alive:
        before += destination.weight
        share = 0 if before == total else before * PER_MILLION // total
        route = msgspec.structs.replace(prepared.route, action=_alone(action, destination))
        yield msgspec.structs.replace(prepared, route=route), share


def _needs_route(destination: Destination) -> bool:
    """Whether a destination changes more than the authority, which Envoy has for each of several clusters, too."""
    rewrite = destination.rewrite
    changes = rewrite is not None and (rewrite.path, rewrite.prefix, rewrite.regex) != (None, None, None)
    return changes or destination.redirect is not None


def _alone(action: Forward, destination: Destination) -> RouteAction:
    """What the route does for one of its destinations."""
    if destination.redirect is not None:
        return destination.redirect
    own, common = destination.rewrite, action.rewrite
    rewrite = own if common is None else common
    if own is not None and common is not None and (common.path, common.prefix, common.regex) == (None, None, None):
        rewrite = msgspec.structs.replace(own, authority=common.authority or own.authority)
    return Forward((msgspec.structs.replace(destination, weight=1, rewrite=None),), rewrite, action.mirrors)
