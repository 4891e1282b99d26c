"""Matchers as data. What they match is decided by the compiled forms in ``policies.matching``."""

from __future__ import annotations

import msgspec


class Exact(msgspec.Struct, frozen=True, tag="exact"):
    """The whole value, byte for byte, or folded where ``ignore_case``."""

    value: str
    ignore_case: bool = False


class Prefix(msgspec.Struct, frozen=True, tag="prefix"):
    """The value's start."""

    value: str
    ignore_case: bool = False


class Suffix(msgspec.Struct, frozen=True, tag="suffix"):
    """The value's end."""

    value: str
    ignore_case: bool = False


class Regex(msgspec.Struct, frozen=True, tag="regex"):
    """The whole value by an RE2 expression of at most 1024 characters (security.md: linear time only)."""

    pattern: str


class Present(msgspec.Struct, frozen=True, tag="present"):
    """Any value, also the empty one where the attribute is there."""


StringMatch = Exact | Prefix | Suffix | Regex | Present


class PathExact(msgspec.Struct, frozen=True, tag="exact"):
    """The whole path, without the query."""

    value: str
    ignore_case: bool = False


class PathPrefix(msgspec.Struct, frozen=True, tag="prefix"):
    """A string prefix, as VirtualService's ``uri.prefix`` means it: ``/a`` matches ``/ab``."""

    value: str
    ignore_case: bool = False


class PathSegments(msgspec.Struct, frozen=True, tag="segments"):
    """Whole segments, as HTTPRoute's PathPrefix means it: ``/a`` matches ``/a`` and ``/a/b`` but not ``/ab``."""

    value: str


class PathRegex(msgspec.Struct, frozen=True, tag="regex"):
    """The whole path by an RE2 expression."""

    pattern: str


PathMatch = PathExact | PathPrefix | PathSegments | PathRegex


class HeaderMatch(msgspec.Struct, frozen=True):
    """One header's value; ``invert`` is Istio's withoutHeaders: true where the header is absent or does not match."""

    name: str
    match: StringMatch
    invert: bool = False


class QueryMatch(msgspec.Struct, frozen=True):
    """One query parameter's value, percent-decoded; the first occurrence counts."""

    name: str
    match: StringMatch


class ClaimMatch(msgspec.Struct, frozen=True):
    """One claim of the request's token, by the steps that lead to it; of a list any item. ``invert`` is true where nothing of it matches."""

    path: tuple[str, ...]
    match: StringMatch
    invert: bool = False


class RouteMatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that one route asks of a request; all parts must hold. What only the link knows (gateways, ports, source labels) is gone."""

    path: PathMatch | None = None
    method: StringMatch | None = None
    scheme: StringMatch | None = None
    authority: StringMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    claims: tuple[ClaimMatch, ...] = ()
