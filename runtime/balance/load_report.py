"""What an endpoint says of its load with a reply: ORCA's load report, in the header (or trailer) ``endpoint-load-metrics`` or ``...-bin``.

The header holds ``TEXT name=value,...``, ``JSON {...}`` or ``BIN`` and the message in base64, which is all that the other holds. A report that cannot
be read is none: whoever balances by it does without. Of the message the numbers and the maps to numbers are read, by their field numbers
(xds.data.orca.v3.OrcaLoadReport).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Iterator, Mapping

TEXT, BINARY = b"endpoint-load-metrics", b"endpoint-load-metrics-bin"
MOST_BYTES = 8_192
"""A longer report is none."""
_NUMBERS = {1: "cpu_utilization", 2: "mem_utilization", 6: "rps_fractional", 7: "eps", 9: "application_utilization"}
_MAPS = {4: "request_cost", 5: "utilization", 8: "named_metrics"}
_VARINT, _DOUBLE, _BYTES = 0, 1, 2

LoadReport = dict[str, float]
"""Numbers by name; those of a map are ``map.name``."""


def read_report(fields: Mapping[bytes, bytes]) -> LoadReport | None:
    """The report among a reply's fields (names in lower case), None where there is none that can be read."""
    try:
        found = _read(fields)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, IndexError):
        return None
    if found is None or not all(math.isfinite(value) for value in found.values()):
        return None
    return found


def _read(fields: Mapping[bytes, bytes]) -> LoadReport | None:
    binary = fields.get(BINARY)
    if binary is not None:
        return _message(binary)
    written = fields.get(TEXT)
    if written is None or len(written) > MOST_BYTES:
        return None
    form, _, rest = written.partition(b" ")
    match form:
        case b"TEXT":
            return _text(rest.decode("ascii"))
        case b"JSON":
            return _json(rest)
        case b"BIN":
            return _message(rest)
        case _:
            return None


def _text(written: str) -> LoadReport:
    found: LoadReport = {}
    for part in written.split(","):
        name, _, value = part.strip().replace(":", "=", 1).partition("=")
        if name in found:
            raise ValueError(name)
        found[name.strip()] = float(value)
    return found


def _json(written: bytes) -> LoadReport:
    found: LoadReport = {}
    for name, value in json.loads(written).items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": float(number) for key, number in value.items()}
        else:
            found[name] = float(value)
    return found


def _message(encoded: bytes) -> LoadReport:
    if len(encoded) > MOST_BYTES:
        raise ValueError("too long")
    try:
        raw = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    found: LoadReport = {}
    for number, value in _fields(raw):
        if number in _NUMBERS and isinstance(value, float):
            found[_NUMBERS[number]] = value
        elif number in _MAPS and isinstance(value, bytes):
            entry = dict(_fields(value))
            name, amount = entry.get(1, b""), entry.get(2, 0.0)
            if isinstance(name, bytes) and isinstance(amount, float):
                found[f"{_MAPS[number]}.{name.decode()}"] = amount
    return found


def _fields(raw: bytes) -> Iterator[tuple[int, float | bytes | int]]:
    """A message's fields: those with a number of eight bytes, those with bytes, and varints."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        number, kind = key >> 3, key & 7
        if kind == _DOUBLE:
            yield number, struct.unpack_from("<d", raw, at)[0]
            at += 8
        elif kind == _BYTES:
            size, at = _varint(raw, at)
            if at + size > len(raw):
                raise ValueError("cut off")
            yield number, raw[at : at + size]
            at += size
        elif kind == _VARINT:
            value, at = _varint(raw, at)
            yield number, value
        else:
            raise ValueError(f"a field of kind {kind}")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
