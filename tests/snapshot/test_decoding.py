"""Decoders that many threads meet for the first time at one moment."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from snapshot.decoding import json_decoder, packed_decoder

MEETING = """
from __future__ import annotations
import sys, threading
import msgspec
from snapshot.decoding import json_decoder, packed_decoder

sys.setswitchinterval(1e-6)
for _ in range(10):
    class Leaf(msgspec.Struct, array_like=True):
        name: str
        size: int
    class One(msgspec.Struct):
        leaves: tuple[Leaf, ...]
    class Other(msgspec.Struct):
        leaves: tuple[Leaf, ...]
    made = One((Leaf("a", 1),))
    packed, text = msgspec.msgpack.encode(made), msgspec.json.encode(made)
    meet = threading.Barrier(20)
    def decode(number):
        shape = One if number % 2 else Other
        meet.wait()
        found = json_decoder(shape).decode(text) if number % 4 < 2 else packed_decoder(shape).decode(packed)
        assert found.leaves == made.leaves
    threads = [threading.Thread(target=decode, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


class Strict(msgspec.Struct):
    """A struct with a number."""

    number: int


def test_types_that_threads_meet_at_once_do_not_crash_the_process() -> None:
    # In a process of its own: what this guards against is no exception, but a signal.
    ended = subprocess.run([sys.executable, "-c", MEETING], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("decoder", "raw"), [(packed_decoder, b"\x81\xa6number\xa11"), (json_decoder, b'{"number":"1"}')]
)
def test_a_value_of_another_type_is_not_converted(decoder: object, raw: bytes) -> None:
    assert callable(decoder)
    with pytest.raises(msgspec.ValidationError):
        decoder(Strict).decode(raw)


def test_a_type_has_one_decoder() -> None:
    assert packed_decoder(Strict) is packed_decoder(Strict)
    assert json_decoder(Strict) is json_decoder(Strict)
