"""CEL expressions of guardrails. The library costs a tenth of a second to import, so it is imported when the first guardrail needs it."""

from __future__ import annotations

import re
from typing import Any

_MACRO_VARIABLE = re.compile(r"\b(?:all|exists|exists_one|filter|map)\(\s*([A-Za-z_]\w*)\s*,")
_FAULT = re.compile(r"ERROR: <input>:\d+:\d+: ([^\n]*)")
_TYPES = frozenset(
    {"bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "string", "timestamp", "uint"}
)


class ExpressionError(Exception):
    """An expression that is no CEL, or that a value gives no answer to; the message says why."""


class Expression:
    """One compiled expression; raises ExpressionError for what is no CEL."""

    def __init__(self, text: str) -> None:
        from cel import cel  # Late: most repositories' checks need no CEL.

        self.text = text
        try:
            self._program = cel.compile(text)
        except ValueError as error:
            # The parser repeats the expression, says where and what is wrong, then draws it.
            fault = _FAULT.search(str(error))
            raise ExpressionError(f"the expression is no CEL: {fault[1] if fault else error}") from None

    def unknown_names(self, known: frozenset[str]) -> list[str]:
        """What the expression calls a variable and nobody defines; names that its macros bind are known too."""
        bound = set(_MACRO_VARIABLE.findall(self.text))
        return sorted(set(self._program.variables()) - known - bound - _TYPES)

    def evaluate(self, variables: dict[str, Any]) -> Any:
        """The value; raises ExpressionError where there is none (a field that is absent, a type that does not fit)."""
        try:
            return self._program.execute(variables)
        except KeyError as error:
            raise ExpressionError(f"there is no field {error}; ask with has() first") from None
        except (IndexError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
            raise ExpressionError(str(error).partition("\n")[0]) from None
