"""AuthorizationPolicies that deny nothing, or allow nothing, because no request can be what their rules ask for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from compiler.analysis.constraints import Answer, Wanted, satisfiable
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, Severity, Span
from compiler.mesh import Mesh
from compiler.resources.security import AccessRule
from policies.attributes import IP_ATTRIBUTES
from policies.authorization import Clause, Rule
from policies.match import Prefix

PATH = "request.path"


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0123 for DENY and WFT0124 for ALLOW: at the rule that no request fulfils, at the policy where there is no other."""
    written = {item.meta.id: item for item in mesh.written("AuthorizationPolicy")}
    for policy in mesh.access_rules:
        if policy.action not in ("ALLOW", "DENY"):
            continue
        impossible = [index for index, rule in enumerate(policy.policy.rules) if not _possible(rule)]
        rules = written[policy.meta.id].spec.each("rules")
        spans = [rules[index].span for index in impossible]
        if len(impossible) == len(policy.policy.rules):
            # An empty spec is the idiom for denying everything, and says so itself.
            if impossible or written[policy.meta.id].spec.node.entries:
                yield _whole(policy, spans)
        else:
            for span in spans:
                code = "WFT0123" if policy.action == "DENY" else "WFT0124"
                message = "no request can fulfil this rule: its conditions exclude each other"
                yield diagnostic(code, message, span, resource=policy.meta.id, severity=Severity.NOTE)


def _whole(policy: AccessRule, spans: list[Span]) -> Diagnostic:
    why = "no request can fulfil its rules" if spans else "it has no rules"
    related = tuple(Related(span, "asks for what excludes itself") for span in spans)
    about = policy.meta.id
    if policy.action == "DENY":
        return diagnostic(
            "WFT0123", f"this DENY never matches: {why}", policy.meta.span, resource=about, related=related
        )
    message = f"this ALLOW allows nothing, so all that it covers is denied: {why}"
    return diagnostic("WFT0124", message, policy.meta.span, resource=about, related=related)


def _possible(rule: Rule) -> bool:
    ways = product(rule.sources or ((),), rule.operations or ((),))
    return any(_together((*source, *operation, *rule.when)) for source, operation in ways)


def _together(clauses: tuple[Clause, ...]) -> bool:
    attributes = {clause.attribute for clause in clauses}
    return all(
        _attribute(attribute, [clause for clause in clauses if clause.attribute == attribute])
        for attribute in attributes
    )


def _attribute(attribute: str, clauses: list[Clause]) -> bool:
    if attribute in IP_ATTRIBUTES:
        return not any(clause.values and set(clause.values) <= set(clause.not_values) for clause in clauses)
    excluded: list[Wanted] = [(False, value) for clause in clauses for value in clause.not_values]
    if attribute == PATH:
        excluded.append((True, Prefix("/")))
    positive = [clause.values for clause in clauses if clause.values]
    if not positive:
        # Without a positive value a request that lacks the attribute may fulfil it.
        return True
    return any(
        satisfiable([*excluded, *((True, value) for value in chosen)]) is not Answer.NO for chosen in product(*positive)
    )
