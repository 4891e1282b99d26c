"""Decoders by type, each made once and one at a time.

msgspec (0.22) works out what it must know of a struct when it first decodes one, leaves it at the class, and lets other threads see it there before
it is complete: two threads that meet a type for the first time at one moment, or two types that have a struct in common, crash the whole process.
So whatever may run in a thread decodes by these. Afterwards decoders may be used by any number of threads.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_making = threading.Lock()
_packed: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_json: dict[Any, msgspec.json.Decoder[Any]] = {}


def packed_decoder(shape: type[T]) -> msgspec.msgpack.Decoder[T]:
    """The decoder of MessagePack for a type of the program's own; it is held for good, so types made on the fly do not belong here."""
    found = _packed.get(shape)
    if found is None:
        with _making:
            found = _packed[shape] = msgspec.msgpack.Decoder(shape, strict=True)
    return found


def json_decoder(shape: type[T]) -> msgspec.json.Decoder[T]:
    """As ``packed_decoder``, for JSON."""
    found = _json.get(shape)
    if found is None:
        with _making:
            found = _json[shape] = msgspec.json.Decoder(shape, strict=True)
    return found
