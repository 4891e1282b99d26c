"""Retries that may carry out a request twice, and timeouts that end before the retries."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Severity
from compiler.hosts import full_host
from compiler.mesh import Mesh
from compiler.resources.virtual_service import HttpRule, VirtualService
from policies.match import Exact

RISKY = frozenset({"5xx", "gateway-error", "reset", "retriable-status-codes", "retriable-4xx", "retriable-headers"})
"""Conditions that also hold after the upstream has seen the whole request."""
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110 section 9.2.2."""


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0126 and WFT0127 at the rule; a retry budget is a DestinationRule's retryBudget, or the rule's own timeout."""
    budgets = {
        full_host(item.spec.text("host"), item.meta.namespace)
        for item in mesh.written("DestinationRule")
        if (policy := item.spec.at("trafficPolicy")) is not None and policy.has("retryBudget")
    }
    for service in mesh.virtual_services:
        for rule in service.http:
            if rule.retry is not None and rule.retry.attempts and rule.targets:
                yield from _twice(service, rule, budgets)
                yield from _too_short(service, rule)


def _twice(service: VirtualService, rule: HttpRule, budgets: set[str]) -> Iterator[Diagnostic]:
    assert rule.retry is not None
    hosts = {full_host(target.target.host.value, service.meta.namespace) for target in rule.targets}
    risky = [condition for condition in rule.retry.on if condition in RISKY]
    if risky and not rule.timeout_ms and not hosts <= budgets and not _only_idempotent(rule):
        message = f"requests of any method are sent up to {rule.retry.attempts + 1} times on {', '.join(risky)}, without a budget"
        yield diagnostic("WFT0126", message, rule.span, resource=service.meta.id)


def _only_idempotent(rule: HttpRule) -> bool:
    methods = [match.match.method for match in rule.matches]
    return bool(methods) and all(isinstance(method, Exact) and method.value in IDEMPOTENT for method in methods)


def _too_short(service: VirtualService, rule: HttpRule) -> Iterator[Diagnostic]:
    assert rule.retry is not None
    each, tries = rule.retry.per_try_timeout_ms, rule.retry.attempts + 1
    if each and rule.timeout_ms and rule.timeout_ms < each * tries:
        message = f"{tries} tries of {each} ms need {each * tries} ms, and the timeout is {rule.timeout_ms} ms"
        severity = Severity.WARNING if rule.timeout_ms <= each else Severity.NOTE
        yield diagnostic("WFT0127", message, rule.span, resource=service.meta.id, severity=severity)
