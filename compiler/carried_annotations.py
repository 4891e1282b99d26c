"""What a pod's annotation says of its proxy, as a document of its own: its parts are carried or refused as in MeshConfig's ``defaultConfig``."""

from __future__ import annotations

from compiler.composer import Place
from compiler.node import Document, Mapping, Scalar, find
from compiler.resources.proxy_config import ANNOTATION
from compiler.yaml_file import read_yaml

_PLACES = {
    "Pod": ("metadata",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "metadata"),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "Job"), ("spec", "template", "metadata")),
}
"""Where the metadata of a kind's pods stands."""


def annotated_config(document: Document) -> Mapping | None:
    """The ProxyConfig in the annotation of a workload's pods, positioned at the annotation; None where there is none that can be read."""
    place = _PLACES.get(document.kind)
    value = find(document.root, (*place, "annotations", ANNOTATION)) if place else None
    if not isinstance(value, Scalar) or not isinstance(value.value, str):
        return None
    roots, _ = read_yaml(document.file, value.value, place=Place(document.file, within=value.span))
    return roots[0] if roots and isinstance(roots[0], Mapping) else None
