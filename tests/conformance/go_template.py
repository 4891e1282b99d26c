"""The part of Go's text/template that Istio's cases are written in: values, ``default``, ``replace``, ``quote``, ``index``, ``if`` and ``range``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_ACTION = re.compile(r"(\s*\{\{-|\{\{)\s*(.*?)\s*(-\}\}\s*|\}\})", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\(|\)|\||[^\s()|]+')


def evaluate(template: str, values: dict[str, Any]) -> str:
    """The text of a template; a value that is missing is empty."""
    parts = list(_parts(template))
    text, rest = _block(parts, 0, {f".{name}": value for name, value in values.items()})
    assert rest == len(parts), "an end without its beginning"
    return text


def _parts(template: str) -> Iterator[tuple[str, str]]:
    """Texts and actions in turn; a dash at an action's end eats the white space there."""
    place = 0
    for found in _ACTION.finditer(template):
        yield "text", template[place : found.start()]
        yield "action", found[2]
        place = found.end()
    yield "text", template[place:]


def _block(parts: list[tuple[str, str]], place: int, scope: dict[str, Any]) -> tuple[str, int]:
    """The text up to the end that closes this block, and the place of that end."""
    out: list[str] = []
    while place < len(parts):
        kind, text = parts[place]
        if kind == "text":
            out.append(text)
        elif text == "end":
            return "".join(out), place
        elif text.startswith("if "):
            if _value(text[3:], scope):
                out.append(_block(parts, place + 1, scope)[0])
            place = _end(parts, place)
        elif text.startswith("range "):
            names, _, source = text[6:].rpartition(":=")
            items = _value(source, scope) or []
            out += [_block(parts, place + 1, scope | _named(names, at, item))[0] for at, item in enumerate(items)]
            place = _end(parts, place)
        elif ":=" in text:
            name, _, source = text.partition(":=")
            scope[name.strip()] = _value(source, scope)
        else:
            found = _value(text, scope)
            out.append("" if found is None else str(found))
        place += 1
    return "".join(out), place


def _end(parts: list[tuple[str, str]], place: int) -> int:
    """The place of the end that belongs to the block that begins at ``place``."""
    depth = 0
    for at in range(place, len(parts)):
        kind, text = parts[at]
        if kind == "action":
            depth += text.startswith(("if ", "range ")) - (text == "end")
            if not depth:
                return at
    raise ValueError("a block without its end")


def _named(names: str, index: int, item: Any) -> dict[str, Any]:
    """What a range calls its index and its item."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    found: dict[str, Any] = {".": item}
    if isinstance(item, dict):
        found |= {f"{wanted[-1] if wanted else ''}.{key}": value for key, value in item.items()}
    return found | dict(zip(wanted, [index, item] if len(wanted) == 2 else [item], strict=False))


def _value(text: str, scope: dict[str, Any]) -> Any:
    stages = list(_split(_WORD.findall(text)))
    value = _called(stages[0], scope)
    for function, *arguments in stages[1:]:
        given = [_called([argument], scope) for argument in arguments]
        match function:
            case "default":
                value = value or given[0]
            case "replace":
                value = str(value).replace(given[0], given[1])
            case "quote":
                value = f'"{value}"'
            case "indent":
                value = "\n".join(" " * int(given[0]) + line for line in str(value).splitlines())
            case _:
                raise ValueError(f"no function {function}")
    return value


def _split(words: list[str]) -> Iterator[list[str]]:
    stage: list[str] = []
    for word in words:
        if word == "|":
            yield stage
            stage = []
        else:
            stage.append(word)
    yield stage


def _called(words: list[str], scope: dict[str, Any]) -> Any:
    """A literal, a name, ``index X N`` or ``(index X N).Path``."""
    words = [word for word in words if word not in "()"]
    if words[0] == "index":
        value = _called([words[1]], scope)[_called([words[2]], scope)]
        for name in "".join(words[3:]).strip(".").split(".") if words[3:] else ():
            value = value[name]
        return value
    word = words[0]
    if word.startswith('"'):
        return word[1:-1]
    return int(word) if word.isdigit() else scope.get(word)
