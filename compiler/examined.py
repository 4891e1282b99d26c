"""One file, looked at as far as it can be without the others: loaded, validated, held to guardrails.

The result follows from the path, the content and the guardrails alone, so
it is kept by their digests and never asked whether it is still right (compiler/memory.py).
"""

from __future__ import annotations

from typing import NamedTuple

from compiler.carried import not_carried
from compiler.diagnostic import Diagnostic
from compiler.documents import LoadedFile, load_file
from compiler.guardrails import Guards, Waiver, waivers_of
from compiler.schemas import validate


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
