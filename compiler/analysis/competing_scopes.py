"""Sidecars and Telemetry resources that select the same workloads: only one of each kind holds for a workload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor, Labels
from compiler.resources.written import PodTemplate, Written

AMBIENT = ("ambient.istio.io/redirection", "enabled")


class _Kind(NamedTuple):
    """One kind: where its selector stands, and the codes for a shared workload and for several without a selector."""

    name: str
    selector: tuple[str, str]
    shared: str
    several: str


_KINDS = (
    _Kind("Sidecar", ("workloadSelector", "labels"), "IST0110", "IST0111"),
    _Kind("Telemetry", ("selector", "matchLabels"), "IST0159", "IST0160"),
)


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0110 and IST0159 per shared workload, IST0111 and IST0160 per namespace, IST0167 where the workload has no sidecar."""
    for kind in _KINDS:
        items = [(item, _selector(item, kind)) for item in mesh.written(kind.name)]
        yield from _without_selector([item for item, selector in items if not selector], kind)
        reported: set[Written] = set()
        for pod in mesh.pods if items else ():
            rivals = [
                item
                for item, selector in items
                if selector and item.meta.namespace == pod.meta.namespace and pod.has_labels(selector)
            ]
            if kind.name == "Sidecar" and AMBIENT in pod.annotations:
                yield from (_no_effect(item, pod) for item in rivals if item not in reported)
                reported.update(rivals)
            elif len(rivals) > 1:
                yield from (_shared(item, rivals, pod, kind.shared) for item in rivals)


def _selector(item: Written, kind: _Kind) -> Labels:
    outer: Cursor | None = item.spec.at(kind.selector[0])
    return outer.labels(kind.selector[1]) if outer else ()


def _without_selector(items: list[Written], kind: _Kind) -> Iterator[Diagnostic]:
    namespaces: dict[str, list[Written]] = {}
    for item in items:
        if kind.name == "Sidecar" or not (item.spec.each("targetRefs") or item.spec.has("targetRef")):
            namespaces.setdefault(item.meta.namespace, []).append(item)
    for namespace, rivals in namespaces.items():
        for item in rivals if len(rivals) > 1 else ():
            message = f"{len(rivals)} {kind.name} resources of `{namespace}` have no selector; only one can hold"
            yield diagnostic(
                kind.several, message, item.meta.span, resource=item.meta.id, related=_others(item, rivals)
            )


def _shared(item: Written, rivals: list[Written], pod: PodTemplate, code: str) -> Diagnostic:
    message = f"{len(rivals)} {item.meta.id.kind} resources select {pod.meta.id}; only one can hold"
    return diagnostic(code, message, item.meta.span, resource=item.meta.id, related=_others(item, rivals))


def _no_effect(item: Written, pod: PodTemplate) -> Diagnostic:
    message = f"{pod.meta.id} is in ambient mode and has no sidecar, so this has no effect"
    return diagnostic("IST0167", message, item.meta.span, resource=item.meta.id)


def _others(item: Written, rivals: list[Written]) -> tuple[Related, ...]:
    return tuple(Related(other.meta.span, "another of them") for other in rivals if other is not item)
