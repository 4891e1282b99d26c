"""Pods in Git whose proxy has another image than their injector gives."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.injection import INJECTION_LABEL, PROXY, REVISION_LABEL
from compiler.analysis.injectors import injector_of, proxy_image
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh

OWN_IMAGE = "sidecar.istio.io/proxyImage"
VARIANTS = ("distroless", "debug")
"""What ProxyConfig's imageType adds to the image's tag."""


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0158 at the namespace, with the pods."""
    for item in mesh.written("Namespace"):
        labels = dict(item.meta.labels)
        if labels.get(INJECTION_LABEL) != "enabled" and REVISION_LABEL not in labels:
            continue
        values = injector_of(mesh, labels.get(REVISION_LABEL, ""))
        if values is None:
            continue
        wanted = proxy_image(values)
        accepted = (wanted, *(f"{wanted}-{variant}" for variant in VARIANTS))
        others = []
        for pod in mesh.pods:
            proxy = pod.container(PROXY) if pod.is_pod and pod.meta.namespace == item.meta.name else None
            if proxy and proxy.text("image") not in accepted and OWN_IMAGE not in dict(pod.annotations):
                others.append(pod.meta)
        if others:
            yield diagnostic(
                "IST0158",
                f"pods of `{item.meta.name}` ({len(others)}) have another proxy than `{wanted}`",
                item.meta.span,
                resource=item.meta.id,
                related=tuple(Related(meta.span, "this pod") for meta in others),
            )
