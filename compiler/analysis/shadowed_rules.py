"""Rules of a VirtualService whose requests earlier ones take, found by covering and not by comparing equal matches."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.constraints import Answer
from compiler.analysis.covering import covering
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, Severity, Span
from compiler.link.http_routes import specificity
from compiler.link.virtual_services import qualified
from compiler.mesh import Mesh
from compiler.resources.http_route import HttpRoute
from compiler.resources.virtual_service import MESH, HttpMatch, HttpRule, Scope, VirtualService
from policies.match import PathPrefix

_MOST_NAMED = 8


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0120 for a rule (or, as a note, a match) that no request reaches, WFT0121 where that is not decided, IST0131 for a covered prefix.

    A rule after one without any match, and one that repeats an earlier rule's matches, is IST0130's and not repeated here.
    """
    for service in mesh.virtual_services:
        yield from _service(service)
    for route in mesh.http_routes:
        yield from _route(route)


def _route(route: HttpRoute) -> Iterator[Diagnostic]:
    """A rule of the Gateway API's: its matches stand in the order of what they ask, not in the order written."""
    ranked = [
        ((*specificity(match), index, place), HttpMatch(match, Scope(), "", source, rule.span))
        for index, rule in enumerate(route.rules)
        for place, (match, source) in enumerate(rule.matches)
    ]
    ranked.sort(key=lambda item: item[0])
    earlier: list[HttpMatch] = []
    takers: dict[Span, set[Span]] = {rule.span: set() for rule in route.rules}
    for _, match in ranked:
        answer, found = covering(match, earlier)
        if answer is not Answer.NO:
            takers.pop(match.span, None)
        elif match.span in takers:
            takers[match.span].update(other.span for other in found)
        earlier.append(match)
    for span, found_at in takers.items():
        others = sorted(found_at - {span})
        if others:
            message = "no request reaches this rule: all that it asks for is taken by rules that go before it"
            related = tuple(Related(other, "takes some of its requests") for other in others[:_MOST_NAMED])
            yield diagnostic("WFT0120", message, span, resource=route.meta.id, related=related)


def _service(service: VirtualService) -> Iterator[Diagnostic]:
    gateways = tuple(qualified(item.value, service.meta.namespace) for item in service.gateways) or (MESH,)
    earlier: list[HttpMatch] = []
    for rule in service.http:
        if not rule.matches:
            return
        results = []
        for match in rule.matches:
            repeated = any(other.match == match.match and other.scope == match.scope for other in earlier)
            results.append((match, repeated, *covering(match, earlier, gateways)))
            earlier.append(match)
        if not all(repeated for _, repeated, _, _ in results):
            yield from _rule(service, rule, results)


def _rule(
    service: VirtualService, rule: HttpRule, results: list[tuple[HttpMatch, bool, Answer, list[HttpMatch]]]
) -> Iterator[Diagnostic]:
    own = set(rule.matches)
    before = {other for _, _, _, found in results for other in found if other not in own}
    answers = [answer for _, _, answer, _ in results]
    whole = bool(before) and all(answer is Answer.NO for answer in answers)
    if whole:
        related = tuple(Related(match.span, "takes some of its requests") for match in _ordered(before)[:_MOST_NAMED])
        message = f"no request reaches this rule: all that it asks for is taken by {_listed(before)}"
        yield diagnostic("WFT0120", message, rule.span, resource=service.meta.id, related=related)
    elif before and Answer.YES not in answers:
        message = f"{_listed(before)} may take all requests of this rule; that cannot be decided"
        related = tuple(Related(match.span, "an earlier match") for match in _ordered(before)[:_MOST_NAMED])
        yield diagnostic("WFT0121", message, rule.span, resource=service.meta.id, related=related)
    for match, repeated, answer, found in results:
        if answer is Answer.NO and not repeated:
            yield from _match(service, match, found, whole=whole)


def _match(service: VirtualService, match: HttpMatch, found: list[HttpMatch], *, whole: bool) -> Iterator[Diagnostic]:
    related = tuple(Related(other.span, "takes its requests") for other in found)
    prefixes = all(isinstance(other.match.path, PathPrefix) for other in (match, *found))
    message = f"this match has no effect: all that it asks for is already taken by {_listed(set(found))}"
    if prefixes and len(found) == 1:
        yield diagnostic("IST0131", message, match.span, resource=service.meta.id, related=related)
    elif not whole:
        yield diagnostic(
            "WFT0120", message, match.span, resource=service.meta.id, related=related, severity=Severity.NOTE
        )


def _ordered(matches: set[HttpMatch]) -> list[HttpMatch]:
    return sorted(matches, key=lambda match: match.span)


def _listed(matches: set[HttpMatch]) -> str:
    named = [match.source.path for match in _ordered(matches)]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"{', '.join(named[:_MOST_NAMED])}{more}"
