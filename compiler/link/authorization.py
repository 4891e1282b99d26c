"""Which AuthorizationPolicies hold for a proxy."""

from __future__ import annotations

from compiler.link.trust_domains import with_aliases
from compiler.mesh import Mesh
from compiler.resources.cursor import Labels
from compiler.resources.gateway_api import ObjectRef
from policies.authorization import Action, AuthorizationPolicy, Rule
from policies.source import SourceRef
from snapshot.section import PolicySet

POLICIES = "policies"
"""The name of a slice's policy set; a slice where none holds has none."""
ENFORCED = frozenset({"ALLOW", "DENY", "CUSTOM"})


def policy_set(mesh: Mesh, namespace: str, labels: Labels, *, gateway: str = "") -> PolicySet | None:
    """The policies of the root namespace and of the proxy's own that select it, in order, or None.

    ``gateway`` is the Gateway API Gateway that a proxy stands for. A policy with targetRefs holds for those Gateways alone. An
    AUDIT or dry-run policy only logs, so it is not enforced.
    """
    domains = (mesh.config.trust_domain, *mesh.config.trust_domain_aliases)
    held = tuple(
        with_aliases(rule.policy, domains)
        for rule in mesh.access_rules
        if rule.action in ENFORCED
        and not rule.dry_run
        and holds_for(mesh, rule.meta.namespace, rule.selector, rule.targets, namespace, labels, gateway)
    )
    return PolicySet(POLICIES, held) if held else None


def denying(source: SourceRef) -> PolicySet:
    """The policies of a proxy that lets nobody in."""
    return PolicySet(POLICIES, (AuthorizationPolicy(source, Action.DENY, (Rule(source),)),))


def holds_for(
    mesh: Mesh,
    owner: str,
    selector: Labels,
    targets: tuple[ObjectRef, ...],
    namespace: str,
    labels: Labels,
    gateway: str,
) -> bool:
    """Whether a policy of namespace ``owner`` holds for a proxy: one with targets for those Gateways alone, else by its selector."""
    if owner not in (mesh.config.root_namespace, namespace):
        return False
    if targets:
        names = {target.name for target in targets if target.kind == "Gateway"}
        return bool(gateway) and owner == namespace and gateway in names
    return set(selector) <= set(labels)
