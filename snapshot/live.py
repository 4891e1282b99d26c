"""Live data that travels between control plane, supervisor and worker: who is there, under which identity, with which keys.

None of this is ever in a snapshot. The control plane's discovery, the supervisor and the workers speak these types (MessagePack, or
JSON on the control plane's HTTP interface, by the same field names).
"""

from __future__ import annotations

import msgspec

from policies.tokens import KeySource


class RegisteredWorkload(msgspec.Struct, frozen=True, omit_defaults=True):
    """A workload that a sidecar registered. ``identity`` is the SPIFFE ID of the registering connection's certificate, set by the
    control plane and never by the registrant. ``ports`` maps names and numbers of target ports to the numbers that the sidecar serves."""

    namespace: str
    name: str
    address: str
    labels: tuple[tuple[str, str], ...]
    identity: str
    mesh: bool = True
    ports: tuple[tuple[str, int], ...] = ()
    locality: str = ""
    cluster: str = "Kubernetes"


class Registry(msgspec.Struct, frozen=True):
    """All registered workloads at one version; the version grows with every change."""

    version: int
    workloads: tuple[RegisteredWorkload, ...]


class Svid(msgspec.Struct, frozen=True):
    """An X.509-SVID with its key and the trust bundle, PEM. ``expires_at`` and ``issued_at`` are seconds since 1970."""

    identity: str
    certificate_chain: bytes
    private_key: bytes
    bundle: bytes
    issued_at: float
    expires_at: float


class Credential(msgspec.Struct, frozen=True, omit_defaults=True):
    """What fills a credential slot, PEM. ``ca`` alone fills a CA slot; ``crl`` are their revocation lists, one for each where there are any."""

    name: str
    certificate_chain: bytes = b""
    private_key: bytes = b""
    ca: bytes = b""
    crl: bytes = b""


class Resolved(msgspec.Struct, frozen=True):
    """What DNS says of one (host, port) that a DnsEndpoints source names; no addresses means the name does not resolve now."""

    host: str
    port: int
    addresses: tuple[str, ...]


class FetchedKeys(msgspec.Struct, frozen=True):
    """The public keys of an issuer of tokens, as a JWK set, that were fetched from where a token rule says."""

    source: KeySource
    jwks: bytes
