"""Query parameters as routes read them: the first value of each name, percent-decoded (WHATWG form encoding, as Envoy does)."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote_plus

from policies.head import RequestHead
from policies.match import QueryMatch
from policies.matching import string_test


def parameter(query: str | None, name: str) -> str | None:
    """The first value of one parameter, or None where the query has no such name."""
    for pair in query.split("&") if query else ():
        key, _, value = pair.partition("=")
        if key == name or unquote_plus(key) == name:
            return unquote_plus(value)
    return None


def query_test(match: QueryMatch) -> Callable[[RequestHead], bool]:
    """The test for one parameter; raises PatternError."""
    test = string_test(match.match)
    name = match.name

    def matches(head: RequestHead) -> bool:
        value = parameter(head.query, name)
        return value is not None and test(value)

    return matches
