"""One row of the catalog of codes."""

from __future__ import annotations

import msgspec

from compiler.diagnostic import Severity


class Code(msgspec.Struct, frozen=True):
    """One row: the code, its name in words, its usual severity, what it means, and the next action where a message has no better one."""

    code: str
    name: str
    severity: Severity
    summary: str
    help: str

    @property
    def url(self) -> str:
        """Where the code is explained, relative to the top of the project."""
        return f"docs/reference/codes.md#{self.code.lower()}"
