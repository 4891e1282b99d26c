"""VirtualServices that leave routes to others: a root's rule and its delegate's rules become rules of the root (Istio).

A delegate has no hosts and no delegates of its own, and must be exported to the root's namespace. What it asks must be part of what the root
asks: a rule of which some match is not, takes no request. What a delegate's rule does not set, the root's rule does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from compiler.hosts import is_visible
from compiler.resources.cursor import Labels, Located
from compiler.resources.virtual_service import (
    MESH,
    DelegateRef,
    HttpMatch,
    HttpRule,
    Scope,
    VirtualService,
)
from policies.match import (
    Exact,
    HeaderMatch,
    PathExact,
    PathMatch,
    PathPrefix,
    Prefix,
    Present,
    QueryMatch,
    RouteMatch,
    StringMatch,
)
from policies.traffic import HeaderEdits

Delegates = Mapping[tuple[str, str], VirtualService]


def undelegated(service: VirtualService, delegates: Delegates) -> VirtualService:
    """A VirtualService with the rules of its delegates in their places. A rule whose delegate is missing stays, and leads nowhere (503)."""
    if not any(rule.delegate for rule in service.http):
        return service
    rules: list[HttpRule] = []
    for rule in service.http:
        delegate = delegate_of(service, rule.delegate, delegates) if rule.delegate else None
        rules += merged_rules(rule, delegate, service.meta.namespace) if delegate else [rule]
    return msgspec.structs.replace(service, http=tuple(rules))


def delegate_of(service: VirtualService, ref: DelegateRef, delegates: Delegates) -> VirtualService | None:
    """The VirtualService that a rule leaves its requests to; None where there is none, or none that the root's namespace may use."""
    found = delegates.get((ref.namespace, ref.name))
    if found is None or found.hosts or not is_visible(found.export_to, ref.namespace, service.meta.namespace):
        return None
    return found


def merged_rules(root: HttpRule, delegate: VirtualService, home: str) -> list[HttpRule]:
    """A delegate's rules as the root, a rule in the namespace ``home``, lets them hold."""
    namespace = delegate.meta.namespace
    asked = tuple(_placed(match, home) for match in root.matches)
    found = []
    for rule in delegate.http:
        if rule.delegate:
            continue
        matches = merged_matches(asked, tuple(_placed(match, namespace) for match in rule.matches))
        if matches is not None:
            found.append(_merged(root, msgspec.structs.replace(rule, matches=matches), namespace))
    return found


def _merged(root: HttpRule, rule: HttpRule, namespace: str) -> HttpRule:
    plain = rule.request_headers == rule.response_headers == HeaderEdits() and rule.authority is None
    edited = root if plain else rule
    return msgspec.structs.replace(
        rule,
        namespace=namespace,
        name="-".join(part for part in (root.name, rule.name) if part),
        rewriting=rule.rewriting or root.rewriting,
        direct=rule.direct or (None if rule.targets or rule.redirect else root.direct),
        timeout_ms=root.timeout_ms if rule.timeout_ms is None else rule.timeout_ms,
        retry=rule.retry or root.retry,
        fault=rule.fault or root.fault,
        mirrors=rule.mirrors or root.mirrors,
        cors=rule.cors or root.cors,
        request_headers=edited.request_headers,
        response_headers=edited.response_headers,
        authority=edited.authority,
    )


def _placed(match: HttpMatch, namespace: str) -> HttpMatch:
    """A match with the names of its gateways completed: the root's namespace is another one."""
    gateways = tuple(
        item if item.value == MESH or "/" in item.value else Located(f"{namespace}/{item.value}", item.span)
        for item in match.scope.gateways
    )
    return msgspec.structs.replace(match, scope=msgspec.structs.replace(match.scope, gateways=gateways))


def merged_matches(root: tuple[HttpMatch, ...], leaves: tuple[HttpMatch, ...]) -> tuple[HttpMatch, ...] | None:
    """Each of a delegate's matches with each of the root's that it is part of; None where one is part of none."""
    if not root or not leaves:
        return leaves or root
    found: list[HttpMatch] = []
    for leaf in leaves:
        fitting = [both(match, leaf) for match in root if not conflicts(match, leaf)]
        if not fitting:
            return None
        found += fitting
    return tuple(found)


def both(root: HttpMatch, leaf: HttpMatch) -> HttpMatch:
    """What asks for both."""
    asked, more = leaf.match, root.match
    named = {(header.name, header.invert) for header in asked.headers}
    queried = {parameter.name for parameter in asked.query}
    claimed = {(claim.path, claim.invert) for claim in asked.claims}
    match = RouteMatch(
        path=asked.path or more.path,
        method=asked.method or more.method,
        scheme=asked.scheme or more.scheme,
        authority=asked.authority or more.authority,
        headers=(*asked.headers, *(one for one in more.headers if (one.name, one.invert) not in named)),
        query=(*asked.query, *(one for one in more.query if one.name not in queried)),
        claims=(*asked.claims, *(one for one in more.claims if (one.path, one.invert) not in claimed)),
    )
    scope = Scope(
        port=leaf.scope.port or root.scope.port,
        source_labels=tuple(sorted({**dict(root.scope.source_labels), **dict(leaf.scope.source_labels)}.items())),
        source_namespace=leaf.scope.source_namespace or root.scope.source_namespace,
        gateways=leaf.scope.gateways or root.scope.gateways,
    )
    name = "-".join(part for part in (root.name, leaf.name) if part)
    return msgspec.structs.replace(leaf, match=match, scope=scope, name=name)


def conflicts(root: HttpMatch, leaf: HttpMatch) -> bool:
    """Whether a delegate's match asks for anything that is not part of what the root's match asks."""
    asked, more = leaf.match, root.match
    texts = ((more.method, asked.method), (more.scheme, asked.scheme), (more.authority, asked.authority))
    return (
        _outside(_text(more.path), _text(asked.path))
        or _folds(more.path) != _folds(asked.path)
        or any(_outside(wide, narrow) for wide, narrow in texts)
        or _any_outside(more.headers, asked.headers)
        or _any_outside(more.query, asked.query)
        or _elsewhere(root.scope, leaf.scope)
    )


def _any_outside(
    root: Iterable[HeaderMatch] | Iterable[QueryMatch], leaf: Iterable[HeaderMatch] | Iterable[QueryMatch]
) -> bool:
    wide = {(one.name, getattr(one, "invert", False)): one.match for one in root}
    # What asks for presence alone beside an inverted match belongs to that (``without_header``).
    paired = {one.name for one in leaf if getattr(one, "invert", False)}
    return any(
        _outside(wide.get((one.name, getattr(one, "invert", False))), one.match)
        for one in leaf
        if not (isinstance(one.match, Present) and one.name in paired)
    )


def _outside(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Whether some text satisfies ``leaf`` and not ``root``, as far as Istio looks: expressions are never compared."""
    match root, leaf:
        case (None, _) | (_, None):
            return False
        case (Exact(wide), Exact(narrow)):
            return wide != narrow
        case (Prefix(wide), Prefix(narrow) | Exact(narrow)):
            return not narrow.startswith(wide)
        case _:
            return True


def _text(path: PathMatch | None) -> StringMatch | None:
    match path:
        case None:
            return None
        case PathExact(value):
            return Exact(value)
        case PathPrefix(value):
            return Prefix(value)
        case _:
            return Present()


def _folds(path: PathMatch | None) -> bool:
    return isinstance(path, PathExact | PathPrefix) and path.ignore_case


def _elsewhere(root: Scope, leaf: Scope) -> bool:
    """Whether a delegate's match is for other proxies, ports or gateways than the root's."""
    gateways = {item.value for item in root.gateways}
    return (
        bool(root.port and leaf.port and root.port != leaf.port)
        or bool(root.source_namespace and leaf.source_namespace not in ("", root.source_namespace))
        or _differ(root.source_labels, leaf.source_labels)
        or bool(gateways and not {item.value for item in leaf.gateways} <= gateways)
    )


def _differ(root: Labels, leaf: Labels) -> bool:
    wide = dict(root)
    return any(wide.get(name, value) != value for name, value in leaf)
