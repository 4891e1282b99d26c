"""How a wrong value is told to its author: the wording of each JSON Schema keyword, and what was probably meant."""

from __future__ import annotations

import difflib
import json
from typing import Any

_TYPES = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}
_LONGEST_SHOWN = 60


def nearest(word: str, known: list[str]) -> str:
    """The known word that this one was probably meant to be, or ""."""
    folded = {name.casefold().replace("_", "").replace("-", ""): name for name in known}
    same = folded.get(word.casefold().replace("_", "").replace("-", ""))
    if same:
        return same
    close = difflib.get_close_matches(word.casefold(), [name.casefold() for name in known], n=1, cutoff=0.6)
    return next((name for name in known if close and name.casefold() == close[0]), "")


def shown(value: object) -> str:
    """A value as a message quotes it, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + '...'}`"


def wording(keyword: str, limit: Any, value: Any) -> tuple[str, str]:
    """What is wrong with a value that breaks a keyword, and what to do ("" where that says it)."""
    match keyword:
        case "type":
            return _wrong_type(limit, value)
        case "enum":
            return _not_among(limit, value)
        case "const":
            return f"{shown(value)} is not {shown(limit)}", ""
        case "minimum" | "exclusiveMinimum":
            return f"{shown(value)} is less than {limit}", f"The least is {limit}."
        case "maximum" | "exclusiveMaximum":
            return f"{shown(value)} is more than {limit}", f"The most is {limit}."
        case "minLength" if value == "":
            return "the value is empty", "Give a value, or remove the field."
        case "minItems" | "minProperties" if not value:
            return "nothing is in it", "Add an entry, or remove the field."
        case "minLength" | "minItems" | "minProperties":
            return f"{len(value)} is too few; the least is {limit}", ""
        case "maxLength":
            return f"{len(value)} characters are too many; the most is {limit}", ""
        case "maxItems" | "maxProperties":
            return f"{len(value)} entries are too many; the most is {limit}", ""
        case "uniqueItems":
            return "the same value is in it twice", "Remove one of the two."
        case "pattern":
            return f"{shown(value)} does not match {limit}", ""
    return f"{shown(value)} is not allowed here ({keyword})", ""


def _wrong_type(expected: list[str], value: Any) -> tuple[str, str]:
    wanted = " or ".join(_TYPES[name] for name in expected)
    found = f"{_kind_of(value)} {shown(value)}" if not isinstance(value, dict | list) else _kind_of(value)
    advice = ""
    if "string" in expected and isinstance(value, bool):
        advice = (
            "Quote it: an unquoted yes, no, on, off, y or n is a boolean in Kubernetes YAML, as true and false are."
        )
    elif "string" in expected and isinstance(value, int | float):
        advice = f'Quote it: "{json.dumps(value)}".'
    elif isinstance(value, str) and _reads_as(expected, value):
        advice = f"Remove the quotes: {value}."
    elif "array" in expected and not isinstance(value, list):
        advice = "Write it as a list: put `- ` before it."
    return f"expected {wanted}, found {found}", advice


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "the boolean"
        case int() | float():
            return "the number"
        case str():
            return "the string"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _reads_as(expected: list[str], text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    if isinstance(value, bool):
        return "boolean" in expected
    return ("integer" in expected and isinstance(value, int)) or (
        "number" in expected and isinstance(value, int | float)
    )


def _not_among(options: list[Any], value: Any) -> tuple[str, str]:
    listed = ", ".join(str(option) for option in options)
    meant = nearest(value, [str(option) for option in options]) if isinstance(value, str) else ""
    if meant:
        return f"{shown(value)} is not a value of this field, did you mean `{meant}`?", f"Allowed: {listed}."
    return f"{shown(value)} is not one of {listed}", f"Allowed: {listed}."
