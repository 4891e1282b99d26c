"""What is wrong with a TOML file that its reader typed, in words of the file: msgspec's message says the same in words of a library."""

from __future__ import annotations

import difflib
import re

import msgspec

_PLACE = re.compile(r" - at `\$\.?(?P<path>.*)`\Z")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.+)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>.+)`")
_EXPECTED = re.compile(r"Expected `(?P<wanted>.+)`, got `(?P<given>.+)`")
_TYPES = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}


def sentence(error: Exception, keys: frozenset[str] = frozenset()) -> str:
    """Why the file does not read: the key, where it stands, and which of ``keys`` was probably meant."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return f"it is not TOML: {text}"
    place = _PLACE.search(text)
    path = place["path"] if place else ""
    said = text[: place.start()] if place else text
    within = f" in {path}" if path else ""
    if found := _UNKNOWN.fullmatch(said):
        near = difflib.get_close_matches(found["key"], keys, n=1)
        return f"there is no key `{found['key']}`{within}" + (f", did you mean `{near[0]}`?" if near else "")
    if found := _MISSING.fullmatch(said):
        return f"the key `{found['key']}`{within} is missing"
    if found := _EXPECTED.fullmatch(said):
        wanted = " or ".join(_TYPES.get(one.strip(), one.strip()) for one in found["wanted"].split("|"))
        return f"`{path}` must be {wanted} and is {_TYPES.get(found['given'], found['given'])}"
    return f"{said}{within}"


def keys_of(*structs: type[msgspec.Struct]) -> frozenset[str]:
    """All keys that these structs read."""
    return frozenset(key for struct in structs for key in struct.__struct_encode_fields__)
