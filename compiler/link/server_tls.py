"""TLS that ends at a proxy: the mesh's own, and with a certificate of the operator's, as Istio's Gateways and Sidecars describe it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from compiler.resources.gateway import ServerTlsSettings
from compiler.resources.mesh_config import MeshConfig
from compiler.resources.tls_parameters import NOTHING_ASKED, TlsParameters
from snapshot.section import DownstreamTls, MeshTls, ServerTls

_CLIENT = {"MUTUAL": "require", "OPTIONAL_MUTUAL": "optional"}
_OLDEST = "TLSv1_2"


def mesh_tls(config: MeshConfig) -> MeshTls:
    """The mesh's own TLS, with the parameters of ``meshMTLS``."""
    asked = config.mesh_tls
    return MeshTls(asked.min_version or _OLDEST, asked.ciphers)


def server_tls(
    config: MeshConfig,
    credentials: tuple[str, ...],
    client: str = "none",
    client_ca: str = "",
    *,
    asked: TlsParameters = NOTHING_ASKED,
) -> ServerTls:
    """TLS with certificates of the operator's; what a server does not ask for is as ``tlsDefaults`` say."""
    known = asked.over(config.tls_defaults)
    return ServerTls(
        credentials,
        client,
        client_ca,
        min_version=known.min_version or _OLDEST,
        ciphers=known.ciphers,
        curves=known.curves,
    )


def downstream_tls(config: MeshConfig, tls: ServerTlsSettings, slot_of: Callable[[str], str]) -> DownstreamTls:
    """The TLS of a chain; ``slot_of`` says in which slot a credential's key is. Files on the proxy's machine are a slot by themselves."""
    if tls.mode == "ISTIO_MUTUAL":
        return mesh_tls(config)
    # Several pairs have keys of several types, and the authority of clients stands apart from them.
    files = tuple(pair.slot for pair in tls.pairs) or (tls.files.slot,)
    authority = tls.files.slot if tls.pairs and tls.files.ca else ""
    made = server_tls(
        config,
        tuple(slot_of(item.value) for item in tls.credentials) or files,
        _CLIENT.get(tls.mode, "none"),
        slot_of(tls.client_ca.value) if tls.client_ca else authority,
        asked=tls.parameters,
    )
    return replace(made, max_version=tls.max_version, names=tls.names, hashes=tls.hashes, keys=tls.keys)
