"""The SVID on disk: ``svid.pem`` (key, then chain; readable by the owner alone) and ``bundle.pem``, each replaced whole."""

from __future__ import annotations

import os
from pathlib import Path

from policies.spiffe import SpiffeError
from runtime.identity.certificate import read_svid
from snapshot.live import Svid

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class SavedIdentity:
    """The identity files of one state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "svid.pem"
        self.bundle = folder / "bundle.pem"

    def load(self, *, now: float) -> Svid | None:
        """The saved SVID, or None where there is none that is whole, an SVID, and valid at ``now``."""
        try:
            key, mark, chain = self.certificate.read_bytes().partition(_CERTIFICATE)
            svid = read_svid(mark + chain, key, self.bundle.read_bytes())
        except (OSError, SpiffeError):
            return None
        return svid if svid.issued_at <= now < svid.expires_at else None

    def save(self, svid: Svid) -> None:
        """Replaces both files; raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self.bundle, svid.bundle, mode=0o644)
        write_whole(self.certificate, svid.private_key + svid.certificate_chain, mode=0o600)


def write_whole(path: Path, data: bytes, *, mode: int) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees the old bytes or the new ones. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
