"""AuthorizationPolicies that ask who a token's bearer is, for workloads where no RequestAuthentication checks tokens."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.claim_routes import authenticates
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.security import AccessRule

TOKEN = "request.auth."  # noqa: S105  the prefix of attributes, not a secret


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0125 at the policy; where Git has none of its workloads, it is enough that its namespace has some RequestAuthentication."""
    providers = mesh.written("RequestAuthentication")
    for policy in mesh.access_rules:
        asked = _asked(policy)
        if not asked:
            continue
        everywhere = policy.meta.namespace == mesh.config.root_namespace
        pods = [pod for pod in mesh.pods_in(policy.meta.namespace) if pod.has_labels(policy.selector)]
        places = (policy.meta.namespace, mesh.config.root_namespace)
        known = any(item.meta.namespace in places or everywhere for item in providers)
        bare = next((pod for pod in pods if not authenticates(mesh, pod)), None) if known else None
        if not known or (bare is not None and not policy.targets):
            where = str(bare.meta.id) if bare else f"`{policy.meta.namespace}`"
            message = f"`{asked}` needs a RequestAuthentication, and none holds for {where}"
            yield diagnostic("WFT0125", message, policy.meta.span, resource=policy.meta.id)


def _asked(policy: AccessRule) -> str:
    for rule in policy.policy.rules:
        for clause in (*rule.when, *(item for entry in rule.sources for item in entry)):
            if clause.attribute.startswith(TOKEN):
                return clause.attribute
    return ""
