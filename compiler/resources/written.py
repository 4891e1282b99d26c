"""Documents as they were written, for checks that ask about fields which no resource holds.

A resource says what link needs. Analysis also asks about annotations, images, webhooks and kinds that have no part in routing; giving each
of them a type would make types that one check reads. A check that routes, links or decides reads resources.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document, Mapping
from compiler.resources.cursor import Cursor, Labels
from compiler.resources.gateway_api import LabelCondition
from compiler.resources.meta import Meta, open_document


class Written(msgspec.Struct, frozen=True):
    """One document: its metadata and a cursor at its root."""

    meta: Meta
    root: Cursor

    @property
    def spec(self) -> Cursor:
        """``spec``, empty where the document has none."""
        return self.root.at("spec") or self.root.empty("spec")

    def annotation_span(self, name: str) -> Span:
        """Where an annotation stands."""
        metadata = self.root.at("metadata")
        return key_span(metadata.at("annotations") if metadata else None, name) or self.meta.span


class PodTemplate(msgspec.Struct, frozen=True):
    """A Pod, or what a workload makes its pods of. ``meta`` is the workload's; labels and annotations are the pods'."""

    meta: Meta
    labels: Labels
    annotations: Labels
    spec: Cursor

    @property
    def is_pod(self) -> bool:
        """Whether this is a Pod itself."""
        return self.meta.id.kind == "Pod"

    def container(self, name: str) -> Cursor | None:
        """The container, or init container, of a name."""
        containers = (*self.spec.each("containers"), *self.spec.each("initContainers"))
        return next((item for item in containers if item.text("name") == name), None)

    def has_labels(self, selector: Labels) -> bool:
        """Whether the pods have all labels of a selector."""
        return all(label in self.labels for label in selector)


_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
WORKLOAD_KINDS = ("Pod", *_TEMPLATES, "WorkloadGroup")


def written(document: Document) -> Written:
    """A document opened for reading; what is read here names no source."""
    return Written(*open_document(document, {}))


def pod_template(item: Written) -> PodTemplate:
    """The pods of a workload, or the Pod itself."""
    if item.meta.id.kind == "Pod":
        return PodTemplate(item.meta, item.meta.labels, item.meta.annotations, item.spec)
    if item.meta.id.kind == "WorkloadGroup":
        return _machines(item)
    template = item.root
    for step in _TEMPLATES[item.meta.id.kind]:
        template = template.at(step) or template.empty(step)
    metadata = template.at("metadata") or template.empty("metadata")
    spec = template.at("spec") or template.empty("spec")
    return PodTemplate(item.meta, metadata.labels("labels"), metadata.labels("annotations"), spec)


def _machines(item: Written) -> PodTemplate:
    """The machines of a WorkloadGroup, as far as they are like pods: they have labels and no containers."""
    metadata, template = item.spec.at("metadata"), item.spec.at("template") or item.spec.empty("template")
    labels = dict(metadata.labels("labels") if metadata else ()) | dict(template.labels("labels"))
    annotations = metadata.labels("annotations") if metadata else ()
    return PodTemplate(item.meta, tuple(sorted(labels.items())), annotations, item.spec.empty("containers"))


def key_span(mapping: Cursor | None, key: str) -> Span | None:
    """Where a key of a mapping stands, or None where it is not written."""
    return mapping.node.key_spans.get(key) if mapping is not None and isinstance(mapping.node, Mapping) else None


def held_data(document: Written, names: tuple[str, ...]) -> bytes:
    """What a Secret or ConfigMap holds under the first of some keys that it has; empty where it has none or it cannot be decoded."""
    encoded = document.root.at("data" if document.meta.id.kind == "Secret" else "binaryData")
    plain = document.root.at("stringData" if document.meta.id.kind == "Secret" else "data")
    for name in names:
        if plain is not None and plain.has(name):
            return plain.text(name).encode()
        if encoded is not None and encoded.has(name):
            try:
                return base64.b64decode(encoded.text(name))
            except (binascii.Error, ValueError):
                return b""
    return b""


def selects(selector: Cursor | None, labels: Labels) -> bool:
    """Whether a Kubernetes LabelSelector selects labels; none written, or an empty one, selects everything."""
    if selector is None:
        return True
    found = dict(labels)
    conditions = (
        LabelCondition(item.text("key"), item.text("operator"), item.texts("values"))
        for item in selector.each("matchExpressions")
    )
    return set(selector.labels("matchLabels")) <= set(labels) and all(
        condition.holds(found) for condition in conditions
    )
