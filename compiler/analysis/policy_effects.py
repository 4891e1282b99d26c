"""AuthorizationPolicies that deny nothing, or allow nothing, because no request can be what their rules ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

import msgspec

from compiler.analysis.constraints import Answer, Wanted, satisfiable
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, Severity, Span
from compiler.mesh import Mesh
from compiler.resources.security import AccessRule
from policies.attributes import IP_ATTRIBUTES
from policies.authorization import Clause, Rule
from policies.match import Exact, Prefix, StringMatch, Suffix
from policies.matching import string_test

Network = IPv4Network | IPv6Network
HOST, PATH, PRINCIPAL, NAMESPACE = "request.host", "request.path", "source.principal", "source.namespace"
_IDENTITY = re.compile(r"[^/]+/ns/([^/]+)/sa/[^/]+")


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
    return _identities_meet(clauses) and all(
        _attribute(attribute, [clause for clause in clauses if clause.attribute == attribute])
        for attribute in attributes
    )


def _attribute(attribute: str, clauses: list[Clause]) -> bool:
    if attribute in IP_ATTRIBUTES:
        return _some_address(clauses)
    if attribute == HOST:
        clauses = [_folded(clause) for clause in clauses]
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


def _folded(clause: Clause) -> Clause:
    """A clause about hosts, whose case does not matter."""

    def lower(values: tuple[StringMatch, ...]) -> tuple[StringMatch, ...]:
        return tuple(
            msgspec.structs.replace(value, value=value.value.lower())
            if isinstance(value, Exact | Prefix | Suffix)
            else value
            for value in values
        )

    return msgspec.structs.replace(clause, values=lower(clause.values), not_values=lower(clause.not_values))


def _some_address(clauses: list[Clause]) -> bool:
    """Whether an address is in one of the networks of each clause and in none that any of them excludes."""
    excluded = [network for clause in clauses for network in _networks(clause.not_values)]
    asked = [_networks(clause.values) for clause in clauses if clause.values]
    if not asked:
        return True
    return any(
        smallest is not None and not _filled(smallest, excluded)
        for smallest in (_smallest(chosen) for chosen in product(*asked))
    )


def _networks(values: tuple[StringMatch, ...]) -> list[Network]:
    return [ip_network(value.value, strict=False) for value in values if isinstance(value, Exact)]


def _smallest(chosen: tuple[Network, ...]) -> Network | None:
    """What networks have in common: the smallest, where it is in all of them."""
    smallest = max(chosen, key=lambda network: network.prefixlen)
    return smallest if all(_within(smallest, network) for network in chosen) else None


def _filled(network: Network, others: list[Network]) -> bool:
    """Whether others together hold every address of a network."""
    inside = [other for other in others if _within(other, network)]
    whole = sum(other.num_addresses for other in _disjoint(inside))
    return whole == network.num_addresses or any(_within(network, other) for other in others)


def _disjoint(networks: list[Network]) -> list[Network]:
    kept: list[Network] = []
    for network in sorted(set(networks), key=lambda item: item.prefixlen):
        if not any(_within(network, other) for other in kept):
            kept.append(network)
    return kept


def _within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _identities_meet(clauses: tuple[Clause, ...]) -> bool:
    """Whether some principal that is asked for is of a namespace that is asked for; patterns may be of any."""
    asked = {
        attribute: [clause.values for clause in clauses if clause.attribute == attribute and clause.values]
        for attribute in (PRINCIPAL, NAMESPACE)
    }
    if not asked[PRINCIPAL] or not asked[NAMESPACE]:
        return True
    for values in asked[PRINCIPAL]:
        if not all(isinstance(value, Exact) and _IDENTITY.fullmatch(value.value) for value in values):
            return True
    named = [
        {found[1] for value in values if isinstance(value, Exact) and (found := _IDENTITY.fullmatch(value.value))}
        for values in asked[PRINCIPAL]
    ]
    homes = set.intersection(*named)
    return any(all(any(string_test(value)(home) for value in values) for values in asked[NAMESPACE]) for home in homes)
