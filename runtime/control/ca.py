"""The certificate authority's state: a root, an intermediate that signs, and the bundle that the mesh trusts.

The folder (``<state>/ca``) holds ``root.pem``, ``root.key``, ``intermediate.pem`` and ``intermediate.key``, and in ``trusted/`` further
roots for the bundle. The root key signs intermediates only, so it can be taken away once the intermediate is made; an
organisation that has a root puts its own files there before the first start.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.control import keyfiles
from runtime.control.certificates import Issuer, LeafKey, chain_pem, key_pem, make_intermediate, make_root, make_server
from runtime.control.certificates import make_svid as sign_leaf
from runtime.control.keyfiles import StateError

DAY_S = 86_400.0
ROOT_LIFE_S = 3650 * DAY_S
INTERMEDIATE_LIFE_S = 365 * DAY_S
RENEW_INTERMEDIATE_S = 120 * DAY_S
"""An intermediate with less life than this is replaced, where the root key is there to do it."""


class Authority(msgspec.Struct, frozen=True):
    """What signs now. Replaced whole when the intermediate is renewed. ``roots`` is the bundle: one or more roots of one trust domain."""

    trust_domain: str
    issuer: Issuer
    roots: tuple[x509.Certificate, ...]

    @property
    def bundle(self) -> bytes:
        """The trust bundle, PEM."""
        return chain_pem(*self.roots)

    def sign_svid(self, key: LeafKey, identity: str, *, now: float, life_s: float) -> x509.Certificate:
        """An X.509-SVID for a SPIFFE ID of this trust domain."""
        assert identity.startswith(f"spiffe://{self.trust_domain}/"), identity
        return sign_leaf(self.issuer, key, identity, now=now, life_s=life_s)

    def sign_server(self, key: LeafKey, hosts: list[str], *, now: float, life_s: float) -> x509.Certificate:
        """The control plane's own server certificate."""
        return make_server(self.issuer, key, hosts, now=now, life_s=life_s)

    def chain(self, leaf: x509.Certificate) -> bytes:
        """What a peer sends: the leaf and the intermediate, PEM."""
        return chain_pem(leaf, self.issuer.certificate)


def create_or_open(folder: Path, trust_domain: str, *, now: float) -> Authority:
    """Opens the authority of a state folder, making what is missing; renews the intermediate when it is due. Raises StateError."""
    if not (folder / "root.pem").exists():
        _keep(folder, "root", make_root(trust_domain, now=now, life_s=ROOT_LIFE_S))
    certificate = folder / "intermediate.pem"
    if not certificate.exists() or (_is_due(_certificate(certificate), now) and (folder / "root.key").exists()):
        root = _issuer(folder, "root")
        _keep(folder, "intermediate", make_intermediate(root, trust_domain, now=now, life_s=INTERMEDIATE_LIFE_S))
    return open_authority(folder, trust_domain, now=now)


def open_authority(folder: Path, trust_domain: str, *, now: float) -> Authority:
    """Reads and vets an authority's folder: key fits certificate, the root signed it, both are in their time. Raises StateError."""
    issuer = _issuer(folder, "intermediate")
    root = _certificate(folder / "root.pem")
    for name, certificate in (("root.pem", root), ("intermediate.pem", issuer.certificate)):
        if not certificate.not_valid_before_utc.timestamp() <= now <= certificate.not_valid_after_utc.timestamp():
            raise StateError(f"{folder / name} is outside its time (until {certificate.not_valid_after_utc:%Y-%m-%d})")
    try:
        issuer.certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise StateError(f"{folder / 'intermediate.pem'} is not signed by {folder / 'root.pem'}") from None
    more = [_certificate(path) for path in sorted((folder / "trusted").glob("*.pem"))]
    return Authority(trust_domain=trust_domain, issuer=issuer, roots=tuple(dict.fromkeys([root, *more])))


def _is_due(certificate: x509.Certificate, now: float) -> bool:
    return certificate.not_valid_after_utc.timestamp() - now < RENEW_INTERMEDIATE_S


def _keep(folder: Path, name: str, issuer: Issuer) -> None:
    # The key first: a certificate without its key would be taken for a root whose key was moved away.
    keyfiles.write(folder / f"{name}.key", key_pem(issuer.key), mode=keyfiles.PRIVATE)
    keyfiles.write(folder / f"{name}.pem", chain_pem(issuer.certificate), mode=keyfiles.PUBLIC)


def _issuer(folder: Path, name: str) -> Issuer:
    certificate = _certificate(folder / f"{name}.pem")
    path = folder / f"{name}.key"
    try:
        key = serialization.load_pem_private_key(keyfiles.read_private(path), password=None)
    except (ValueError, TypeError):
        raise StateError(f"{path} is not an unencrypted private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StateError(f"{path} is not an elliptic-curve key; weft signs with ECDSA")
    if key.public_key() != certificate.public_key():
        raise StateError(f"{path} is not the key of {folder / name}.pem")
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not constraints.ca:
        raise StateError(f"{folder / name}.pem may not sign certificates (CA is false)")
    return Issuer(certificate, key)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(keyfiles.read(path))
    except ValueError:
        raise StateError(f"{path} is not a certificate in PEM") from None
