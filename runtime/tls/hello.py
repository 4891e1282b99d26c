"""The ClientHello, read before a certificate is chosen: which server name and which protocols a client asks for.

Every length is checked against what is there; a hello that lies about one is refused, never guessed at. The message may be spread over
several records (RFC 8446 section 5.1), as post-quantum key shares make it.
"""

from __future__ import annotations

import re

import msgspec

MAX_HELLO = 32_768
_HANDSHAKE = 0x16
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ALPN = 16
_HOST = re.compile(rb"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253})\Z")


class HelloError(Exception):
    """The first bytes are no ClientHello."""


class Hello(msgspec.Struct, frozen=True):
    """``server_name`` is lower-case without a trailing dot, "" where none was sent; ``alpn`` in the client's order."""

    server_name: str = ""
    alpn: tuple[str, ...] = ()


def looks_like_tls(data: bytes) -> bool:
    """True where a connection begins with a TLS handshake record."""
    return data[:1] == b"\x16"


def parse_hello(data: bytes) -> Hello | None:
    """The hello in the first bytes of a connection, or None while it is unfinished; raises HelloError."""
    message = _message(data)
    if message is None:
        return None
    at = 2 + 32  # version, random
    at = _skip(message, at, 1)  # session id
    at = _skip(message, at, 2)  # cipher suites
    at = _skip(message, at, 1)  # compression methods
    if at == len(message):
        return Hello()
    end = at + 2 + int.from_bytes(_slice(message, at, 2))
    if end != len(message):
        raise HelloError("the extensions do not end with the message")
    return _extensions(message, at + 2)


def _message(data: bytes) -> bytes | None:
    """The handshake message without its header, put together from its records."""
    if len(data) > MAX_HELLO:
        raise HelloError("the hello is too long")
    parts = bytearray()
    at = 0
    while len(data) - at >= 5:
        if data[at] != _HANDSHAKE or data[at + 1] != 3:
            raise HelloError("not a handshake record")
        size = int.from_bytes(data[at + 3 : at + 5])
        if not 0 < size <= 16_384:
            raise HelloError("a record's length is out of range")
        parts += data[at + 5 : at + 5 + size]
        if len(parts) >= 4:
            if parts[0] != _CLIENT_HELLO:
                raise HelloError("not a ClientHello")
            length = int.from_bytes(parts[1:4])
            if length > MAX_HELLO:
                raise HelloError("the hello is too long")
            if len(parts) >= 4 + length:
                return bytes(parts[4 : 4 + length])
        at += 5 + size
        if at > len(data):
            return None
    return None


def _extensions(message: bytes, at: int) -> Hello:
    name = ""
    alpn: tuple[str, ...] = ()
    while at < len(message):
        kind = int.from_bytes(_slice(message, at, 2))
        size = int.from_bytes(_slice(message, at + 2, 2))
        body = _slice(message, at + 4, size)
        if kind == _SERVER_NAME:
            name = _server_name(body)
        elif kind == _ALPN:
            alpn = _protocols(body)
        at += 4 + size
    return Hello(name, alpn)


def _server_name(body: bytes) -> str:
    """The one host_name of RFC 6066 section 3."""
    if len(body) < 5 or body[2] != 0 or int.from_bytes(body[3:5]) != len(body) - 5:
        raise HelloError("the server name extension is malformed")
    name = body[5:].removesuffix(b".")
    if _HOST.match(name) is None:
        raise HelloError("the server name is no host name")
    return name.decode("ascii").lower()


def _protocols(body: bytes) -> tuple[str, ...]:
    """The protocol names of RFC 7301 section 3.1."""
    if int.from_bytes(_slice(body, 0, 2)) != len(body) - 2:
        raise HelloError("the ALPN extension is malformed")
    names = []
    at = 2
    while at < len(body):
        size = body[at]
        names.append(_slice(body, at + 1, size).decode("latin-1"))
        at += 1 + size
    return tuple(names)


def _skip(message: bytes, at: int, width: int) -> int:
    return at + width + len(_slice(message, at + width, int.from_bytes(_slice(message, at, width))))


def _slice(message: bytes, at: int, size: int) -> bytes:
    part = message[at : at + size]
    if len(part) != size:
        raise HelloError("a length points past the end")
    return part
