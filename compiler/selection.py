"""Which findings a reader wants to see. It changes what is shown and what ``weft check`` exits with, never what compiles."""

from __future__ import annotations

import msgspec

from compiler.catalog import CATALOG
from compiler.diagnostic import Diagnostic, Severity


class UnknownCodeError(ValueError):
    """A code, or the beginning of one, that the catalog does not have; the message names it."""


class Selection(msgspec.Struct, frozen=True):
    """Codes by their beginnings (``IST``, ``WFT01``, ``IST0101``) and the lightest severity. The longest beginning that fits decides
    between ``select`` and ``ignore``; equal ones ignore. An empty ``select`` is every code.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: Severity = Severity.NOTE

    def takes(self, item: Diagnostic) -> bool:
        """Whether a finding is to be shown."""
        if item.severity < self.severity:
            return False
        wanted = _longest(self.select, item.code) if self.select else 0
        return wanted > _longest(self.ignore, item.code)


def beginnings(text: str) -> tuple[str, ...]:
    """The codes of a comma-separated list, in capitals; raises UnknownCodeError for one that no code of the catalog begins with."""
    found = tuple(part.strip().upper() for part in text.split(",") if part.strip())
    for beginning in found:
        if not any(row.code.startswith(beginning) for row in CATALOG):
            raise UnknownCodeError(f"no code begins with {beginning}; docs/reference/codes.md lists them")
    return found


def _longest(among: tuple[str, ...], code: str) -> int:
    """How much of a code the best beginning fits; -1 where none does."""
    return max((len(one) for one in among if code.startswith(one)), default=-1)
