"""Whether the requests that one match asks for are all taken by earlier ones.

They are, where the match and the opposite of every earlier one cannot hold together. An earlier match is a conjunction, so its opposite
is a choice: one of its conditions fails. The search makes these choices one after the other and gives up a branch as soon as one
attribute's conditions contradict each other (``compiler.analysis.constraints``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from compiler.analysis.constraints import Answer, Matcher, Wanted, of_path, satisfiable
from compiler.link.virtual_services import qualified
from compiler.resources.virtual_service import HttpMatch, Scope
from policies.match import Exact, PathExact, PathMatch, PathPrefix, Prefix

MAX_STEPS = 2_000
MAX_RIVALS = 24
"""How many earlier matches are held against one; whether more of them cover it together is not decided."""

PATH = "path"
_DOMAINS = {"scheme": ("http", "https")}


class Condition(NamedTuple):
    """What is asked of one attribute: that any of ``matchers`` holds, or, where not ``positive``, that none does."""

    attribute: str
    matchers: tuple[Matcher, ...]
    positive: bool = True

    @property
    def opposite(self) -> Condition:
        """The condition that holds exactly where this one does not."""
        return Condition(self.attribute, self.matchers, not self.positive)


def conditions_of(match: HttpMatch, gateways: tuple[str, ...] = ()) -> tuple[Condition, ...]:
    """What a match asks of a request and of the proxy that serves it; ``gateways`` are those that it is for unless it says otherwise."""
    asked, scope = match.match, match.scope
    found: list[Condition] = []
    named = tuple(qualified(item.value, match.source.namespace) for item in scope.gateways) or gateways
    if named:
        found.append(Condition("gateway", tuple(Exact(name) for name in named)))
    if scope.port:
        found.append(Condition("port", (Exact(str(scope.port)),)))
    if scope.source_namespace:
        found.append(Condition("namespace", (Exact(scope.source_namespace),)))
    found += [Condition(f"label {name}", (Exact(value),)) for name, value in scope.source_labels]
    if asked.path is not None:
        found.append(Condition(PATH, tuple(of_path(asked.path))))
    for name, matcher in (("method", asked.method), ("scheme", asked.scheme), ("authority", asked.authority)):
        if matcher is not None:
            found.append(Condition(name, (matcher,)))
    found += [Condition(f"header {item.name}", (item.match,), not item.invert) for item in asked.headers]
    found += [Condition(f"query {item.name}", (item.match,)) for item in asked.query]
    # A claim may be a list, in which different values are found at once: only the same question says something of another.
    found += [Condition(f"claim {item.path} {item.match}", (item.match,), not item.invert) for item in asked.claims]
    return tuple(found)


def covering(
    match: HttpMatch, earlier: list[HttpMatch], gateways: tuple[str, ...] = ()
) -> tuple[Answer, list[HttpMatch]]:
    """Whether a request is left for ``match``: YES, UNKNOWN, or NO with the earlier matches that together take them all.

    ``gateways`` are those of the VirtualService. Matches for all proxies that this one is for are tried first: they are most often enough.
    """
    own = conditions_of(match, gateways)
    narrower = [item for item in earlier if item.scope != match.scope and not _wider(item.scope, match.scope)]
    apart = set(map(id, narrower))
    answer, found = _taken(own, (item for item in _rivals(match, own, earlier) if id(item) not in apart))
    return (answer, found) if answer is Answer.NO or not narrower else _taken(own, _rivals(match, own, earlier))


def _rivals(match: HttpMatch, own: tuple[Condition, ...], earlier: list[HttpMatch]) -> Iterator[HttpMatch]:
    return (item for item in earlier if _concerns(item, match) and _possible((*own, *conditions_of(item))))


def _taken(own: tuple[Condition, ...], concerned: Iterator[HttpMatch]) -> tuple[Answer, list[HttpMatch]]:
    rivals = list(itertools.islice(concerned, MAX_RIVALS))
    answer = _left(own, rivals)
    if answer is Answer.YES and next(concerned, None) is not None:
        answer = Answer.UNKNOWN
    if answer is not Answer.NO:
        return answer, rivals
    for item in list(rivals):
        others = [other for other in rivals if other is not item]
        if _left(own, others) is Answer.NO:
            rivals = others
    return answer, rivals


def _concerns(earlier: HttpMatch, match: HttpMatch) -> bool:
    """Whether an earlier match could take more than single paths of this one.

    Single paths never cover a match for more than one path, alone or together.
    """
    outer, inner = earlier.match.path, match.match.path
    if isinstance(outer, PathExact) and not isinstance(inner, PathExact):
        return False
    return not _apart(outer, inner)


def _apart(outer: PathMatch | None, inner: PathMatch | None) -> bool:
    """Whether two paths obviously have nothing in common. This spares hundreds of rules by prefix the search for each other."""
    if not isinstance(outer, PathExact | PathPrefix) or not isinstance(inner, PathExact | PathPrefix):
        return False
    if outer.ignore_case or inner.ignore_case:
        return False
    return not (outer.value.startswith(inner.value) or inner.value.startswith(outer.value))


def _wider(outer: Scope, inner: Scope) -> bool:
    gateways, own = {name.value for name in outer.gateways}, {name.value for name in inner.gateways}
    return (
        outer.port in (0, inner.port)
        and set(outer.source_labels) <= set(inner.source_labels)
        and outer.source_namespace in ("", inner.source_namespace)
        and (not gateways or (bool(own) and own <= gateways))
    )


def _left(own: tuple[Condition, ...], rivals: list[HttpMatch]) -> Answer:
    asked = [conditions_of(item) for item in rivals]
    # Where an earlier match has one condition there is no choice: that one fails.
    forced = tuple(conditions[0].opposite for conditions in asked if len(conditions) == 1)
    return _Search([conditions for conditions in asked if len(conditions) != 1]).left((*own, *forced), 0)


class _Search:
    """One search. Owns the count of steps that it may still take."""

    def __init__(self, earlier: list[tuple[Condition, ...]]) -> None:
        self.earlier = earlier
        self.steps = MAX_STEPS

    def left(self, held: tuple[Condition, ...], at: int) -> Answer:
        """Whether a request fulfils what is held and none of the earlier matches from ``at`` on."""
        self.steps -= 1
        if self.steps < 0:
            return Answer.UNKNOWN
        if at == len(self.earlier):
            return _answer(held)
        best = Answer.NO
        for condition in self.earlier[at]:
            tried = (*held, condition.opposite)
            if _of_attribute(tried, condition.attribute) is not Answer.NO:
                best = max(best, self.left(tried, at + 1))
                if best is Answer.YES:
                    break
        return best


def _possible(held: tuple[Condition, ...]) -> bool:
    return _answer(held) is not Answer.NO


def _answer(held: tuple[Condition, ...]) -> Answer:
    attributes = {condition.attribute for condition in held}
    return min((_of_attribute(held, attribute) for attribute in attributes), default=Answer.YES)


def _of_attribute(held: tuple[Condition, ...], attribute: str) -> Answer:
    asked = [condition for condition in held if condition.attribute == attribute]
    may_lack = attribute.startswith(("header ", "query ", "label ", "claim "))
    if may_lack and not any(condition.positive for condition in asked):
        return Answer.YES
    start: list[Wanted] = [(True, Prefix("/"))] if attribute == PATH else []
    domain = _DOMAINS.get(attribute, ())
    return max((satisfiable(way, domain=domain) for way in _ways(asked, start)), default=Answer.NO)


def _ways(asked: list[Condition], held: list[Wanted]) -> Iterator[list[Wanted]]:
    """Each choice of one matcher per positive condition, with the matchers of all negative ones excluded."""
    if not asked:
        yield held
        return
    first, rest = asked[0], asked[1:]
    if first.positive:
        for matcher in first.matchers:
            yield from _ways(rest, [*held, (True, matcher)])
    else:
        yield from _ways(rest, [*held, *((False, matcher) for matcher in first.matchers)])
