"""PeerAuthentication and AuthorizationPolicy."""

from __future__ import annotations

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document
from compiler.resources.cursor import Cursor, Labels, Located, Positions
from compiler.resources.gateway_api import ObjectRef, object_ref
from compiler.resources.matches import path_template, wildcard_match
from compiler.resources.meta import Meta, open_document
from policies.attributes import IP_ATTRIBUTES
from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.match import Exact, Prefix, StringMatch

DRY_RUN_ANNOTATION = "istio.io/dry-run"

_SOURCE_FIELDS = {
    "principals": "source.principal",
    "requestPrincipals": "request.auth.principal",
    "namespaces": "source.namespace",
    "serviceAccounts": "source.serviceAccount",
    "trustDomains": "source.trustDomain",
    "ipBlocks": "source.ip",
    "remoteIpBlocks": "remote.ip",
}
_OPERATION_FIELDS = {
    "hosts": "request.host",
    "ports": "destination.port",
    "methods": "request.method",
    "paths": "request.path",
}


class PeerAuthentication(msgspec.Struct, frozen=True):
    """Which ports accept what. ``selector`` None is none written; modes are UNSET, DISABLE, PERMISSIVE, STRICT; ``ports`` by container port."""

    meta: Meta
    selector: Labels | None
    mode: str
    ports: tuple[tuple[int, str], ...]


class AccessRule(msgspec.Struct, frozen=True):
    """An AuthorizationPolicy: what it asks, and its action as written (ALLOW, DENY, AUDIT, CUSTOM), with the place of that."""

    meta: Meta
    selector: Labels
    targets: tuple[ObjectRef, ...]
    action: str
    action_span: Span
    dry_run: bool
    policy: AuthorizationPolicy


def read_peer_authentication(document: Document, positions: Positions) -> PeerAuthentication:
    """A PeerAuthentication document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    if spec is None:
        return PeerAuthentication(meta, None, "UNSET", ())
    selector, mtls = spec.at("selector"), spec.at("mtls")
    levels = spec.entries("portLevelMtls")
    return PeerAuthentication(
        meta=meta,
        selector=(selector.labels("matchLabels") or None) if selector else None,
        mode=mtls.text("mode", "UNSET") if mtls else "UNSET",
        ports=tuple(sorted((int(port), level.text("mode", "UNSET")) for port, level in levels if port.isdigit())),
    )


def read_authorization_policy(document: Document, positions: Positions) -> AccessRule:
    """An AuthorizationPolicy document; an action that this version cannot run denies everything that the policy covers."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    if spec is None:
        policy = AuthorizationPolicy(meta.source, Action.ALLOW)
        return AccessRule(meta, (), (), "ALLOW", meta.span, dry_run=False, policy=policy)
    selector = spec.at("selector")
    action = spec.located("action") or Located("ALLOW", spec.span)
    refs = [*spec.each("targetRefs"), *([single] if (single := spec.at("targetRef")) else [])]
    return AccessRule(
        meta=meta,
        selector=selector.labels("matchLabels") if selector else (),
        targets=tuple(object_ref(ref, meta.namespace, kind="Gateway") for ref in refs),
        action=action.value,
        action_span=action.span,
        dry_run=meta.annotation(DRY_RUN_ANNOTATION) == "true",
        policy=_policy(meta, spec, action.value),
    )


def _policy(meta: Meta, spec: Cursor, action: str) -> AuthorizationPolicy:
    if action == "CUSTOM":
        return AuthorizationPolicy(meta.source, Action.DENY, (Rule(meta.source),))
    rules = tuple(_rule(rule, meta.namespace) for rule in spec.each("rules"))
    return AuthorizationPolicy(meta.source, Action.DENY if action == "DENY" else Action.ALLOW, rules)


def _rule(rule: Cursor, namespace: str) -> Rule:
    froms = [entry.at("source") for entry in rule.each("from")]
    tos = [entry.at("operation") for entry in rule.each("to")]
    return Rule(
        source=rule.source(),
        sources=tuple(_clauses(entry, _SOURCE_FIELDS, namespace) for entry in froms if entry is not None),
        operations=tuple(_clauses(entry, _OPERATION_FIELDS, namespace) for entry in tos if entry is not None),
        when=tuple(
            _clause(when.text("key"), when.texts("values"), when.texts("notValues"), namespace)
            for when in rule.each("when")
        ),
    )


def _clauses(entry: Cursor, fields: dict[str, str], namespace: str) -> tuple[Clause, ...]:
    clauses = []
    for field, attribute in fields.items():
        negated = f"not{field[0].upper()}{field[1:]}"
        if entry.has(field) or entry.has(negated):
            clauses.append(_clause(attribute, entry.texts(field), entry.texts(negated), namespace))
    return tuple(clauses)


def _clause(attribute: str, values: tuple[str, ...], not_values: tuple[str, ...], namespace: str) -> Clause:
    return Clause(
        attribute,
        tuple(_value(attribute, value, namespace) for value in values),
        tuple(_value(attribute, value, namespace) for value in not_values),
    )


def _value(attribute: str, value: str, namespace: str) -> StringMatch:
    if attribute in IP_ATTRIBUTES or attribute == "destination.port":
        return Exact(value)
    if attribute == "source.serviceAccount":
        return Exact(value if "/" in value else f"{namespace}/{value}")
    if attribute == "request.host" and value.endswith(":*"):
        return Prefix(value[:-1])
    return path_template(value) if attribute == "request.path" else wildcard_match(value)
