"""Sidecar: what the proxies of a namespace accept, and which hosts they know."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Cursor, Labels, Positions
from compiler.resources.destination_rule import ConnectionPool, read_pool
from compiler.resources.gateway import ServerTlsSettings, read_server_tls
from compiler.resources.meta import Meta, open_document
from compiler.resources.protocol import parse_protocol
from compiler.resources.virtual_service import Target, read_target
from policies.source import SourceRef
from snapshot.section import AddressPort, ApplicationEndpoint, Bind, UnixSocket, WorkloadPort

ANY_NAMESPACE = "*"
_UNIX = "unix://"
_APPLICATION = ("127.0.0.1", "[::1]")
_INSIDE = {"https": "http", "tls": "tcp"}
"""What is spoken inside TLS that ends at the proxy (Istio)."""


class EgressHost(msgspec.Struct, frozen=True):
    """A host or pattern of a namespace (``*`` any, ``.`` the proxy's own); what is ``excluded`` stays unknown whatever else names it."""

    namespace: str
    host: str
    excluded: bool = False


class EgressListener(msgspec.Struct, frozen=True):
    """One ``egress``. ``port`` None is the one for all ports that no other names, 0 a Unix socket.

    ``bind`` is the address of a listener of its own: an IP address, ``unix://`` with a path, "" for the application's own address, or None
    where its traffic comes by the explicit proxy and the listeners per service alone.
    """

    hosts: tuple[EgressHost, ...]
    port: int | None
    protocol: str
    bind: str | None
    source: SourceRef

    def at(self, number: int) -> Bind | None:
        """Where it accepts what is for a port; None where it has no address of its own."""
        if self.bind is None:
            return None
        if self.bind.startswith(_UNIX):
            return UnixSocket(self.bind.removeprefix(_UNIX))
        return AddressPort(self.bind, number)


class IngressListener(msgspec.Struct, frozen=True):
    """One ``ingress``: where it accepts, what it speaks there, and where the application is. ``pool`` None is the Sidecar's.

    ``tls`` ends here, where the mesh's own TLS is disabled; ``protocol`` is what is spoken inside.
    """

    port: int
    protocol: str
    bind: Bind
    endpoint: ApplicationEndpoint
    pool: ConnectionPool | None
    source: SourceRef
    tls: ServerTlsSettings | None = None


class Sidecar(msgspec.Struct, frozen=True):
    """A Sidecar. ``selector`` None is none written; ``egress`` None leaves every host known; ``outbound`` "" leaves the mesh's mode.

    ``outbound_source`` names the part that writes the mode; ``egress_proxy`` is where requests to unknown hosts go instead. Without
    ``ingress`` the ports of the workload's services are accepted.
    """

    meta: Meta
    selector: Labels | None
    egress: tuple[EgressListener, ...] | None
    outbound: str = ""
    outbound_source: SourceRef | None = None
    egress_proxy: Target | None = None
    ingress: tuple[IngressListener, ...] = ()
    pool: ConnectionPool | None = None


def read_sidecar(document: Document, positions: Positions) -> Sidecar:
    """A Sidecar document. A policy that names no mode is REGISTRY_ONLY (Istio)."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    assert spec is not None
    selector, outbound = spec.at("workloadSelector"), spec.at("outboundTrafficPolicy")
    listeners = tuple(_egress(listener) for listener in spec.each("egress"))
    proxy = outbound.at("egressProxy") if outbound else None
    return Sidecar(
        meta=meta,
        selector=selector.labels("labels") if selector else None,
        egress=listeners or None,
        outbound=outbound.text("mode", "REGISTRY_ONLY") if outbound else "",
        outbound_source=outbound.source() if outbound else None,
        egress_proxy=read_target(proxy) if proxy else None,
        ingress=tuple(_ingress(listener) for listener in spec.each("ingress")),
        pool=read_pool(spec.at("inboundConnectionPool")),
    )


def _egress(listener: Cursor) -> EgressListener:
    port = listener.at("port")
    capture, bind = listener.text("captureMode", "DEFAULT"), listener.text("bind")
    own = capture == "NONE" or (bool(bind) and (capture == "DEFAULT" or bind.startswith(_UNIX)))
    if port is None and bind.startswith(_UNIX):
        own = False  # One socket cannot stand for all ports.
    return EgressListener(
        hosts=tuple(_egress_host(host) for host in listener.texts("hosts")),
        port=port.number("number") if port else None,
        protocol=parse_protocol(port.text("protocol")) if port else "",
        bind=bind if own else None,
        source=listener.source(),
    )


def _egress_host(text: str) -> EgressHost:
    """``namespace/host``; ``~namespace/host`` excludes what it names, and ``~/host`` excludes it in every namespace."""
    namespace, _, host = text.partition("/")
    named = namespace.removeprefix("~")
    return EgressHost(named or ANY_NAMESPACE, host.lower().rstrip("."), excluded=named != namespace)


def _ingress(listener: Cursor) -> IngressListener:
    port = listener.at("port")
    number = port.number("number") if port else 0
    bind = listener.text("bind")
    tls = read_server_tls(listener.at("tls"))
    protocol = parse_protocol(port.text("protocol") if port else "")
    return IngressListener(
        port=number,
        protocol=_INSIDE.get(protocol, protocol) if tls else protocol,
        bind=AddressPort(bind, number) if bind else WorkloadPort(number),
        endpoint=_endpoint(listener.text("defaultEndpoint"), number),
        pool=read_pool(listener.at("connectionPool")),
        source=listener.source(),
        tls=tls,
    )


def _endpoint(written: str, port: int) -> ApplicationEndpoint:
    """Where an ingress leads: the same port of the application where nothing, or no address, is written; 0.0.0.0 stands for the workload's own."""
    if not written:
        return ApplicationEndpoint(port)
    if written.startswith(_UNIX):
        return ApplicationEndpoint(0, path=written.removeprefix(_UNIX))
    host, _, number = written.rpartition(":")
    if not host and int(number) == port:
        return ApplicationEndpoint(port)
    local = host in _APPLICATION
    return ApplicationEndpoint(int(number), exposed=not local, loopback=local)
