"""Holding resources to guardrails. What a rule gives no answer to counts as broken: a guard that cannot see does not wave through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, ResourceId, Span
from compiler.guardrail_codes import GUARDRAIL_BROKEN
from compiler.guardrails.expression import ExpressionError
from compiler.guardrails.guardrail import Guardrail, Rule, namespace_of
from compiler.guardrails.load import OBJECT, RESOURCES
from compiler.mistakes import Path, dotted, where
from compiler.node import Document, find
from compiler.resources.meta import kind_of

_NAME: Path = ("metadata", "name")
_MOST_FINDINGS = 100


class Guards:
    """All guardrails of a tree. Owns nothing that changes: the same document gives the same findings."""

    def __init__(self, guardrails: Iterable[Guardrail]) -> None:
        self._guardrails = tuple(guardrails)

    def check(self, document: Document) -> list[Diagnostic]:
        """What one schema-valid document breaks."""
        selecting = [item for item in self._guardrails if item.selector.takes(document)]
        found: list[Diagnostic] = []
        plain = _admitted(document) if selecting else None
        for item in selecting:
            if item.validator is not None and not item.validator.is_valid(plain):
                found += _against_schema(item, document, plain)
            found += (broken for rule in item.rules if (broken := _against_rule(item, rule, document, plain)))
        return found

    def check_mesh(self, documents: Iterable[Document]) -> list[Diagnostic]:
        """What the documents of a whole tree break together."""
        wanting = [item for item in self._guardrails if item.mesh]
        held = list(documents) if wanting else []
        found: list[Diagnostic] = []
        for item in wanting:
            selected = [document for document in held if item.selector.takes(document)]
            plain = [_admitted(document) for document in selected]
            for rule in item.mesh:
                found += _against_mesh_rule(item, rule, selected, plain)
        return found


def _against_schema(item: Guardrail, document: Document, plain: Any) -> Iterator[Diagnostic]:
    seen: set[Span] = set()
    for error in item.validator.iter_errors(plain):
        path = tuple(error.instance_path)
        span = where(document, path or _NAME)
        if span not in seen and len(seen) < _MOST_FINDINGS:
            seen.add(span)
            place = f"{dotted(path)}: " if path else ""
            yield _finding(item, f"{place}{item.message}", span, _id(document), item.span)


def _against_rule(item: Guardrail, rule: Rule, document: Document, plain: Any) -> Diagnostic | None:
    reason = ""
    try:
        if rule.expression.evaluate({OBJECT: plain}) is True:
            return None
    except ExpressionError as error:
        reason = f" (the rule gives no answer: {error})"
    message = f"{rule.message or item.message}{reason}"
    return _finding(item, message, _place(document, rule.at), _id(document), rule.span)


def _against_mesh_rule(item: Guardrail, rule: Rule, selected: list[Document], plain: list[Any]) -> Iterator[Diagnostic]:
    """True and an empty list are fine; the entries of a list are the resources that break the rule."""
    message = rule.message or item.message
    try:
        answer = rule.expression.evaluate({RESOURCES: plain})
    except ExpressionError as error:
        answer, message = False, f"{message} (the rule gives no answer: {error})"
    if answer is True or answer == []:
        return
    breaking = (
        [] if not isinstance(answer, list) else [doc for doc, one in zip(selected, plain, strict=True) if one in answer]
    )
    for document in breaking[:_MOST_FINDINGS]:
        yield _finding(item, message, _place(document, rule.at), _id(document), rule.span)
    if not breaking:
        yield _finding(item, message, rule.span, None, rule.span)


def _finding(item: Guardrail, message: str, span: Span, about: ResourceId | None, rule: Span) -> Diagnostic:
    return diagnostic(
        GUARDRAIL_BROKEN,
        f"{message} [{item.name}]",
        span,
        resource=about,
        related=() if span == rule else (Related(rule, f"guardrail {item.name}"),),
        help=item.help or None,
        severity=item.severity,
    )


def _admitted(document: Document) -> Any:
    """The resource as a cluster would hold it: its namespace is there, written or not."""
    plain: Any = document.plain()
    metadata, namespace = plain.get("metadata", {}), namespace_of(document)
    return {**plain, "metadata": {**metadata, "namespace": namespace} if namespace else metadata}


def _place(document: Document, at: Path) -> Span:
    """Where a field stands, or the nearest thing around it that is written; the resource's name where nothing is."""
    while at and find(document.root, at) is None:
        at = at[:-1]
    return where(document, at if len(at) > 1 else _NAME)


def _id(document: Document) -> ResourceId:
    return ResourceId(kind_of(document), namespace_of(document), document.name)
