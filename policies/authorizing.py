"""Authorization policies compiled to tests, and the order in which they are asked (Istio: DENY, then ALLOW).

The model: a clause compares one attribute's values; a rule is (any source) and (any operation) and (all conditions); the first DENY
rule that matches denies; with no ALLOW policy all is allowed; else the first ALLOW rule that matches allows and none denies.

Repeated headers: a DENY clause holds if any value matches, an ALLOW clause only if all do; so a second value can neither dodge
a denial nor buy a permission. Text that cannot be decoded makes a DENY clause hold and an ALLOW clause fail.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

import msgspec

from policies.attributes import (
    CONNECTION_ATTRIBUTES,
    IDENTITY_ATTRIBUTES,
    IP_ATTRIBUTES,
    PATH_ATTRIBUTES,
    Asked,
    attribute,
)
from policies.authorization import Action, AuthorizationPolicy, Clause, Rule, Verdict
from policies.match import Exact, StringMatch
from policies.matching import PatternError, StringTest, string_test
from policies.source import SourceRef

Test = Callable[[Asked], bool]

ALLOWED = Verdict(allowed=True)


class PreparedRule(msgspec.Struct, frozen=True, gc=False):
    """One rule as a test, and the verdict that it stands for."""

    source: SourceRef
    test: Test
    verdict: Verdict


class PreparedPolicies(msgspec.Struct, frozen=True):
    """A policy set ready to ask. ``unmatched`` is the verdict where no rule matched.

    ``reads_identity`` and ``reads_more`` say what a verdict depends on besides method, authority and path: the peer's identity,
    and anything else (addresses, headers, tokens); a caller that caches decisions must keep to them. ``reads_port`` says that it depends on the
    port, too, which most listeners have one of.
    """

    deny: tuple[PreparedRule, ...]
    allow: tuple[PreparedRule, ...]
    unmatched: Verdict
    reads_identity: bool
    reads_more: bool
    reads_port: bool = False

    def evaluate(self, asked: Asked) -> Verdict:
        """The verdict on one request or connection."""
        for rule in self.deny:
            if rule.test(asked):
                return rule.verdict
        for rule in self.allow:
            if rule.test(asked):
                return rule.verdict
        return self.unmatched

    def consider(self, asked: Asked) -> Iterator[tuple[PreparedRule, bool]]:
        """Every rule in the order asked, with whether it matches: what explain prints."""
        for rule in (*self.deny, *self.allow):
            yield rule, rule.test(asked)


def prepare_policies(policies: tuple[AuthorizationPolicy, ...], *, http: bool) -> PreparedPolicies:
    """Compiles a policy set for HTTP requests, or for connections where ``http`` is false. Raises PatternError.

    On connections HTTP attributes are unknown: an ALLOW rule that names one is dropped, a DENY rule is asked without it (Istio).
    """
    deny = tuple(
        _prepare(rule, policy.action, http=http)
        for policy in policies
        if policy.action is Action.DENY
        for rule in policy.rules
    )
    allowing = [policy for policy in policies if policy.action is Action.ALLOW]
    allow = tuple(_prepare(rule, Action.ALLOW, http=http) for policy in allowing for rule in policy.rules)
    unmatched = Verdict(allowed=False, source=allowing[0].source) if allowing else ALLOWED
    keys = {clause.attribute for policy in policies for rule in policy.rules for clause in _clauses(rule)}
    return PreparedPolicies(
        deny=deny,
        allow=allow,
        unmatched=unmatched,
        reads_identity=bool(keys & IDENTITY_ATTRIBUTES),
        reads_more=bool(keys - IDENTITY_ATTRIBUTES - PATH_ATTRIBUTES - {"destination.port"}),
        reads_port="destination.port" in keys,
    )


def _clauses(rule: Rule) -> Iterator[Clause]:
    for group in (*rule.sources, *rule.operations):
        yield from group
    yield from rule.when


def _prepare(rule: Rule, action: Action, *, http: bool) -> PreparedRule:
    deny = action is Action.DENY
    dropped = not http and not deny and any(clause.attribute not in CONNECTION_ATTRIBUTES for clause in _clauses(rule))
    test = _never if dropped else _rule_test(rule, deny=deny, http=http)
    return PreparedRule(source=rule.source, test=test, verdict=Verdict(allowed=not deny, source=rule.source))


def _rule_test(rule: Rule, *, deny: bool, http: bool) -> Test:
    parts = [
        _any_of([_all_of([_clause_test(clause, deny=deny, http=http) for clause in group]) for group in groups])
        for groups in (rule.sources, rule.operations)
        if groups
    ]
    parts.extend(_clause_test(clause, deny=deny, http=http) for clause in rule.when)
    return _all_of(parts)


def _never(_asked: Asked) -> bool:
    return False


def _always(_asked: Asked) -> bool:
    return True


def _all_of(tests: list[Test]) -> Test:
    tests = [test for test in tests if test is not _always]
    if len(tests) < 2:
        return tests[0] if tests else _always
    return lambda asked, tests=tuple(tests): all(test(asked) for test in tests)  # type: ignore[misc]


def _any_of(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda asked, tests=tuple(tests): any(test(asked) for test in tests)  # type: ignore[misc]


def _clause_test(clause: Clause, *, deny: bool, http: bool) -> Test:
    if not http and clause.attribute not in CONNECTION_ATTRIBUTES:
        return _always
    read = attribute(clause.attribute)
    if read is None:
        raise PatternError(f"there is no attribute {clause.attribute!r}")
    compile_value = _network_test if clause.attribute in IP_ATTRIBUTES else string_test
    fold = clause.attribute == "request.host"
    wanted = [compile_value(_folded(value) if fold else value) for value in clause.values]
    unwanted = [compile_value(_folded(value) if fold else value) for value in clause.not_values]
    # A token's lists are the issuer's word, and one item is enough (Istio); only a client could add a header.
    any_one = clause.attribute == "request.host" or clause.attribute.startswith("request.auth.")

    def test(asked: Asked) -> bool:
        values = read(asked)
        if values is None:
            return deny
        if wanted and not _holds(values, wanted, every=not deny and not any_one):
            return False
        return not unwanted or not _holds(values, unwanted, every=deny and not any_one)

    return test


def _holds(values: list[str], tests: list[StringTest], *, every: bool) -> bool:
    """Whether some (or, with ``every``, each) value satisfies some test; an absent attribute satisfies none."""
    matches = (any(test(value) for test in tests) for value in values)
    return bool(values) and (all(matches) if every else any(matches))


def _folded(match: StringMatch) -> StringMatch:
    return match if not hasattr(match, "ignore_case") else msgspec.structs.replace(match, ignore_case=True)


def _network_test(match: StringMatch) -> StringTest:
    """A CIDR block or address, given as Exact text, as a test of an address's text; raises PatternError."""
    if not isinstance(match, Exact):
        raise PatternError(f"an address block is expected, not {match}")
    try:
        network = ipaddress.ip_network(match.value, strict=False)
    except ValueError as error:
        raise PatternError(str(error)) from None

    def test(text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address) in network

    return test
