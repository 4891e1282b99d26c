"""Trust domain aliases: a policy written for one of the mesh's trust domains holds for all of them.

``cluster.local`` in a policy stands for the mesh's own trust domain, whatever its name (Istio).
"""

from __future__ import annotations

import msgspec

from compiler.resources.mesh_config import CLUSTER_DOMAIN
from policies.authorization import AuthorizationPolicy, Clause, Rule
from policies.match import Exact, Prefix, StringMatch, Suffix

PRINCIPAL = "source.principal"


def with_aliases(policy: AuthorizationPolicy, domains: tuple[str, ...]) -> AuthorizationPolicy:
    """A policy whose principals name every trust domain (own first, then aliases) that one of them is equal to."""
    if domains == (CLUSTER_DOMAIN,):
        return policy
    return msgspec.structs.replace(policy, rules=tuple(_rule(rule, domains) for rule in policy.rules))


def _rule(rule: Rule, domains: tuple[str, ...]) -> Rule:
    return msgspec.structs.replace(
        rule,
        sources=tuple(tuple(_clause(clause, domains) for clause in group) for group in rule.sources),
        when=tuple(_clause(clause, domains) for clause in rule.when),
    )


def _clause(clause: Clause, domains: tuple[str, ...]) -> Clause:
    if clause.attribute != PRINCIPAL:
        return clause
    return Clause(
        clause.attribute, expand_principals(clause.values, domains), expand_principals(clause.not_values, domains)
    )


def expand_principals(values: tuple[StringMatch, ...], domains: tuple[str, ...]) -> tuple[StringMatch, ...]:
    """Principals (``td/ns/<ns>/sa/<sa>``, the domain perhaps ``*-td``) for each trust domain; other forms stay as they are."""
    expanded: dict[StringMatch, None] = {}
    for value in values:
        expanded.update(dict.fromkeys(_expand(value, domains)))
    return tuple(expanded)


def _expand(value: StringMatch, domains: tuple[str, ...]) -> list[StringMatch]:
    if not isinstance(value, Exact | Prefix | Suffix):
        return [value]
    domain, _, rest = value.value.partition("/")
    open_start = isinstance(value, Suffix)
    if not domain or value.value.count("/") != 4:
        return [value]
    equal = [known for known in domains if known == domain or (open_start and known.endswith(domain))]
    if not equal and domain != CLUSTER_DOMAIN:
        return [value]
    found: list[StringMatch] = []
    for known in domains:
        if known in equal:
            found.append(value)
        else:
            named = f"{known}/{rest}"
            found.append(Prefix(named) if isinstance(value, Prefix) else Exact(named))
    return found
