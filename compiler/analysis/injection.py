"""Which namespaces and pods get a proxy by injection, where the repository uses labels for it."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.injectors import injected_by_default, injector_of
from compiler.analysis.port_names import SYSTEM_NAMESPACES
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Severity
from compiler.mesh import Mesh
from compiler.resources.written import PodTemplate, Written

INJECTION_LABEL, REVISION_LABEL, POD_LABEL = "istio-injection", "istio.io/rev", "sidecar.istio.io/inject"
PROXY = "istio-proxy"
AMBIENT = ("istio.io/dataplane-mode", "ambient")


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0102, IST0123 and IST0148 at the namespace, IST0103 at the pod (a note where the Pod has not run yet)."""
    injected = set()
    labelled = any(INJECTION_LABEL in dict(labels) for labels in mesh.namespaces.values())
    for item in mesh.written("Namespace"):
        if item.meta.name in SYSTEM_NAMESPACES or item.meta.name == mesh.config.root_namespace:
            continue
        labels = dict(item.meta.labels)
        if labels.get(INJECTION_LABEL) and REVISION_LABEL in labels:
            message = f"`{item.meta.name}` has the labels `{INJECTION_LABEL}` and `{REVISION_LABEL}`; which one holds is not defined"
            yield diagnostic("IST0123", message, item.meta.span, resource=item.meta.id)
        elif not labels.get(INJECTION_LABEL) and REVISION_LABEL not in labels:
            yield from _unlabelled(mesh, item, others_are=labelled)
        elif REVISION_LABEL in labels or labels[INJECTION_LABEL] == "enabled":
            injected.add(item.meta.name)
    yield from (finding for pod in mesh.pods if pod.meta.namespace in injected for finding in _pod(pod))


def _unlabelled(mesh: Mesh, item: Written, *, others_are: bool) -> Iterator[Diagnostic]:
    if injected_by_default(injector_of(mesh, "")):
        message = f"`{item.meta.name}` has no injection label and is injected, because the injector does so by default"
        yield diagnostic("IST0148", message, item.meta.span, resource=item.meta.id)
    elif others_are and AMBIENT not in item.meta.labels and not _only_gateways(mesh, item.meta.name):
        message = f"`{item.meta.name}` has no injection label, so its pods get no proxy"
        yield diagnostic("IST0102", message, item.meta.span, resource=item.meta.id)


def _only_gateways(mesh: Mesh, namespace: str) -> bool:
    """Whether a namespace has workloads and all of them are gateways, which are proxies themselves."""
    workloads = {(pod.meta.namespace, pod.meta.name) for pod in mesh.pods if pod.meta.namespace == namespace}
    return bool(workloads) and workloads <= mesh.gateway_workloads


def in_mesh(mesh: Mesh, pod: PodTemplate) -> bool:
    """Whether a workload gets a proxy; in a repository that does not use injection's labels every workload does."""
    asked = dict(pod.labels).get(POD_LABEL, dict(pod.annotations).get(POD_LABEL, ""))
    if asked:
        return asked.lower() == "true"
    labels = dict(mesh.namespaces.get(pod.meta.namespace, ()))
    if INJECTION_LABEL in labels or REVISION_LABEL in labels:
        return REVISION_LABEL in labels or labels[INJECTION_LABEL] == "enabled"
    labelled = any(INJECTION_LABEL in dict(found) for found in mesh.namespaces.values())
    return not labelled or injected_by_default(injector_of(mesh, ""))


def _pod(pod: PodTemplate) -> Iterator[Diagnostic]:
    wanted = dict(pod.labels).get(POD_LABEL, dict(pod.annotations).get(POD_LABEL, ""))
    proxy = pod.container(PROXY)
    if not pod.is_pod or wanted.lower() == "false" or pod.spec.flag("hostNetwork"):
        return
    if proxy is None or not proxy.text("image"):
        message = f"Pod `{pod.meta.name}` has no container `{PROXY}`, though its namespace is injected"
        severity = Severity.WARNING if pod.spec.has("nodeName") else Severity.NOTE
        yield diagnostic("IST0103", message, pod.meta.span, resource=pod.meta.id, severity=severity)
