"""What the translation refuses."""

from __future__ import annotations

from policies.source import SourceRef


class TranslationError(Exception):
    """A part of a slice that Envoy cannot be told, or that this translation does not know yet; ``source`` is the resource it comes from."""

    def __init__(self, message: str, source: SourceRef | None = None) -> None:
        super().__init__(message)
        self.source = source


class UntranslatableError(Exception):
    """A slice that cannot be run by Envoy: every TranslationError that it has, each as one sentence with its place."""

    def __init__(self, problems: tuple[str, ...], source: SourceRef | None = None) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.source = source
