"""Matchers compiled to tests. A test is a plain function of a string, so that the request path pays one call for each.

Regular expressions are RE2 only: linear in the input, refused beyond MAX_PATTERN characters (security.md, policy cost).
Header values are bytes; a value that is not UTF-8 satisfies no test, and no inverted test either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

import re2

from policies.head import Headers
from policies.match import Exact, HeaderMatch, Prefix, Present, Regex, StringMatch, Suffix

MAX_PATTERN = 1024

StringTest = Callable[[str], bool]
HeadersTest = Callable[[Headers], bool]

_options = re2.Options()
_options.log_errors = False


class PatternError(ValueError):
    """A regular expression that RE2 refuses, or that is longer than MAX_PATTERN characters."""


def compile_pattern(pattern: str) -> re2._Regexp:
    """An RE2 expression for whole-value matching with ``fullmatch``; raises PatternError."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"the expression has {len(pattern)} characters; at most {MAX_PATTERN} are allowed")
    try:
        return re2.compile(pattern, options=_options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(f"RE2 refuses {pattern!r}: {text}") from None


def string_test(match: StringMatch) -> StringTest:
    """The test for one matcher; raises PatternError."""
    match match:
        case Exact(value, ignore_case):
            return _folded(value.lower().__eq__) if ignore_case else value.__eq__
        case Prefix(value, ignore_case):
            lowered = value.lower()
            return (
                (lambda text: text.lower().startswith(lowered)) if ignore_case else lambda text: text.startswith(value)
            )
        case Suffix(value, ignore_case):
            lowered = value.lower()
            return (lambda text: text.lower().endswith(lowered)) if ignore_case else lambda text: text.endswith(value)
        case Regex(pattern):
            full = compile_pattern(pattern).fullmatch
            return lambda text: full(text) is not None
        case Present():
            return lambda _text: True
        case _:
            assert_never(match)


def _folded(test: StringTest) -> StringTest:
    return lambda text: test(text.lower())


def header_test(match: HeaderMatch) -> HeadersTest:
    """The test for one header: its values joined by commas, as Envoy reads a repeated header."""
    name = match.name.lower().encode()
    test = string_test(match.match)
    if match.invert:
        # A header that is absent counts as empty (Istio's withoutHeaders); only Present tells the two apart.
        when_absent = isinstance(match.match, Present) or not test("")
        return lambda headers: _absent_or_unlike(headers, name, test, when_absent=when_absent)
    return lambda headers: _present_and_like(headers, name, test)


def joined(headers: Headers, name: bytes) -> str | None:
    """A header's values joined by commas; None where it is absent. Raises UnicodeDecodeError on bytes that are not UTF-8."""
    values = [value for key, value in headers if key == name]
    if not values:
        return None
    return (values[0] if len(values) == 1 else b",".join(values)).decode()


def _present_and_like(headers: Headers, name: bytes, test: StringTest) -> bool:
    try:
        value = joined(headers, name)
    except UnicodeDecodeError:
        return False
    return value is not None and test(value)


def _absent_or_unlike(headers: Headers, name: bytes, test: StringTest, *, when_absent: bool) -> bool:
    try:
        value = joined(headers, name)
    except UnicodeDecodeError:
        return False
    return when_absent if value is None else not test(value)
