"""Retries that may carry out a request twice, and timeouts that end before the retries."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, ResourceId, Severity, Span
from compiler.hosts import covers, full_host
from compiler.mesh import Mesh
from compiler.resources.virtual_service import VirtualService, WeightedTarget
from policies.match import RouteMatch
from policies.matching import PatternError, string_test
from policies.traffic import Retry

RISKY = frozenset({"5xx", "gateway-error", "reset", "retriable-status-codes", "retriable-4xx", "retriable-headers"})
"""Conditions that also hold after the upstream has seen the whole request."""
NOT_IDEMPOTENT = ("POST", "PATCH", "CONNECT")
"""The methods of RFC 9110 section 9.2.2, and of RFC 5789, that may not be carried out twice."""

Budget = tuple[str, str]
"""A completed host, maybe a pattern, and the subset that has a retry budget; "" is all subsets."""


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0126 and WFT0127 at the rule; a retry budget is a DestinationRule's retryBudget, or the rule's own timeout."""
    budgets = list(_budgets(mesh))
    for service in mesh.virtual_services:
        for rule in service.http:
            if rule.retry is not None and rule.retry.attempts and rule.targets:
                covered = all(_is_budgeted(service, target, budgets) for target in rule.targets)
                matches = [match.match for match in rule.matches]
                if not covered and not rule.timeout_ms and _may_be_unsafe(matches):
                    yield from _twice(service.meta.id, rule.span, rule.retry)
                yield from _too_short(service.meta.id, rule.span, rule.retry, rule.timeout_ms or 0)
    for route in mesh.http_routes:
        for one in route.rules:
            if one.retry is not None and one.retry.attempts and one.backends:
                if not one.timeout_ms and _may_be_unsafe([match for match, _ in one.matches]):
                    yield from _twice(route.meta.id, one.span, one.retry)
                yield from _too_short(route.meta.id, one.span, one.retry, one.timeout_ms)


def _budgets(mesh: Mesh) -> Iterator[Budget]:
    for item in mesh.written("DestinationRule"):
        host = full_host(item.spec.text("host"), item.meta.namespace)
        policy = item.spec.at("trafficPolicy")
        if policy is not None and policy.has("retryBudget"):
            yield host, ""
        for subset in item.spec.each("subsets"):
            own = subset.at("trafficPolicy")
            if own is not None and own.has("retryBudget"):
                yield host, subset.text("name")


def _is_budgeted(service: VirtualService, target: WeightedTarget, budgets: list[Budget]) -> bool:
    host = full_host(target.target.host.value, service.meta.namespace)
    subset = target.target.subset.value if target.target.subset else ""
    return any(covers(ruled, host) and named in ("", subset) for ruled, named in budgets)


def _may_be_unsafe(matches: list[RouteMatch]) -> bool:
    """Whether some match takes a method that may not be carried out twice. What cannot be read is another finding's."""
    for match in matches or [RouteMatch()]:
        if match.method is None:
            return True
        try:
            takes = string_test(match.method)
        except PatternError:
            continue
        if any(takes(method) for method in NOT_IDEMPOTENT):
            return True
    return False


def _twice(about: ResourceId, span: Span, retry: Retry) -> Iterator[Diagnostic]:
    risky = [condition for condition in retry.on if condition in RISKY]
    if risky:
        message = (
            f"requests of any method are sent up to {retry.attempts + 1} times on {', '.join(risky)}, without a budget"
        )
        yield diagnostic("WFT0126", message, span, resource=about)


def _too_short(about: ResourceId, span: Span, retry: Retry, timeout_ms: int) -> Iterator[Diagnostic]:
    each, tries = retry.per_try_timeout_ms, retry.attempts + 1
    if each and timeout_ms and timeout_ms < each * tries:
        message = f"{tries} tries of {each} ms need {each * tries} ms, and the timeout is {timeout_ms} ms"
        severity = Severity.WARNING if timeout_ms <= each else Severity.NOTE
        yield diagnostic("WFT0127", message, span, resource=about, severity=severity)
