"""WorkloadGroup: what the machines of one group have in common, to their proxies what a Deployment is to its pods."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Cursor, Positions
from compiler.resources.kubernetes import Workload
from compiler.resources.meta import open_document
from policies.probe import ExecProbe, GrpcProbe, HttpProbe, Probe, TcpProbe


def read_workload_group(document: Document, positions: Positions) -> Workload:
    """A WorkloadGroup document. Its machines have the labels of both metadata and template, the template's first (Istio)."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root.empty("spec")
    metadata, template = spec.at("metadata"), spec.at("template") or spec.empty("template")
    labels = dict(metadata.labels("labels") if metadata is not None else ()) | dict(template.labels("labels"))
    return Workload(
        meta,
        tuple(sorted(labels.items())),
        template.text("serviceAccount") or "default",
        tuple((name, int(number)) for name, number in template.labels("ports")),
        probe=read_probe(spec.at("probe")),
    )


def read_probe(written: Cursor | None) -> Probe | None:
    """A readiness probe, with Kubernetes' defaults; None where nothing is asked."""
    ask = _ask(written) if written is not None else None
    if written is None or ask is None:
        return None
    default = Probe(ask)
    return msgspec.structs.replace(
        default,
        initial_delay_ms=written.number("initialDelaySeconds") * 1000,
        period_ms=written.number("periodSeconds") * 1000 or default.period_ms,
        timeout_ms=written.number("timeoutSeconds") * 1000 or default.timeout_ms,
        successes=written.number("successThreshold") or default.successes,
        failures=written.number("failureThreshold") or default.failures,
    )


def _ask(written: Cursor) -> HttpProbe | TcpProbe | GrpcProbe | ExecProbe | None:
    http, tcp = written.at("httpGet"), written.at("tcpSocket")
    grpc, command = written.at("grpc"), written.at("exec")
    if http is not None:
        return HttpProbe(
            http.number("port"),
            http.text("path") or "/",
            http.text("host"),
            http.text("scheme").upper() == "HTTPS",
            tuple((one.text("name"), one.text("value")) for one in http.each("httpHeaders")),
        )
    if tcp is not None:
        return TcpProbe(tcp.number("port"), tcp.text("host"))
    if grpc is not None:
        return GrpcProbe(grpc.number("port"), grpc.text("service"))
    return ExecProbe(command.texts("command")) if command is not None else None
