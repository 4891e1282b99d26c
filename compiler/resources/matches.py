"""Matchers as Istio and Gateway API write them, read into the policies' own."""

from __future__ import annotations

import re

from compiler.resources.cursor import Cursor
from policies.match import (
    Exact,
    HeaderMatch,
    PathExact,
    PathMatch,
    PathPrefix,
    PathRegex,
    Prefix,
    Present,
    Regex,
    StringMatch,
    Suffix,
)
from policies.matching import PatternError, compile_pattern
from policies.traffic import PER_MILLION, HeaderEdits

CLAIMS = "@request.auth.claims"
AUTHORITY_NAMES = frozenset({"host", ":authority"})


def string_match(cursor: Cursor) -> StringMatch:
    """Istio's StringMatch; an empty one asks only that the value is there."""
    if cursor.has("exact"):
        return Exact(cursor.text("exact"))
    if cursor.has("prefix"):
        return Prefix(cursor.text("prefix"))
    if cursor.has("regex"):
        return Regex(cursor.text("regex"))
    return Present()


def header_match(cursor: Cursor) -> StringMatch:
    """The StringMatch of a header; there the regular expression ``*`` asks only that the header is there (Istio)."""
    return Present() if cursor.text("regex") == "*" else string_match(cursor)


def claim_path(name: str) -> tuple[str, ...]:
    """The claim that the name of a header stands for, by the steps that lead to it: ``@request.auth.claims.a.b`` or ``[a][b]``; else none (Istio).

    In brackets a name may have dots of its own, e.g. that of an address.
    """
    if not name.lower().startswith(CLAIMS):
        return ()
    rest = name[len(CLAIMS) :]
    if rest.startswith("[") and rest.endswith("]"):
        return tuple(rest[1:-1].split("]["))
    return tuple(rest[1:].split(".")) if rest.startswith(".") else ()


def without_header(name: str, match: StringMatch) -> list[HeaderMatch]:
    """One entry of ``withoutHeaders``: true where the value does not match, an absent header counting as an empty value (Istio).

    A match that an empty value fulfils therefore also asks that the header is there.
    """
    inverted = HeaderMatch(name, match, invert=True)
    return [HeaderMatch(name, Present()), inverted] if _fits_nothing(match) else [inverted]


def _fits_nothing(match: StringMatch) -> bool:
    match match:
        case Exact(value) | Prefix(value) | Suffix(value):
            return not value
        case Regex(pattern):
            try:
                return compile_pattern(pattern).fullmatch("") is not None
            except PatternError:
                return False
        case Present():
            return False


def path_match(cursor: Cursor, *, ignore_case: bool) -> PathMatch | None:
    """VirtualService's ``uri``; None where it asks nothing."""
    if cursor.has("exact"):
        return PathExact(cursor.text("exact"), ignore_case=ignore_case)
    if cursor.has("prefix"):
        return PathPrefix(cursor.text("prefix"), ignore_case=ignore_case)
    if cursor.has("regex"):
        return PathRegex(cursor.text("regex"))
    return None


def wildcard_match(text: str) -> StringMatch:
    """AuthorizationPolicy's value forms: ``*`` any, ``p*`` prefix, ``*s`` suffix, else exact."""
    if text == "*":
        return Present()
    if text.endswith("*"):
        return Prefix(text[:-1])
    if text.startswith("*"):
        return Suffix(text[1:])
    return Exact(text)


def path_template(text: str) -> StringMatch:
    """AuthorizationPolicy's ``paths``: the value forms, and templates in which ``{*}`` is one segment and ``{**}`` any number (Istio)."""
    if "{*}" not in text and "{**}" not in text:
        return wildcard_match(text)
    parts = re.split(r"(\{\*\*?\})", text)
    patterns = {"{*}": "[^/]+", "{**}": ".*"}
    return Regex("".join(patterns.get(part) or re.escape(part) for part in parts))


def header_edits(cursor: Cursor | None) -> tuple[HeaderEdits, str | None]:
    """``headers.request`` or ``headers.response`` of a VirtualService: the edits, and the authority that they set, if any.

    Setting ``host`` or ``:authority`` rewrites the request's authority and is no header operation; ``set`` wins over ``add`` there.
    Other pseudo headers are ignored (Istio).
    """
    if cursor is None:
        return HeaderEdits(), None
    sets, adds = (_lowered(cursor.pairs(key)) for key in ("set", "add"))
    authority = next((value for name, value in (*sets, *adds) if name in AUTHORITY_NAMES), None)
    return HeaderEdits(
        remove=tuple(name.lower() for name in cursor.texts("remove") if _is_plain(name.lower())),
        set=tuple(pair for pair in sets if _is_plain(pair[0])),
        add=tuple(pair for pair in adds if _is_plain(pair[0])),
    ), authority


def _lowered(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in pairs)


def _is_plain(name: str) -> bool:
    return name not in AUTHORITY_NAMES and not name.startswith(":")


def per_million(cursor: Cursor) -> int:
    """A fault's share of requests: ``percentage.value``, the older whole ``percent``, all where neither is written."""
    return share(cursor, "percentage", "percent")


def share(cursor: Cursor, key: str, *older: str) -> int:
    """``key.value`` in per cent, or the first of the ``older`` whole numbers that is written, in parts per million; all where none is."""
    percentage = cursor.at(key)
    if percentage is not None:
        return round((percentage.fraction("value") or 0.0) * PER_MILLION / 100)
    whole = next((name for name in older if cursor.has(name)), None)
    return cursor.number(whole) * PER_MILLION // 100 if whole else PER_MILLION
