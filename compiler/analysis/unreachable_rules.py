"""Rules of a VirtualService that no request can reach, because an earlier rule takes them all or asks the same."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.virtual_service import ConnectionRule, HttpMatch, HttpRule, Scope, VirtualService


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0130 for a rule without any effect, IST0131 for a match that an earlier rule has already."""
    for service in mesh.virtual_services:
        yield from _rules(service)
        yield from _connections(service, service.tls)
        yield from _connections(service, service.tcp)


def _rules(service: VirtualService) -> Iterator[Diagnostic]:
    seen: dict[object, HttpRule] = {}
    catch_all: HttpRule | None = None
    for rule in service.http:
        if catch_all is not None:
            message = f"no request reaches this rule: {catch_all.source.path} has no match and takes them all"
            yield diagnostic("IST0130", message, rule.span, resource=service.meta.id)
            continue
        if not rule.matches:
            catch_all = rule
            continue
        repeated = [match for match in rule.matches if _asked(match) in seen]
        if len(repeated) == len(rule.matches):
            earlier = seen[_asked(repeated[0])]
            message = f"no request reaches this rule: its matches are those of {earlier.source.path}"
            yield diagnostic("IST0130", message, rule.span, resource=service.meta.id)
        for match in repeated:
            message = f"this match has no effect: {seen[_asked(match)].source.path} has the same"
            yield diagnostic("IST0131", message, match.span, resource=service.meta.id)
        for match in rule.matches:
            seen.setdefault(_asked(match), rule)


def _connections(service: VirtualService, rules: tuple[ConnectionRule, ...]) -> Iterator[Diagnostic]:
    seen: dict[object, ConnectionRule] = {}
    catch_all: ConnectionRule | None = None
    for rule in rules:
        if catch_all is not None:
            message = f"no connection reaches this rule: {catch_all.source.path} has no match and takes them all"
            yield diagnostic("IST0130", message, rule.span, resource=service.meta.id)
            continue
        if not rule.matches:
            catch_all = rule
            continue
        asked = [(tuple(sorted(match.server_names)), match.networks, *_scope(match.scope)) for match in rule.matches]
        repeated = [item for item in asked if item in seen]
        if len(repeated) == len(asked):
            message = f"no connection reaches this rule: its matches are those of {seen[repeated[0]].source.path}"
            yield diagnostic("IST0130", message, rule.span, resource=service.meta.id)
        for item in repeated:
            message = f"a match of this rule has no effect: {seen[item].source.path} has the same"
            yield diagnostic("IST0131", message, rule.span, resource=service.meta.id)
        for item in asked:
            seen.setdefault(item, rule)


def _asked(match: HttpMatch) -> object:
    return match.match, *_scope(match.scope)


def _scope(scope: Scope) -> tuple[object, ...]:
    return scope.port, scope.source_labels, scope.source_namespace, tuple(gateway.value for gateway in scope.gateways)
