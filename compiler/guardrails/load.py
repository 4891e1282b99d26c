"""The folder ``guardrails`` of a tree -> guardrails, each checked as strictly as what they guard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, ResourceId, Severity
from compiler.documents import read_file
from compiler.guardrail_codes import GUARDRAIL_INVALID
from compiler.guardrails.expression import Expression, ExpressionError
from compiler.guardrails.guardrail import Guardrail, Rule, Selector
from compiler.mistakes import Path as FieldPath
from compiler.mistakes import describe, where
from compiler.node import Document, Mapping, Scalar, find
from compiler.tree import Tree

API_VERSION, KIND = "weft/v1", "Guardrail"
OBJECT, RESOURCES = "object", "resources"
"""What expressions can read: the resource; all selected resources."""


def load_guardrails(tree: Tree) -> tuple[list[Guardrail], list[Diagnostic]]:
    """The guardrails of a tree, and what is wrong with them. One that is wrong guards nothing, so each finding of these is an error."""
    guardrails: list[Guardrail] = []
    found: list[Diagnostic] = []
    for file, content in tree.guardrails():
        _, yaml_file = read_file(file, content)
        found += yaml_file.diagnostics
        for root in yaml_file.roots:
            if isinstance(root, Scalar) and root.value is None:
                continue
            if not isinstance(root, Mapping):
                found.append(diagnostic(GUARDRAIL_INVALID, f"this is no {KIND}", root.span))
                continue
            document = _document(file, root)
            wrong = list(_wrong(document))
            found += wrong
            if not wrong:
                guardrails.append(_guardrail(document))
    return guardrails, found


def _document(file: str, root: Mapping) -> Document:
    name = find(root, ("metadata", "name"))
    called = str(name.value) if isinstance(name, Scalar) else ""
    return Document(file=file, api_version=API_VERSION, kind=KIND, namespace="", name=called, root=root)


def _wrong(document: Document) -> Iterator[Diagnostic]:
    schema, validator = _schema()
    plain: Any = document.plain()
    if not validator.is_valid(plain):
        yield from describe(document, schema, validator.iter_errors(plain))
        return
    spec = plain["spec"]
    if "schema" in spec:
        try:
            _fragment(spec["schema"])
        except (ValueError, jsonschema_rs.ValidationError) as error:
            yield _invalid(
                document, ("spec", "schema"), f"the schema cannot be used: {str(error).partition(chr(10))[0]}"
            )
    for part, variable in (("rules", OBJECT), ("mesh", RESOURCES)):
        for index, rule in enumerate(spec.get(part, ())):
            reason = _expression_problem(rule["cel"], variable)
            if reason:
                yield _invalid(document, ("spec", part, index, "cel"), reason)


def _expression_problem(text: str, variable: str) -> str:
    try:
        unknown = Expression(text).unknown_names(frozenset({variable}))
    except ExpressionError as error:
        return str(error)
    return f"`{unknown[0]}` is not defined here; the expression reads `{variable}`" if unknown else ""


def _invalid(document: Document, path: FieldPath, reason: str) -> Diagnostic:
    about = ResourceId(kind=KIND, namespace="", name=document.name)
    return diagnostic(GUARDRAIL_INVALID, f"guardrail {document.name}: {reason}", where(document, path), resource=about)


def _guardrail(document: Document) -> Guardrail:
    plain: Any = document.plain()
    spec = plain["spec"]
    selector = spec.get("selector", {})
    return Guardrail(
        name=document.name,
        selector=Selector(
            kinds=frozenset(selector.get("kinds", ())),
            namespaces=tuple(selector.get("namespaces", ())),
            labels=tuple(sorted(selector.get("labels", {}).items())),
        ),
        severity=Severity[spec.get("severity", "error").upper()],
        message=spec["message"].rstrip("."),
        help=spec.get("help", ""),
        span=where(document, ("metadata", "name")),
        validator=_fragment(spec["schema"]) if "schema" in spec else None,
        rules=_rules(document, spec, "rules"),
        mesh=_rules(document, spec, "mesh"),
    )


def _rules(document: Document, spec: dict[str, Any], part: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            expression=Expression(rule["cel"]),
            at=tuple(rule["at"].split(".")) if rule.get("at") else (),
            message=rule.get("message", "").rstrip("."),
            span=where(document, ("spec", part, index, "cel")),
        )
        for index, rule in enumerate(spec.get(part, ()))
    )


def _fragment(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    # A schema that somebody commits must not make a check fetch what it names, nor hang on a pattern.
    return jsonschema_rs.Draft202012Validator(
        schema, offline=True, pattern_options=jsonschema_rs.RegexOptions(), validate_formats=True
    )


@cache
def _schema() -> tuple[dict[str, Any], jsonschema_rs.Draft202012Validator]:
    schema = json.loads(Path(__file__).with_name("guardrail.json").read_text("utf-8"))
    return schema, jsonschema_rs.Draft202012Validator(schema)
