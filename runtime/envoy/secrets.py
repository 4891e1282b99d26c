"""The secrets that transport sockets name: this workload's identity, the trust bundle, and what fills credential slots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import assert_never

from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2

from runtime.envoy.messages import Message, file, inline_bytes
from snapshot.live import Credential, Svid
from snapshot.section import Cluster, Listener, MeshTls, MeshUpstream, ServerTls, TlsUpstream
from snapshot.slots import key_files

IDENTITY = "identity"
BUNDLE = "bundle"
AUTHORITY = "authority:"


def credential(slot: str) -> str:
    """The name of the secret with a slot's certificate and key."""
    return f"credential:{slot}"


def authority(slot: str) -> str:
    """The name of the secret with a slot's CA certificates."""
    return f"{AUTHORITY}{slot}"


def wanted(listeners: Iterable[Listener], clusters: Iterable[Cluster]) -> Iterator[str]:
    """The names of all secrets that listeners and clusters refer to."""
    for tls in [chain.tls for listener in listeners for chain in listener.chains] + [one.tls for one in clusters]:
        match tls:
            case MeshTls() | MeshUpstream():
                yield from (IDENTITY, BUNDLE)
            case ServerTls(credentials, client, client_ca):
                yield from map(credential, credentials)
                if client != "none":
                    yield authority(client_ca or credentials[0])
            case TlsUpstream():
                if tls.credential:
                    yield credential(tls.credential)
                if tls.ca and not tls.skip_verify:
                    yield authority(tls.ca)
            case None:
                pass
            case _:
                assert_never(tls)


def of_svid(svid: Svid) -> list[Message]:
    """The identity and the bundle, from memory."""
    return [of_pem(IDENTITY, chain=svid.certificate_chain, key=svid.private_key), of_pem(BUNDLE, ca=svid.bundle)]


def of_credential(given: Credential) -> list[Message]:
    """What one slot holds now, from memory."""
    found = []
    if given.certificate_chain:
        found.append(of_pem(credential(given.name), chain=given.certificate_chain, key=given.private_key))
    if given.ca:
        found.append(
            _trusted(authority(given.name), inline_bytes(given.ca), inline_bytes(given.crl) if given.crl else None)
        )
    return found


def of_pem(name: str, *, chain: bytes = b"", key: bytes = b"", ca: bytes = b"") -> Message:
    """A secret from PEM: a certificate with its key, or CA certificates."""
    return _trusted(name, inline_bytes(ca)) if ca else _certificate(name, inline_bytes(chain), inline_bytes(key))


def of_files(names: Iterable[str], identity: Path, credentials: Path) -> list[Message]:
    """Secrets that Envoy reads itself: ``identity/{tls.crt,tls.key,ca.crt}`` and ``credentials/<namespace>/<secret>/`` with the same names."""
    return [_of_file(name, identity, credentials) for name in sorted(set(names))]


def _of_file(name: str, identity: Path, credentials: Path) -> Message:
    kind, _, slot = name.partition(":")
    files = key_files(slot)
    if files is not None:
        if kind == "authority":
            return _trusted(name, file(files.ca), file(files.crl) if files.crl else None)
        return _certificate(name, file(files.certificate), file(files.key))
    folder = credentials / slot if slot else identity
    if kind in ("authority", BUNDLE):
        return _trusted(name, file(str(folder / "ca.crt")))
    return _certificate(name, file(str(folder / "tls.crt")), file(str(folder / "tls.key")))


def _certificate(name: str, chain: Message, key: Message) -> Message:
    certificate = common_pb2.TlsCertificate(certificate_chain=chain, private_key=key)
    return secret_pb2.Secret(name=name, tls_certificate=certificate)


def _trusted(name: str, ca: Message, crl: Message | None = None) -> Message:
    context = common_pb2.CertificateValidationContext(trusted_ca=ca, crl=crl)
    return secret_pb2.Secret(name=name, validation_context=context)
