"""One file, looked at as far as it can be without the others: loaded, validated, held to guardrails.

This is what ``weft check --watch`` keeps between runs. The result follows from the path, the content and the guardrails alone, so
it is kept by their digests and never asked whether it is still right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from compiler.carried import not_carried
from compiler.diagnostic import Diagnostic
from compiler.documents import LoadedFile, load_file
from compiler.guardrails import Guards, Waiver, waivers_of
from compiler.node import Document
from compiler.resources.load import Read, read_document
from compiler.schemas import validate
from compiler.tree import Tree, digest_of


class ExaminedFile(NamedTuple):
    """What one file holds, what is wrong with its documents, which guardrails they break, and its waivers."""

    loaded: LoadedFile
    wrong: list[Diagnostic]
    broken: list[Diagnostic]
    waivers: list[Waiver]


def examine(file: str, content: bytes, guards: Guards) -> ExaminedFile:
    """Everything that one file shows by itself."""
    loaded = load_file(file, content)
    wrong: list[Diagnostic] = []
    broken: list[Diagnostic] = []
    for document in loaded.documents:
        mistakes = validate(document)
        wrong += mistakes or not_carried(document)
        broken += [] if mistakes else guards.check(document)
    return ExaminedFile(loaded, wrong, broken, waivers_of(file, content))


class Memory:
    """Owns the examined files of the last tree, by path and content, and the resources in them; what the next tree does not have is let go."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, bytes], ExaminedFile] = {}
        self._read: dict[Document, Read | None] = {}
        self._guardrails = ""

    def examine(
        self, tree: Tree, guards: Guards, *, examine: Callable[..., ExaminedFile] = examine
    ) -> list[ExaminedFile]:
        """The files of a tree, of which only those are looked at that are new or have changed."""
        guardrails = digest_of(tree.guardrails())
        before = self._held if guardrails == self._guardrails else {}
        now: dict[tuple[str, bytes], ExaminedFile] = {}
        for file, content in tree.files():
            key = file, hashlib.sha256(content).digest()
            now[key] = before.get(key) or examine(file, content, guards)
        self._held, self._guardrails = now, guardrails
        alive = (document for file in now.values() for document in file.loaded.documents)
        self._read = {document: self._read[document] for document in alive if document in self._read}
        return list(now.values())

    def read(self, document: Document) -> Read | None:
        """The resource of a document of the last tree, read once for as long as its file stays."""
        if document not in self._read:
            self._read[document] = read_document(document)
        return self._read[document]
