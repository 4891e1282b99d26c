"""Values as JSON text for programs. A file's name need not be UTF-8; what of it is not is shown as U+FFFD."""

from __future__ import annotations

from typing import Any

import msgspec


def json_text(value: Any) -> str:
    """A value of mappings, lists, strings and numbers as indented JSON with a line break at its end."""
    try:
        raw = msgspec.json.encode(value)
    except UnicodeEncodeError:
        raw = msgspec.json.encode(_readable(value))
    return msgspec.json.format(raw, indent=2).decode() + "\n"


def readable(text: str) -> str:
    """A text without what stands for bytes that are no UTF-8 (surrogates)."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _readable(value: Any) -> Any:
    match value:
        case str():
            return readable(value)
        case dict():
            return {_readable(key): _readable(item) for key, item in value.items()}
        case list():
            return [_readable(item) for item in value]
    return value
