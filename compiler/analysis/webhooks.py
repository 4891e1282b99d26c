"""Istio's injection webhooks: two that would inject one pod, and those that call a service which is not there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor, Labels
from compiler.resources.written import Written, selects

REVISION = "istio.io/rev"
_NAMESPACES: tuple[Labels, ...] = ((), (("istio-injection", "enabled"),), (("istio-injection", "disabled"),))
_PODS: tuple[Labels, ...] = ((), (("sidecar.istio.io/inject", "true"),), (("sidecar.istio.io/inject", "false"),))
Hook = tuple[Written, Cursor]


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0139 at the webhook, once per combination of labels that it shares with another, and once per missing service."""
    hooks: list[Hook] = []
    revisions: set[str] = set()
    for item in mesh.written("MutatingWebhookConfiguration"):
        own = _revisions(item)
        found = item.root.each("webhooks")
        if own or any(hook.text("name").endswith("istio.io") for hook in found):
            hooks += [(item, hook) for hook in found]
            revisions |= own
    yield from _overlaps(hooks, sorted(revisions))
    for item, hook in hooks:
        yield from _service(mesh, item, hook)


def _overlaps(hooks: list[Hook], revisions: list[str]) -> Iterator[Diagnostic]:
    for namespace, pod in product(_with_revisions(_NAMESPACES, revisions), _with_revisions(_PODS, revisions)):
        both = [
            (item, hook)
            for item, hook in hooks
            if selects(hook.at("namespaceSelector"), namespace) and selects(hook.at("objectSelector"), pod)
        ]
        for item, hook in both if len(both) > 1 else ():
            shown = ", ".join(f"{key}={value}" for key, value in (*namespace, *pod)) or "no labels"
            yield diagnostic(
                "IST0139",
                f"webhook `{hook.text('name')}` and another would both inject a pod with {shown}",
                hook.span,
                resource=item.meta.id,
                related=tuple(Related(other.span, "the other webhook") for _, other in both if other is not hook),
            )


def _with_revisions(bases: tuple[Labels, ...], revisions: list[str]) -> list[Labels]:
    return [*bases, *((*base, (REVISION, revision)) for revision in revisions for base in bases)]


def _revisions(item: Written) -> set[str]:
    found = {value for key, value in item.meta.labels if key == REVISION}
    for hook in item.root.each("webhooks"):
        for field in ("namespaceSelector", "objectSelector"):
            selector = hook.at(field)
            if selector is not None:
                found |= {value for key, value in selector.labels("matchLabels") if key == REVISION}
                for condition in selector.each("matchExpressions"):
                    found |= set(condition.texts("values")) if condition.text("key") == REVISION else set()
    return found


def _service(mesh: Mesh, item: Written, hook: Cursor) -> Iterator[Diagnostic]:
    client = hook.at("clientConfig")
    service = client.at("service") if client else None
    if service is not None and mesh.kubernetes_service(service.text("namespace"), service.text("name")) is None:
        name = f"{service.text('namespace')}/{service.text('name')}"
        message = f"webhook `{hook.text('name')}` calls Service {name}, which is not in Git"
        yield diagnostic("IST0139", message, service.span, resource=item.meta.id)
