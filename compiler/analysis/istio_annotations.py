"""Istio's annotations on Namespaces, Services, Pods and Deployments: unknown, in the wrong place, malformed, deprecated or alpha."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.annotation_names import ANNOTATIONS, ANY, BY_CONTROLLERS, BY_DEFAULT, Annotation, is_istios
from compiler.analysis.annotation_values import VALUES
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.written import Written, pod_template

CHECKED = ("Namespace", "Service", "Pod", "Deployment")
INJECT = "sidecar.istio.io/inject"


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0107, IST0108, IST0125, IST0135 and IST0136 at the annotation."""
    for kind in CHECKED:
        for item in mesh.written(kind):
            for name, value in item.meta.annotations:
                if is_istios(name):
                    yield from _annotation(item, name, value)


def _annotation(item: Written, name: str, value: str) -> Iterator[Diagnostic]:
    span, about = item.annotation_span(name), item.meta.id
    known = ANNOTATIONS.get(name)
    if known is None:
        yield diagnostic("IST0108", f"`{name}` is no annotation of Istio", span, resource=about)
        return
    if known.alpha and not _by_itself(item, name):
        yield diagnostic("IST0136", f"`{name}` belongs to an alpha feature of Istio", span, resource=about)
    if known.deprecated and not (name == INJECT and INJECT in dict(item.meta.labels)):
        instead = f"; use the label `{INJECT}`" if name == INJECT else ""
        yield diagnostic("IST0135", f"`{name}` is deprecated{instead}", span, resource=about)
    yield from _use(item, name, value, known)


def _use(item: Written, name: str, value: str, known: Annotation) -> Iterator[Diagnostic]:
    span, about = item.annotation_span(name), item.meta.id
    if ANY in known.kinds:
        return
    if about.kind not in known.kinds:
        places = " or ".join(known.kinds)
        yield diagnostic("IST0107", f"`{name}` has no effect on a {about.kind}, only on {places}", span, resource=about)
        return
    problem = VALUES[name](value) if name in VALUES else None
    if problem:
        yield diagnostic("IST0125", f"`{name}`: {problem}", span, resource=about)


def _by_itself(item: Written, name: str) -> bool:
    """Whether Istio writes the annotation on its own: some always, others where its network plug-in set the pod up."""
    if name in BY_CONTROLLERS:
        return True
    return name in BY_DEFAULT and item.meta.id.kind == "Pod" and pod_template(item).container("istio-init") is None
