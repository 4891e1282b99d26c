"""The control plane's own TLS: a server certificate that its authority signs, renewed in place at half its life."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from runtime.control import keyfiles
from runtime.control.ca import DAY_S, Authority
from runtime.control.certificates import key_pem, new_key
from runtime.control.ledger import IssuedCertificate, Ledger

LIFE_S = 7 * DAY_S


class ServerCertificate:
    """Owns the listener's context. A renewal is loaded into the same context, so it holds from the next handshake on."""

    def __init__(self, folder: Path, hosts: Sequence[str], ledger: Ledger, *, clock: Callable[[], float]) -> None:
        self.expires_at = 0.0
        self._folder = folder
        self._hosts = list(dict.fromkeys(hosts))
        self._ledger = ledger
        self._clock = clock
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Joining and reading the store need no certificate; which pages do is said by the table of pages.
        self.context.verify_mode = ssl.CERT_OPTIONAL
        # A resumed session would skip the look at the client's certificate.
        self.context.options |= ssl.OP_NO_TICKET
        self.context.num_tickets = 0

    def renew(self, authority: Authority) -> bool:
        """Makes a new certificate where less than half of the life is left; trusts the authority's bundle. Blocks. True where it did."""
        self.context.load_verify_locations(cadata=authority.bundle.decode())
        now = self._clock()
        if self.expires_at - now > LIFE_S / 2:
            return False
        key = new_key()
        leaf = authority.sign_server(key.public_key(), self._hosts, now=now, life_s=LIFE_S)
        self.expires_at = leaf.not_valid_after_utc.timestamp()
        # Recorded before use: what the mesh may meet, the record knows.
        record = IssuedCertificate(f"{leaf.serial_number:x}", ",".join(self._hosts), "server", now, self.expires_at)
        self._ledger.record(record)
        certificate, private = self._folder / "server.pem", self._folder / "server.key"
        keyfiles.write(private, key_pem(key), mode=keyfiles.PRIVATE)
        keyfiles.write(certificate, authority.chain(leaf), mode=keyfiles.PUBLIC)
        self.context.load_cert_chain(certificate, private)
        return True


class Expiry(msgspec.Struct, frozen=True):
    """When one certificate of the control plane ends."""

    role: str
    at: float


def expiries(authority: Authority, server: ServerCertificate) -> list[Expiry]:
    """The ends of all certificates that the control plane itself needs."""
    roots = [
        Expiry("root" if number == 0 else f"root-{number}", root.not_valid_after_utc.timestamp())
        for number, root in enumerate(authority.roots)
    ]
    issuer = Expiry("intermediate", authority.issuer.certificate.not_valid_after_utc.timestamp())
    return [*roots, issuer, Expiry("server", server.expires_at)]
