"""One file as everything else sees it: what it shows by itself, and outlines of its documents, which are opened when somebody asks.

Both follow from the path, the content and the guardrails alone. Where errors stand in a file, its outlines are those of the stand-ins that
take the place of what is broken (compiler/stand_ins.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import msgspec

from compiler.diagnostic import Diagnostic, Severity, Span
from compiler.documents import Skipped
from compiler.examined import ExaminedFile
from compiler.guardrails import Waiver
from compiler.node import Document
from compiler.outline import Outline, outline
from compiler.resources.load import Read, read_document
from compiler.stand_ins import StandIns, stand_ins


class FileOutline(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a file without opening its documents.

    ``stands`` is false where an error has no stand-in, and nothing can be made of the tree; ``replaced`` are the places of stand-ins.
    ``closed`` are the namespaces of which something cannot be read at all.
    """

    documents: tuple[Outline, ...]
    found: tuple[Diagnostic, ...]
    broken: tuple[Diagnostic, ...]
    waivers: tuple[Waiver, ...]
    skipped: tuple[tuple[str, str, tuple[Span, ...]], ...]
    stands: bool = True
    replaced: tuple[Span, ...] = ()
    closed: tuple[str, ...] = ()

    @property
    def skipped_spans(self) -> Skipped:
        """The objects of kinds that weft does not read, by apiVersion and kind."""
        return {(version, kind): spans for version, kind, spans in self.skipped}


class HeldFile:
    """A file of a tree, named by its ``key``: a digest of all that it follows from. Owns what was opened of it."""

    def __init__(self, key: bytes, outline: FileOutline, load: Callable[[], ExaminedFile]) -> None:
        self.key = key
        self.outline = outline
        self._load = load
        self._read: dict[int, Read | None] = {}

    @classmethod
    def examined(cls, key: bytes, examined: ExaminedFile, closing: frozenset[str] = frozenset()) -> HeldFile:
        """A file that was examined just now; in the namespaces that are ``closing`` everything fails."""
        standing = _standing(examined, closing)
        documents = standing.documents if standing is not None else []
        failing = standing.failing if standing is not None else frozenset()
        reads = [read_document(document, fails=document in failing) for document in documents]
        outlines = (
            outline(document, number, read, fails=document in failing)
            for number, (document, read) in enumerate(zip(documents, reads, strict=True))
        )
        loaded = examined.loaded
        held = cls(
            key,
            FileOutline(
                documents=tuple(outlines),
                found=(*loaded.found, *examined.wrong),
                broken=tuple(examined.broken),
                waivers=tuple(examined.waivers),
                skipped=tuple((version, kind, tuple(spans)) for (version, kind), spans in loaded.skipped.items()),
                stands=standing is not None,
                replaced=standing.places if standing is not None else (),
                closed=tuple(sorted(standing.closed)) if standing is not None else (),
            ),
            lambda: examined,
        )
        held._read = dict(enumerate(reads))
        held.__dict__["_opened"] = documents
        return held

    def closing(self, namespaces: frozenset[str]) -> HeldFile:
        """The file with everything failing that it holds of some namespaces."""
        concerned = namespaces.intersection(
            (*self.outline.closed, *(item.namespace for item in self.outline.documents))
        )
        if not concerned:
            return self
        return HeldFile.examined(self.key + "/".join(("", *sorted(concerned))).encode(), self._load(), namespaces)

    @cached_property
    def _opened(self) -> list[Document]:
        standing = _standing(self._load(), frozenset())
        assert standing is not None, "the outline says so, and nobody opens a file of which nothing can be made"
        return standing.documents

    def document(self, number: int) -> Document:
        """One of its documents, or the stand-in for it."""
        return self._opened[number]

    def read(self, number: int) -> Read | None:
        """What is read of a document; None for kinds that are no resource."""
        if number not in self._read:
            self._read[number] = read_document(self._opened[number], fails=self.outline.documents[number].fails)
        return self._read[number]


def _standing(examined: ExaminedFile, closing: frozenset[str]) -> StandIns | None:
    loaded = examined.loaded
    errors = [item for item in (*loaded.found, *examined.wrong) if item.severity is Severity.ERROR]
    return stand_ins(loaded.documents, errors, loaded.unread, closing=closing)
