"""The PROXY protocol, versions 1 and 2: who a connection is really from, said by the hop before in the first bytes (haproxy, doc/proxy-protocol.txt).

The header must be there where it is asked for, is read whole or not at all, and is never guessed at: whoever may write it says
what address policies see.
"""

from __future__ import annotations

import ipaddress
import re
import struct

import msgspec

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1, V2 = "v1", "v2"
MAX_V1 = 107
MAX_V2 = 4096
"""What a header with its TLVs may take; the longest that load balancers send is some hundred bytes."""

_V1_START = b"PROXY "
_V1_LINE = re.compile(rb"PROXY (?:UNKNOWN[^\r\n]*|(TCP[46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (\d{1,5}) (\d{1,5}))\r\n")
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESS_BYTES = {_TCP4: (4, 12), _TCP6: (16, 36)}


class ProxyProtocolError(Exception):
    """The first bytes are no PROXY header."""


class Ends(msgspec.Struct, frozen=True):
    """The two ends of the original connection."""

    source_ip: str
    source_port: int
    destination_ip: str
    destination_port: int


def read(data: bytes) -> tuple[Ends | None, int] | None:
    """The ends that a header names and how many bytes it took, or None while it is unfinished; raises ProxyProtocolError.

    No ends stand for a connection of the hop's own (LOCAL, UNKNOWN), or over something without addresses of ours.
    """
    if data.startswith(SIGNATURE[: len(data)]):
        return _read_v2(data)
    if data.startswith(_V1_START[: len(data)]):
        return _read_v1(data)
    raise ProxyProtocolError("no PROXY header")


def _read_v1(data: bytes) -> tuple[Ends | None, int] | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise ProxyProtocolError("a header of version 1 that does not end")
        return None
    line = _V1_LINE.fullmatch(data, 0, end + 2)
    if line is None:
        raise ProxyProtocolError("a malformed header of version 1")
    if line[1] is None:
        return None, end + 2
    version = 4 if line[1] == b"TCP4" else 6
    source, destination = (_address(text.decode(), version) for text in (line[2], line[3]))
    ports = int(line[4]), int(line[5])
    if max(ports) > 0xFFFF:
        raise ProxyProtocolError("a port beyond 65535")
    return Ends(source, ports[0], destination, ports[1]), end + 2


def _address(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ProxyProtocolError("a malformed address") from None
    if address.version != version:
        raise ProxyProtocolError("an address of the other family")
    return str(address)


def _read_v2(data: bytes) -> tuple[Ends | None, int] | None:
    if len(data) < 16:
        return None
    command, family = data[12], data[13]
    length = int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise ProxyProtocolError("an unknown version or command")
    if length > MAX_V2:
        raise ProxyProtocolError("a header that is too long")
    if len(data) < 16 + length:
        return None
    shape = _ADDRESS_BYTES.get(family)
    if command == _LOCAL or shape is None:
        return None, 16 + length
    size, least = shape
    if length < least:
        raise ProxyProtocolError("a header shorter than its addresses")
    source, destination = (str(ipaddress.ip_address(data[start : start + size])) for start in (16, 16 + size))
    source_port, destination_port = struct.unpack_from(">HH", data, 16 + 2 * size)
    return Ends(source, source_port, destination, destination_port), 16 + length


def write(version: str, ends: Ends) -> bytes:
    """The header of a version for a connection between two ends; ends of two families are said to be unknown."""
    addresses = [ipaddress.ip_address(text) for text in (ends.source_ip, ends.destination_ip)]
    same = addresses[0].version == addresses[1].version
    if version == V1:
        if not same:
            return b"PROXY UNKNOWN\r\n"
        kind = f"TCP{addresses[0].version}"
        return f"PROXY {kind} {addresses[0]} {addresses[1]} {ends.source_port} {ends.destination_port}\r\n".encode(
            "ascii"
        )
    if not same:
        return SIGNATURE + bytes((_LOCAL, 0, 0, 0))
    family = _TCP4 if addresses[0].version == 4 else _TCP6
    body = addresses[0].packed + addresses[1].packed + struct.pack(">HH", ends.source_port, ends.destination_port)
    return SIGNATURE + struct.pack(">BBH", _PROXY, family, len(body)) + body
