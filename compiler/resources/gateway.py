"""Istio's Gateway: what a gateway workload accepts."""

from __future__ import annotations

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document
from compiler.resources.cursor import Cursor, Labels, Located, Positions
from compiler.resources.meta import Meta, open_document
from compiler.resources.tls_parameters import TlsParameters, read_tls_parameters
from policies.source import SourceRef
from snapshot.slots import KeyFiles

TLS_MODES_WITH_CERTIFICATE = frozenset({"SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"})


class ServerHost(msgspec.Struct, frozen=True):
    """One of a server's hosts. ``namespace`` is which namespace's routes may bind: ``*`` any, ``.`` the gateway's own."""

    namespace: str
    host: str
    span: Span


class ServerTlsSettings(msgspec.Struct, frozen=True):
    """A server's ``tls``. ``files`` and ``pairs`` are certificates on the proxy's own machine. Versions are the library's names; Istio's floor of
    TLS 1.2 holds also where an older one is asked for.

    A client's certificate must bear one of ``names``, and have one of ``hashes`` (sha256 of it, in hex) or of ``keys`` (sha256 of its public
    key, base64), where any are listed.
    """

    mode: str
    https_redirect: bool
    credentials: tuple[Located, ...]
    client_ca: Located | None
    parameters: TlsParameters
    max_version: str
    span: Span
    files: KeyFiles = KeyFiles()
    pairs: tuple[KeyFiles, ...] = ()
    names: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Server(msgspec.Struct, frozen=True):
    """One server: a port and the hosts behind it, on one address (``bind``) or the gateway's own (""). ``protocol`` is upper-case: HTTP, HTTPS,
    HTTP2, GRPC, TCP, TLS, MONGO."""

    number: int
    port_name: str
    protocol: str
    hosts: tuple[ServerHost, ...]
    tls: ServerTlsSettings | None
    source: SourceRef
    span: Span
    bind: str = ""


class Gateway(msgspec.Struct, frozen=True):
    """An Istio Gateway. One that ``fails`` stands in for a broken one: its hosts answer 503, its connections are closed."""

    meta: Meta
    selector: Labels
    servers: tuple[Server, ...]
    fails: bool = False


def read_gateway(document: Document, positions: Positions) -> Gateway:
    """An Istio Gateway document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    assert spec is not None
    return Gateway(meta, spec.labels("selector"), tuple(_server(server) for server in spec.each("servers")))


def _server(server: Cursor) -> Server:
    port = server.at("port")
    assert port is not None
    return Server(
        number=port.number("number"),
        port_name=port.text("name"),
        protocol=port.text("protocol").upper(),
        hosts=tuple(_host(host) for host in server.references("hosts")),
        tls=read_server_tls(server.at("tls")),
        source=server.source(),
        span=server.span,
        bind=server.text("bind"),
    )


def _host(host: Located) -> ServerHost:
    namespace, slash, name = host.value.rpartition("/")
    return ServerHost(namespace if slash else "*", name.lower(), host.span)


def read_server_tls(tls: Cursor | None) -> ServerTlsSettings | None:
    """``tls`` of a Gateway's server, or of a Sidecar's ingress."""
    if tls is None:
        return None
    single = tls.located("credentialName")
    return ServerTlsSettings(
        mode=tls.text("mode", "PASSTHROUGH" if not tls.flag("httpsRedirect") else ""),
        https_redirect=tls.flag("httpsRedirect"),
        credentials=tls.references("credentialNames") or ((single,) if single else ()),
        client_ca=tls.located("caCertCredentialName"),
        parameters=read_tls_parameters(tls),
        max_version="TLSv1_2" if tls.text("maxProtocolVersion") in ("TLSV1_0", "TLSV1_1", "TLSV1_2") else "TLSv1_3",
        span=tls.span,
        files=KeyFiles(
            tls.text("serverCertificate"), tls.text("privateKey"), tls.text("caCertificates"), tls.text("caCrl")
        ),
        pairs=tuple(
            KeyFiles(pair.text("serverCertificate"), pair.text("privateKey")) for pair in tls.each("tlsCertificates")
        ),
        names=tls.texts("subjectAltNames"),
        hashes=tuple(text.replace(":", "").lower() for text in tls.texts("verifyCertificateHash")),
        keys=tls.texts("verifyCertificateSpki"),
    )
