"""The linear walk: every policy rule and every route in the order of precedence, with whether it holds and what it lacked.

The same matchers as ``decide`` and none of its indexes; the first route that holds here is the one that decide takes (a property test).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from policies.attributes import Asked
from policies.head import Peer, Principal, RequestHead
from policies.match import Exact, PathExact, PathMatch, PathPrefix, PathRegex, PathSegments, StringMatch
from policies.matching import compile_pattern, header_test, string_test
from policies.source import SourceRef
from snapshot.decide import host_for, table_for
from snapshot.prepared import PreparedChain, PreparedRoute, PreparedSlice
from snapshot.query import query_test
from snapshot.section import Route


class Consideration(msgspec.Struct, frozen=True):
    """One rule or route that was asked. ``missing`` names the parts that did not hold; none means that it matched."""

    kind: str
    source: SourceRef
    matched: bool
    missing: tuple[str, ...] = ()


def considerations(
    prepared: PreparedSlice, chain: PreparedChain, head: RequestHead, peer: Peer, principal: Principal
) -> Iterator[Consideration]:
    """All policies' rules, then all routes of the request's virtual host, each with its answer."""
    if chain.policies is not None:
        for rule, matched in chain.policies.consider(Asked(head, peer, principal, chain.edge)):
            yield Consideration("rule", rule.source, matched)
    table = table_for(prepared, chain, head)
    host = host_for(table, chain, head) if table is not None else None
    if host is None:
        return
    for rank in sorted(host.routes):
        route = host.routes[rank].route
        missing = (*_missing(route, head), *_missing_claims(host.routes[rank], principal))
        yield Consideration("route", route.source, not missing, missing)


def path_holds(match: PathMatch | None, path: str) -> bool:
    """Whether one path match holds, asked on its own."""
    match match:
        case None:
            return True
        case PathExact(value, ignore_case):
            return path.lower() == value.lower() if ignore_case else path == value
        case PathPrefix(value, ignore_case):
            return path.lower().startswith(value.lower()) if ignore_case else path.startswith(value)
        case PathSegments(value):
            bare = value.rstrip("/")
            return path == bare or path.startswith(f"{bare}/")
        case PathRegex(pattern):
            return compile_pattern(pattern).fullmatch(path) is not None


def _missing(route: Route, head: RequestHead) -> Iterator[str]:
    match = route.match
    if not path_holds(match.path, head.path):
        yield f"path {_shown(match.path)}"
    for name, wanted, value in (
        ("method", match.method, head.method),
        ("scheme", match.scheme, head.scheme),
        ("authority", match.authority, head.authority),
    ):
        if wanted is not None and not string_test(wanted)(value):
            yield f"{name} {_shown(wanted)}"
    for header in match.headers:
        if not header_test(header)(head.headers):
            yield f"header {header.name}{' without' if header.invert else ''} {_shown(header.match)}"
    for parameter in match.query:
        if not query_test(parameter)(head):
            yield f"query {parameter.name} {_shown(parameter.match)}"


def _missing_claims(prepared: PreparedRoute, principal: Principal) -> Iterator[str]:
    for claim, test in zip(prepared.route.match.claims, prepared.claims, strict=True):
        if not test(principal.token):
            yield f"claim {'.'.join(claim.path)}{' without' if claim.invert else ''} {_shown(claim.match)}"


def _shown(match: StringMatch | PathMatch | None) -> str:
    if match is None:
        return "any"
    kind = match.__struct_config__.tag
    value = getattr(match, "value", getattr(match, "pattern", ""))
    return f"= {value}" if isinstance(match, Exact | PathExact) else f"{kind} {value}".rstrip()
