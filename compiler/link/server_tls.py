"""TLS that ends at a proxy with a certificate of the operator's, as Istio's Gateways and Sidecars describe it."""

from __future__ import annotations

from collections.abc import Callable

from compiler.resources.gateway import ServerTlsSettings
from snapshot.section import DownstreamTls, MeshTls, ServerTls

_CLIENT = {"MUTUAL": "require", "OPTIONAL_MUTUAL": "optional"}


def downstream_tls(tls: ServerTlsSettings, slot_of: Callable[[str], str]) -> DownstreamTls:
    """The TLS of a chain; ``slot_of`` says in which slot a credential's key is. Files on the proxy's machine are a slot by themselves."""
    if tls.mode == "ISTIO_MUTUAL":
        return MeshTls()
    return ServerTls(
        credentials=tuple(slot_of(item.value) for item in tls.credentials) or (tls.files.slot,),
        client=_CLIENT.get(tls.mode, "none"),
        client_ca=slot_of(tls.client_ca.value) if tls.client_ca else "",
        min_version=tls.min_version,
        max_version=tls.max_version,
        ciphers=tls.ciphers,
        names=tls.names,
        hashes=tls.hashes,
        keys=tls.keys,
    )
