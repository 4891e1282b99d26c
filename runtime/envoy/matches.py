"""From RouteMatch to Envoy's RouteMatch. A new matcher of ``policies.match`` gets its arm here."""

from __future__ import annotations

from typing import assert_never

from envoy.config.route.v3 import route_components_pb2

from policies.match import HeaderMatch, PathExact, PathMatch, PathPrefix, PathRegex, PathSegments, Present, RouteMatch
from policies.matching import compile_pattern
from runtime.envoy.messages import Message, header_matcher, regex, string_matcher
from runtime.envoy.tokens import claim_matcher


def route_match(match: RouteMatch) -> Message:
    """Everything that a route asks of a request."""
    return route_components_pb2.RouteMatch(**_path(match.path), **_conditions(match))


def connect_match(match: RouteMatch) -> Message | None:
    """The match of a CONNECT that goes where a request for / would go; None where this route does not take such a request."""
    if not _takes_root(match.path):
        return None
    matcher = route_components_pb2.RouteMatch.ConnectMatcher()
    return route_components_pb2.RouteMatch(connect_matcher=matcher, **_conditions(match))


def _path(path: PathMatch | None) -> dict[str, object]:
    match path:
        case None:
            return {"prefix": "/"}
        case PathExact(value, ignore_case):
            return {"path": value, **_case(ignore_case=ignore_case)}
        case PathPrefix(value, ignore_case):
            return {"prefix": value or "/", **_case(ignore_case=ignore_case)}
        case PathSegments(value):
            bare = value.rstrip("/")
            return {"path_separated_prefix": bare} if bare else {"prefix": "/"}
        case PathRegex(pattern):
            return {"safe_regex": regex(pattern)}
        case _:
            assert_never(path)


def _case(*, ignore_case: bool) -> dict[str, object]:
    return {"case_sensitive": {"value": False}} if ignore_case else {}


def _conditions(match: RouteMatch) -> dict[str, object]:
    """What a route asks besides the path."""
    headers = [
        header_matcher(name, string_matcher(asked))
        for name, asked in ((":method", match.method), (":scheme", match.scheme), (":authority", match.authority))
        if asked is not None
    ]
    headers += [header(one) for one in match.headers]
    query = [
        route_components_pb2.QueryParameterMatcher(name=one.name, present_match=True)
        if isinstance(one.match, Present)
        else route_components_pb2.QueryParameterMatcher(name=one.name, string_match=string_matcher(one.match))
        for one in match.query
    ]
    claims = [claim_matcher(one) for one in match.claims]
    return {"headers": headers, "query_parameters": query, "dynamic_metadata": claims}


def header(match: HeaderMatch) -> Message:
    """One header; where an inverted match finds none, it is asked about the empty text."""
    name = match.name.lower()
    if isinstance(match.match, Present):
        return route_components_pb2.HeaderMatcher(name=name, present_match=True, invert_match=match.invert)
    matcher = header_matcher(name, string_matcher(match.match))
    if match.invert:
        matcher.invert_match = True
        matcher.treat_missing_header_as_empty = True
    return matcher


def _takes_root(path: PathMatch | None) -> bool:
    match path:
        case None | PathPrefix("" | "/") | PathSegments("" | "/"):
            return True
        case PathExact(value):
            return value == "/"
        case PathRegex(pattern):
            return compile_pattern(pattern).fullmatch("/") is not None
        case _:
            return False
