"""Names of credential slots. Most name a secret, ``namespace/secret``; some the files on the proxy's own machine that a resource names."""

from __future__ import annotations

import msgspec

_FILES = "file:"
_BETWEEN = "|"


class KeyFiles(msgspec.Struct, frozen=True):
    """Absolute paths, "" for what there is none of."""

    certificate: str = ""
    key: str = ""
    ca: str = ""
    crl: str = ""

    @property
    def slot(self) -> str:
        """The slot that these files fill, "" where there is none."""
        paths = (self.certificate, self.key, self.ca, self.crl)
        return _FILES + _BETWEEN.join(paths) if any(paths) else ""


def key_files(slot: str) -> KeyFiles | None:
    """The files of a slot, None where it names a secret."""
    if not slot.startswith(_FILES):
        return None
    return KeyFiles(*slot.removeprefix(_FILES).split(_BETWEEN)[:4])
