"""Kubernetes' own kinds, as far as a mesh reads them."""

from __future__ import annotations

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document
from compiler.resources.cursor import Cursor, Labels, Positions
from compiler.resources.meta import BY_DEFAULT, Meta, open_document
from compiler.resources.protocol import UDP, detect_protocol
from compiler.resources.proxy_config import UNSAID, ProxySettings, annotated_settings
from compiler.resources.scraping import scraped_at
from compiler.resources.written import Written, held_data
from policies.probe import Probe
from policies.source import SourceRef

EXPORT_ANNOTATION = "networking.istio.io/exportTo"
DISTRIBUTION_ANNOTATION = "networking.istio.io/traffic-distribution"


class Namespace(msgspec.Struct, frozen=True):
    """A namespace; its labels matter to listeners that choose routes by namespace."""

    meta: Meta


class ServiceAccount(msgspec.Struct, frozen=True):
    """A service account: the name in a workload's identity."""

    meta: Meta


class Secret(msgspec.Struct, frozen=True):
    """A TLS secret's name. ``broken`` is one whose data in Git hold no certificate and key; the data themselves are not kept."""

    meta: Meta
    type: str
    broken: bool = False


class Port(msgspec.Struct, frozen=True):
    """A service's port. ``target`` is the workload's port number, or 0 where ``target_name`` names it. ``transport`` is TCP or UDP."""

    number: int
    name: str
    protocol: str
    target: int
    target_name: str
    source: SourceRef
    span: Span
    transport: str = "TCP"


class Service(msgspec.Struct, frozen=True):
    """A Kubernetes Service. ``external_name`` is set for type ExternalName; no ``selector`` selects nothing.

    One that ``fails`` stands in for a broken one: whoever calls it is answered 503, on every port.
    """

    meta: Meta
    ports: tuple[Port, ...]
    selector: Labels
    addresses: tuple[str, ...]
    external_name: str
    export_to: tuple[str, ...]
    datagram_ports: tuple[Port, ...] = ()
    """The UDP ports, to which only UDPRoutes lead."""
    fails: bool = False
    traffic_distribution: str = ""
    """PreferClose, PreferSameZone or PreferSameNode; the annotation stands before the field (Istio)."""
    headless: bool = False
    """Whether its name means its workloads' addresses (``clusterIP: None``). Without this and an address the address is not in Git."""


class Workload(msgspec.Struct, frozen=True):
    """What runs: a Deployment's pod template, or a Pod. ``address`` is a Pod's status.podIP where Git has it. ``settings`` are what its pods
    say of their proxy.

    One that ``fails`` stands in for a broken one: its proxy lets nothing in and nothing out.
    """

    meta: Meta
    labels: Labels
    service_account: str
    ports: tuple[tuple[str, int], ...]
    address: str = ""
    fails: bool = False
    settings: ProxySettings = UNSAID
    probe: Probe | None = None
    scraped: tuple[int, str] | None = None
    """Where its application shows its metrics: port and path."""


def read_namespace(document: Document, positions: Positions) -> Namespace:
    """A Namespace document."""
    meta, _ = open_document(document, positions)
    return Namespace(meta)


def read_service_account(document: Document, positions: Positions) -> ServiceAccount:
    """A ServiceAccount document."""
    meta, _ = open_document(document, positions)
    return ServiceAccount(meta)


def read_secret(document: Document, positions: Positions) -> Secret:
    """A Secret document; whether its data can serve is all that is kept of them."""
    meta, root = open_document(document, positions)
    secret = Written(meta, root)
    pair = held_data(secret, ("tls.crt", "cert")), held_data(secret, ("tls.key", "key"))
    serves = b"-----BEGIN CERTIFICATE-----" in pair[0] and b"PRIVATE KEY-----" in pair[1]
    has_data = root.has("data") or root.has("stringData")
    return Secret(meta, root.text("type", "Opaque"), broken=has_data and not serves)


def read_service(document: Document, positions: Positions) -> Service:
    """A Service document; UDP ports stand apart, and SCTP ports are left out, which proxies do not carry."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    if spec is None:
        return Service(meta, (), (), (), "", BY_DEFAULT)
    written = [(port, port.text("protocol", "TCP")) for port in spec.each("ports")]
    addresses = dict.fromkeys((spec.text("clusterIP"), *spec.texts("clusterIPs")))
    exported = meta.annotation(EXPORT_ANNOTATION)
    return Service(
        meta=meta,
        ports=tuple(_service_port(port) for port, transport in written if transport == "TCP"),
        selector=spec.labels("selector"),
        addresses=tuple(address for address in addresses if address not in ("", "None")),
        external_name=spec.text("externalName") if spec.text("type") == "ExternalName" else "",
        export_to=tuple(part.strip() for part in exported.split(",") if part.strip()) or BY_DEFAULT,
        datagram_ports=tuple(
            msgspec.structs.replace(_service_port(port), transport=UDP)
            for port, transport in written
            if transport == UDP
        ),
        traffic_distribution=meta.annotation(DISTRIBUTION_ANNOTATION) or spec.text("trafficDistribution"),
        headless=spec.text("clusterIP") == "None",
    )


def _service_port(port: Cursor) -> Port:
    number = port.number("port")
    target = port.text("targetPort") or str(number)
    return Port(
        number=number,
        name=port.text("name"),
        protocol=detect_protocol(number, port.text("name"), port.text("appProtocol")),
        target=int(target) if target.isdigit() else 0,
        target_name="" if target.isdigit() else target,
        source=port.source(),
        span=port.span,
    )


def read_replicated(document: Document, positions: Positions) -> Workload:
    """A Deployment, StatefulSet, DaemonSet or Job: its pod template is the workload."""
    meta, root = open_document(document, positions)
    return _templated(meta, root.at("spec"))


def read_cron_job(document: Document, positions: Positions) -> Workload:
    """A CronJob: the pod template of its job is the workload."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    job = spec.at("jobTemplate") if spec else None
    return _templated(meta, job.at("spec") if job else None)


def _templated(meta: Meta, spec: Cursor | None) -> Workload:
    template = spec.at("template") if spec else None
    template_meta = template.at("metadata") if template else None
    labels = template_meta.labels("labels") if template_meta else ()
    made = _workload(meta, labels, template.at("spec") if template else None, "")
    return _annotated(made, template_meta.labels("annotations") if template_meta else ())


def read_pod(document: Document, positions: Positions) -> Workload:
    """A Pod document."""
    meta, root = open_document(document, positions)
    status = root.at("status")
    addresses = [status.text("podIP"), *(item.text("ip") for item in status.each("podIPs"))] if status else []
    made = _workload(meta, meta.labels, root.at("spec"), next((address for address in addresses if address), ""))
    return _annotated(made, meta.annotations)


def _annotated(made: Workload, annotations: Labels) -> Workload:
    """A workload with what the annotations of its pods say."""
    if not annotations:
        return made
    return msgspec.structs.replace(made, settings=annotated_settings(annotations), scraped=scraped_at(annotations))


def _workload(meta: Meta, labels: Labels, spec: Cursor | None, address: str) -> Workload:
    if spec is None:
        return Workload(meta, labels, "default", (), address)
    containers = [*spec.each("containers"), *spec.each("initContainers")]
    ports = tuple(
        (port.text("name"), port.number("containerPort"))
        for container in containers
        for port in container.each("ports")
    )
    account = spec.text("serviceAccountName") or spec.text("serviceAccount") or "default"
    return Workload(meta, labels, account, ports, address)
