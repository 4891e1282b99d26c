"""The expressions (RE2) by which readers of the pages choose names: one place that bounds them and says what is wrong with them."""

from __future__ import annotations

from typing import Protocol

import re2

MAX_CHARACTERS = 1024


class FilterError(Exception):
    """No expression, or too long a one; the message says which."""


class Expression(Protocol):
    """A compiled expression."""

    def search(self, text: str) -> object:
        """Something true where it finds anything in the text."""

    def fullmatch(self, text: str) -> object:
        """Something true where it fits the whole text."""


def expression(pattern: str) -> Expression:
    """A reader's expression; raises FilterError in Envoy's words."""
    if len(pattern) > MAX_CHARACTERS:
        raise FilterError(f"filter has more than {MAX_CHARACTERS} characters")
    try:
        compiled: Expression = re2.compile(pattern)
    except re2.error as error:
        raise FilterError(f"Invalid re2 regex: {error}") from None
    return compiled
