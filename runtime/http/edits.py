"""Header edits, compiled once to bytes: what a request pays is one pass for what is removed or set, and an append."""

from __future__ import annotations

from functools import lru_cache

from policies.head import Headers
from policies.traffic import HeaderEdits

OWNED = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "keep-alive", "proxy-connection"}
)


class CompiledEdits:
    """One level of edits. Remove, then set (overwrite), then add (append), as Envoy applies them."""

    __slots__ = ("_added", "_gone")

    def __init__(self, edits: HeaderEdits) -> None:
        # Framing and routing belong to the codecs: an edit of these names could split or misroute a message.
        edits = _without_owned(edits)
        self._gone = frozenset([name.encode("latin-1") for name in (*edits.remove, *(name for name, _ in edits.set))])
        self._added = [(name.encode("latin-1"), value.encode()) for name, value in (*edits.set, *edits.add)]

    def apply(self, headers: Headers) -> Headers:
        """The headers after this level; a new list where anything was removed, else the same one, appended to."""
        gone = self._gone
        if gone:
            headers = [pair for pair in headers if pair[0] not in gone]
        headers.extend(self._added)
        return headers


def _without_owned(edits: HeaderEdits) -> HeaderEdits:
    return HeaderEdits(
        remove=tuple(name for name in edits.remove if name not in OWNED),
        set=tuple(pair for pair in edits.set if pair[0] not in OWNED),
        add=tuple(pair for pair in edits.add if pair[0] not in OWNED),
    )


@lru_cache(maxsize=4096)
def compiled(edits: HeaderEdits) -> CompiledEdits:
    """The compiled form; equal edits share one."""
    return CompiledEdits(edits)
