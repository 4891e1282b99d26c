"""Plain scalars, resolved as Kubernetes resolves them.

kubectl and the API server turn YAML into JSON with YAML 1.1's table: ``y``, ``yes`` and ``on`` are booleans, ``010`` is eight, ``0x1f`` and
``1_000`` are integers, and sexagesimal numbers and timestamps are strings. Every other reading would accept a file that
the cluster refuses, or the reverse. Numbers go through JSON, so ``1.0`` and ``1e2`` are the integers 1 and 100.
"""

from __future__ import annotations

import math
import re

Value = None | bool | int | float | str

_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_NUMBER_START = frozenset("+-.0123456789")
# Most scalars are strings, which their first character tells.
_NO_STRING_START = frozenset({word[:1] for word in _WORDS} | _NUMBER_START)
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))\Z")
_FLOAT = re.compile(r"[+-]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][+-]?[0-9]+)?\Z")
_LARGEST_DECIMAL = {"": 2**64 - 1, "+": 2**63 - 1, "-": 2**63}
_EXACT_FLOAT = 2**53


class UnresolvableError(ValueError):
    """A scalar that its tag does not allow, or that JSON cannot hold; the message says which."""


def is_string(text: str) -> bool:
    """Whether the first character alone tells that an unquoted scalar is a string. False says nothing."""
    return text[:1] not in _NO_STRING_START


def resolve_plain(text: str) -> Value:
    """The value of an unquoted scalar without a tag; raises UnresolvableError for what JSON cannot hold (``.nan``, ``.inf``)."""
    if is_string(text):
        return text
    if text in _WORDS:
        value = _WORDS[text]
        if isinstance(value, float):
            raise UnresolvableError(f"`{text}` is not a finite number, which JSON cannot hold")
        return value
    return _number(text) if text[0] in _NUMBER_START else text


def resolve_tagged(tag: str, text: str) -> Value:
    """The value of a scalar with an explicit core tag (``!!int`` as ``tag:yaml.org,2002:int``); raises UnresolvableError."""
    if tag in ("!", "tag:yaml.org,2002:str"):
        return text
    value = resolve_plain(text)
    match tag.removeprefix("tag:yaml.org,2002:"):
        case "timestamp" if isinstance(value, str):
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "int" | "float" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "float" if isinstance(value, float):
            return value
        case "null" if value is None:
            return value
        case "bool" | "int" | "float" | "null" | "timestamp" as name:
            raise UnresolvableError(f"`{text}` is not a value of the tag !!{name}")
    raise UnresolvableError(f"the tag {tag} has no meaning in Kubernetes YAML")


def key_text(value: Value) -> str:
    """How a mapping's key reads in JSON, where every key is a string; raises UnresolvableError for null."""
    if isinstance(value, str):
        return value
    if value is None:
        raise UnresolvableError("a key may not be null")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _number(text: str) -> Value:
    digits = text.replace("_", "") if text[0] != "." else text
    integer = _INTEGER.match(digits)
    if integer:
        sign, hexadecimal, binary, octal, decimal = integer.groups()
        value = _integer(hexadecimal, binary, octal, decimal)
        # A decimal beyond 64 bits is a float, as in Go; other bases keep their digits.
        if decimal is None or value <= _LARGEST_DECIMAL[sign]:
            return -value if sign == "-" else value
    if _FLOAT.match(digits):
        number = float(digits)
        if math.isinf(number):
            return text
        return int(number) if number.is_integer() and abs(number) <= _EXACT_FLOAT else number
    return text


def _integer(hexadecimal: str | None, binary: str | None, octal: str | None, decimal: str | None) -> int:
    if hexadecimal is not None:
        return int(hexadecimal, 16)
    if binary is not None:
        return int(binary, 2)
    if octal is not None:
        return int(octal, 8)
    assert decimal is not None
    # int() refuses thousands of digits; over 20 is beyond 64 bits whatever they are.
    return 10**20 if len(decimal) > 20 else int(decimal)
