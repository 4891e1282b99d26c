"""Whether some value fulfils conditions on one attribute of a request: all of some matchers and none of others.

Exact values, prefixes and suffixes are decided exactly. All values that start with the longest prefix asked for and end with the longest
suffix have in common what the one with a strange middle has, so that value decides for all of them. Of regular expressions only
what their literal start says, and whether they match one value, is known; where that does not decide, the answer is UNKNOWN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum

from policies.match import Exact, PathExact, PathPrefix, PathRegex, PathSegments, Prefix, Present, Regex, Suffix
from policies.matching import PatternError, compile_pattern

Matcher = Exact | Prefix | Suffix | Regex | Present
Wanted = tuple[bool, Matcher]
"""A matcher, and whether the value must match it."""

STRANGE = "\x00"
_EVERYTHING = frozenset({".*", "(.*)", "^.*$"})
_LITERAL = re.compile(r"\^?((?:[A-Za-z0-9/_\- ]|\\[./\-])*)")
_AFTER = frozenset("?*{")


class Answer(IntEnum):
    """NO: no value can. UNKNOWN: regular expressions hide it. YES: there is one."""

    NO = 0
    UNKNOWN = 1
    YES = 2


def of_path(match: PathExact | PathPrefix | PathSegments | PathRegex) -> list[Matcher]:
    """A path's matcher as matchers of strings of which any may hold."""
    match match:
        case PathExact(value, ignore_case=folded):
            return [Exact(value, folded)]
        case PathPrefix(value, ignore_case=folded):
            return [Prefix(value, folded)]
        case PathSegments("/"):
            return [Prefix("/")]
        case PathSegments(value):
            return [Exact(value), Prefix(f"{value}/")]
        case PathRegex("/.*"):
            return [Prefix("/")]
        case PathRegex(pattern):
            return [Regex(pattern)]


def satisfiable(wanted: list[Wanted], *, domain: tuple[str, ...] = ()) -> Answer:
    """Whether a value, of ``domain`` where one is given, fulfils all of ``wanted``."""
    wanted = [(positive, _simple(matcher)) for positive, matcher in wanted]
    positives = [matcher for positive, matcher in wanted if positive]
    negatives = [matcher for positive, matcher in wanted if not positive]
    exact = [matcher for matcher in positives if isinstance(matcher, Exact)]
    if domain or exact:
        candidates = domain or tuple(_spellings(exact[0]))
        return Answer.YES if any(_fulfils(value, wanted) for value in candidates) else _by_case(wanted)
    if any(isinstance(matcher, Present) or matcher in positives for matcher in negatives):
        return Answer.NO
    if any(isinstance(matcher, Regex) for matcher in positives):
        return Answer.UNKNOWN if any(_may_meet(matcher, positives) for matcher in negatives) else Answer.YES
    value = _generic(positives)
    if _fulfils(value, wanted):
        return Answer.YES
    hidden = any(isinstance(matcher, Regex) and _matches(value, matcher) for matcher in negatives)
    return Answer.UNKNOWN if hidden else _by_case(wanted)


def _simple(matcher: Matcher) -> Matcher:
    return Present() if isinstance(matcher, Regex) and matcher.pattern in _EVERYTHING else matcher


def _spellings(matcher: Exact) -> Iterator[str]:
    yield matcher.value
    if matcher.ignore_case:
        yield from (matcher.value.lower(), matcher.value.upper(), matcher.value.swapcase())


def _by_case(wanted: list[Wanted]) -> Answer:
    """NO, unless some matchers fold case and others do not: then another spelling might have done."""
    texts = [matcher for _, matcher in wanted if isinstance(matcher, Exact | Prefix)]
    folding = {matcher.ignore_case for matcher in texts if matcher.value.lower() != matcher.value.upper()}
    return Answer.UNKNOWN if len(folding) > 1 else Answer.NO


def _generic(positives: list[Matcher]) -> str:
    prefixes = [matcher.value for matcher in positives if isinstance(matcher, Prefix)]
    suffixes = [matcher.value for matcher in positives if isinstance(matcher, Suffix)]
    return max(prefixes, key=len, default="") + STRANGE + max(suffixes, key=len, default="")


def _fulfils(value: str, wanted: list[Wanted]) -> bool:
    return all(_matches(value, matcher) is positive for positive, matcher in wanted)


def _matches(value: str, matcher: Matcher) -> bool:
    match matcher:
        case Exact(text, ignore_case=True):
            return value.lower() == text.lower()
        case Exact(text):
            return value == text
        case Prefix(text, ignore_case=True):
            return value.lower().startswith(text.lower())
        case Prefix(text):
            return value.startswith(text)
        case Suffix(text):
            return value.endswith(text)
        case Regex(pattern):
            try:
                return compile_pattern(pattern).fullmatch(value) is not None
            except PatternError:
                return False
        case Present():
            return True


def _may_meet(negative: Matcher, positives: list[Matcher]) -> bool:
    """Whether a value of the positives, among them a regular expression, could match the negative one."""
    if not isinstance(negative, Exact | Prefix):
        return True
    starts = [_start(matcher) for matcher in positives]
    text = negative.value.lower()
    if any(not (text.startswith(start.lower()) or start.lower().startswith(text)) for start in starts):
        return False
    # One value less leaves others, unless the expression stands for that value alone.
    return isinstance(negative, Prefix) or any(isinstance(m, Regex) and m.pattern == re.escape(text) for m in positives)


def _start(matcher: Matcher) -> str:
    """What every value that matches starts with."""
    match matcher:
        case Exact(text) | Prefix(text):
            return text
        case Regex(pattern) if "|" not in pattern:
            found = _LITERAL.match(pattern)
            text = found.group(1) if found else ""
            rest = pattern[found.end() :] if found else ""
            literal = text.replace("\\", "")
            return literal[:-1] if rest[:1] in _AFTER and rest else literal
        case _:
            return ""
