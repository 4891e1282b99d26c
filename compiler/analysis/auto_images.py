"""Proxy containers whose image is ``auto`` where nothing would replace it."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.injection import PROXY
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor
from compiler.resources.written import PodTemplate, selects


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0147 for a Pod, IST0146 for a Deployment that no injection webhook in Git selects."""
    hooks = [
        hook
        for item in mesh.written("MutatingWebhookConfiguration")
        for hook in item.root.each("webhooks")
        if hook.text("name").endswith("istio.io")
    ]
    for pod in mesh.pods:
        proxy = pod.container(PROXY)
        if proxy is None or proxy.text("image") != "auto":
            continue
        if pod.is_pod:
            message = f"the image of `{PROXY}` is `auto`, which no Pod can run"
            yield diagnostic("IST0147", message, proxy.span, resource=pod.meta.id)
        elif pod.meta.id.kind == "Deployment" and not any(_injects(mesh, hook, pod) for hook in hooks):
            message = f"the image of `{PROXY}` is `auto`, and no injection webhook in Git selects these pods"
            yield diagnostic("IST0146", message, proxy.span, resource=pod.meta.id)


def _injects(mesh: Mesh, hook: Cursor, pod: PodTemplate) -> bool:
    labels = mesh.namespaces.get(pod.meta.namespace, ())
    return selects(hook.at("namespaceSelector"), labels) and selects(hook.at("objectSelector"), pod.labels)
