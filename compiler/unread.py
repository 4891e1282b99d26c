"""What can be told of a document that cannot be read: its kind, and the namespace that its loss concerns.

A text that is no YAML still has lines, and configuration is written in a few habitual ways. Where ``kind`` and ``metadata`` stand as they
usually do, away from the mistake, they are believed; anything less certain is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from compiler.diagnostic import Diagnostic, Span
from compiler.kinds import group_of, is_known, meant_by
from compiler.resources.meta import CLUSTER_SCOPED, DEFAULT_NAMESPACE

_START = re.compile(r"---(?:[ \t\r]|$)")
_FIELD = re.compile(r"(apiVersion|kind):[ \t]*[\"']?([A-Za-z0-9./-]+)[\"']?[ \t]*(?:#.*)?$")
_INNER = re.compile(r"[ \t]+(name|namespace):[ \t]*[\"']?([a-z0-9.-]+)[\"']?[ \t]*(?:#.*)?$")
_FLOW = re.compile(r"metadata:[ \t]*\{([^{}]*)\}[ \t]*(?:#.*)?$")
_PAIR = re.compile(r"[ \t]*(name|namespace):[ \t]*[\"']?([a-z0-9.-]+)[\"']?[ \t]*$")


class Unread(msgspec.Struct, frozen=True, array_like=True):
    """A part of a file that is no document, and the errors' place in it. ``namespace`` is what its loss concerns: "" for nobody whom weft
    serves, None where that cannot be told."""

    span: Span
    namespace: str | None


def concerned(api_version: str, kind: str, namespace: str, name: str) -> str | None:
    """The namespace that a resource which cannot be used concerns, as ``Unread`` has it."""
    group = group_of(api_version)
    known = kind if is_known(group, kind) else getattr(meant_by(group, kind), "name", "") if kind else ""
    if kind and not known:
        return ""
    if known == "Namespace":
        return name or None
    if not known or known in CLUSTER_SCOPED or (known == "ConfigMap" and name in ("istio", "")):
        return None
    return namespace or DEFAULT_NAMESPACE


def broken_part(lines: Sequence[str], fault: Diagnostic) -> Unread:
    """The document of a text, given by its lines, in which the parser stopped."""
    began = fault.related[0].span if fault.related else fault.span
    at = min(began.line - 1, len(lines) - 1)
    if at >= 0 and began.column <= 3 and _START.match(lines[at]) and not fault.related:
        at -= 1  # What is wrong was noticed where the next document starts.
    first = next((line for line in range(at, -1, -1) if _START.match(lines[line])), -1) + 1
    last = next((line for line in range(max(at + 1, first), len(lines)) if _START.match(lines[line])), len(lines))
    wrong = {began.line - 1, fault.span.line - 1}
    return Unread(fault.span, _head(lines[first:last], {line - first for line in wrong}))


def _head(lines: Sequence[str], wrong: set[int]) -> str | None:
    """The namespace that a document's own lines name, where none of these lines is wrong."""
    fields: dict[str, str] = {}
    metadata: dict[str, str] | None = None
    for number, line in enumerate(lines):
        found = _FIELD.match(line)
        if found and number not in wrong:
            fields.setdefault(found.group(1), found.group(2))
        elif line.startswith("metadata:"):
            if metadata is not None:
                return None
            metadata = _metadata(lines, number, wrong)
            if metadata is None:
                return None
    if "kind" not in fields:
        return None
    if metadata is None:
        return concerned(fields.get("apiVersion", ""), fields["kind"], "", "") or None
    return concerned(
        fields.get("apiVersion", ""), fields["kind"], metadata.get("namespace", ""), metadata.get("name", "")
    )


def _metadata(lines: Sequence[str], number: int, wrong: set[int]) -> dict[str, str] | None:
    """Name and namespace; None where the mistake stands there, or they are written in a way that is not understood."""
    if number in wrong:
        return None
    flow = _FLOW.match(lines[number])
    if flow:
        pairs = [_PAIR.match(part) for part in flow.group(1).split(",")]
        found = {pair.group(1): pair.group(2) for pair in pairs if pair}
        return found if "namespace" in found or "namespace" not in flow.group(1) else None
    if lines[number].split("#")[0].strip() != "metadata:":
        return None
    found = {}
    for line in range(number + 1, len(lines)):
        if lines[line][:1] not in ("", " ", "\t", "#"):
            break
        if line in wrong:
            return None
        inner = _INNER.match(lines[line])
        if inner:
            found.setdefault(inner.group(1), inner.group(2))
        elif lines[line].lstrip().startswith(("namespace", "name:")):
            return None
    return found if "name" in found else None
