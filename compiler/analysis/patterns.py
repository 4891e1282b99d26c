"""Regular expressions and conditions that a proxy could not load. What compiles also loads."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from policies.authorizing import prepare_policies
from policies.match import PathRegex, Regex, RouteMatch
from policies.matching import PatternError, compile_pattern


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0103 at the match or policy."""
    for service in mesh.virtual_services:
        for rule in service.http:
            for match in rule.matches:
                for problem in _problems(match.match):
                    yield diagnostic("WFT0103", problem, match.span, resource=service.meta.id)
            for origin in rule.cors.origins if rule.cors is not None else ():
                problem = _pattern_problem(origin.pattern) if isinstance(origin, Regex) else ""
                if problem:
                    yield diagnostic("WFT0103", problem, rule.span, resource=service.meta.id)
            if rule.rewriting is not None and rule.rewriting.regex is not None:
                problem = _pattern_problem(rule.rewriting.regex)
                if problem:
                    yield diagnostic("WFT0103", problem, rule.span, resource=service.meta.id)
    for route in mesh.http_routes:
        for api_rule in route.rules:
            for asked, _ in api_rule.matches:
                for problem in _problems(asked):
                    yield diagnostic("WFT0103", problem, api_rule.span, resource=route.meta.id)
    for policy in mesh.access_rules:
        try:
            prepare_policies((policy.policy,), http=True)
        except PatternError as error:
            yield diagnostic("WFT0103", str(error), policy.meta.span, resource=policy.meta.id)


def _problems(match: RouteMatch) -> Iterator[str]:
    texts = (match.method, match.scheme, match.authority)
    values = [*texts, *(item.match for item in match.headers), *(item.match for item in match.query), match.path]
    values += [item.match for item in match.claims]
    for value in values:
        if isinstance(value, Regex | PathRegex):
            problem = _pattern_problem(value.pattern)
            if problem:
                yield problem


def _pattern_problem(pattern: str) -> str:
    try:
        compile_pattern(pattern)
    except PatternError as error:
        return str(error)
    return ""
