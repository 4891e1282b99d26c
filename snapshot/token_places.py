"""Where requests carry tokens: finding them, and taking one out again (RFC 6750, and Envoy's ways where that is silent)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote_plus

from policies.head import Headers, RequestHead, TokenPlace
from policies.tokens import TokenHeader, TokenRule

HEADER, PARAMETER, COOKIE = "header", "parameter", "cookie"
BEARER = TokenHeader("authorization", "Bearer ")
ACCESS_TOKEN = "access_token"  # noqa: S105  a parameter's name
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def tokens_in(head: RequestHead, rule: TokenRule) -> Iterator[tuple[TokenPlace, str]]:
    """What a request has in the places where a rule looks."""
    asked = rule.headers or rule.parameters or rule.cookies
    for header in rule.headers if asked else (BEARER,):
        yield from _in_header(head.headers, header)
    for name in rule.parameters if asked else (ACCESS_TOKEN,):
        yield from _in_query(head.query, name)
    for name in rule.cookies:
        yield from _in_cookies(head.headers, name)


def _in_header(headers: Headers, header: TokenHeader) -> Iterator[tuple[TokenPlace, str]]:
    name = header.name.encode()
    for number, value in enumerate([value for key, value in headers if key == name]):
        text = value.decode("latin-1")
        if header.prefix:
            _, found, rest = text.partition(header.prefix)
            if not found:
                continue
            # What cannot begin a token is passed over; without anything that can, the value stands for a token that is none.
            start = next((at for at, letter in enumerate(rest) if letter in _LETTERS), None)
            text = text if start is None else rest[start:]
        yield TokenPlace(HEADER, header.name, number), text


def _in_query(query: str | None, name: str) -> Iterator[tuple[TokenPlace, str]]:
    number = 0
    for pair in query.split("&") if query else ():
        key, _, value = pair.partition("=")
        if unquote_plus(key) == name:
            yield TokenPlace(PARAMETER, name, number), unquote_plus(value)
            number += 1


def _in_cookies(headers: Headers, name: str) -> Iterator[tuple[TokenPlace, str]]:
    number = 0
    for key, line in headers:
        for pair in line.decode("latin-1").split(";") if key == b"cookie" else ():
            found, _, value = pair.strip().partition("=")
            if found == name:
                yield TokenPlace(COOKIE, name, number), value.removeprefix('"').removesuffix('"')
                number += 1


def without_token(headers: Headers, query: str | None, place: TokenPlace) -> tuple[Headers, str | None]:
    """A request's headers and query without the token in one place. Cookies stay as they are (Envoy)."""
    if place.kind == HEADER:
        name = place.name.encode()
        return [pair for pair in headers if pair[0] != name], query
    if place.kind == PARAMETER and query:
        kept = [pair for pair in query.split("&") if unquote_plus(pair.partition("=")[0]) != place.name]
        return headers, "&".join(kept) or None
    return headers, query
