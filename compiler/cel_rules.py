"""Rules between the fields of one object that JSON Schema cannot say: CEL expressions beside the schema, under ``x-weft-rules``.

    "x-weft-rules": [{"rule": "!has(self.a) || self.b > 0", "message": "what is wrong", "at": "b"}]

``self`` is the value that the part of the schema describes. ``at`` is the field to point at, with dots to lead inwards; the value itself
where it is left out. The CEL library costs a tenth of a second to import, so it is imported when the first rule is needed; its inner
module is, because xds-protos (the extra ``envoy``) puts an empty package of the same name over the outer one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, ResourceId
from compiler.mistakes import Path, dotted, where
from compiler.node import Document, find

if TYPE_CHECKING:
    from cel import cel  # A tenth of a second that most runs need not spend.


def check_cel_rules(
    document: Document, rules: list[dict[str, str]], value: Any, path: Path, *, shape_is_right: bool
) -> list[Diagnostic]:
    """What a plain value at ``path`` gets wrong of its rules.

    A rule that cannot be decided counts as broken, unless the document has the wrong shape, which its schema then explains.
    """
    verdicts = [(rule, holds(rule["rule"], value)) for rule in rules]
    return [
        _broken(document, rule, path)
        for rule, verdict in verdicts
        if verdict is False or (verdict is None and shape_is_right)
    ]


def holds(expression: str, value: Any) -> bool | None:
    """Whether an expression is true of ``self``; None where the value allows no answer (it lacks a field that is read unasked)."""
    program = _program(expression)
    try:
        return program.execute({"self": value}) is True
    except (KeyError, TypeError, ValueError, RuntimeError):
        return None


def compiles(expression: str) -> bool:
    """Whether a text is an expression in CEL, whatever its variables are."""
    try:
        _program(expression)
    except (ValueError, RuntimeError):
        return False
    return True


@cache
def _program(expression: str) -> cel.Program:
    """An expression compiled once; raises ValueError where it is no CEL, which is a mistake in the schema."""
    from cel import cel  # A tenth of a second that most runs need not spend.

    return cel.compile(expression)


def _broken(document: Document, rule: dict[str, str], path: Path) -> Diagnostic:
    at = (*path, *rule["at"].split(".")) if "at" in rule else path
    while len(at) > len(path) and find(document.root, at) is None:
        at = at[:-1]
    return diagnostic(
        "IST0106",
        f"{dotted(path)}: {rule['message']}",
        where(document, at),
        resource=ResourceId(kind=document.kind, namespace=document.namespace, name=document.name),
    )
