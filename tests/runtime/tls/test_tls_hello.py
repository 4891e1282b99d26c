"""The ClientHello parser: what OpenSSL writes is read, and what lies about a length is refused."""

from __future__ import annotations

import ssl

import pytest

from runtime.tls.hello import Hello, HelloError, looks_like_tls, parse_hello


def hello(name: str | None = "shop.example", alpn: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("alpn", [(), ("istio",), ("h2", "http/1.1")])
@pytest.mark.parametrize("name", [None, "shop.example", "outbound_.9080_._.reviews.shop.svc.cluster.local"])
def test_what_openssl_writes_is_read(name: str | None, alpn: tuple[str, ...]) -> None:
    data = hello(name, alpn)
    assert looks_like_tls(data)
    assert parse_hello(data) == Hello(name or "", alpn)


def test_a_hello_may_come_byte_by_byte() -> None:
    data = hello()
    assert [parse_hello(data[:size]) for size in range(len(data))] == [None] * len(data)


def test_a_hello_may_be_spread_over_records() -> None:
    message = hello()[5:]
    records = b"".join(
        b"\x16\x03\x01" + len(part).to_bytes(2) + part
        for part in (message[at : at + 50] for at in range(0, len(message), 50))
    )
    assert parse_hello(records) == Hello("shop.example", ("h2", "http/1.1"))


def test_no_changed_byte_crashes_it() -> None:
    data = bytearray(hello())
    for at in range(len(data)):
        for value in (0, 1, 127, 255):
            changed = bytes(data[:at]) + bytes([value]) + bytes(data[at + 1 :])
            try:
                parse_hello(changed)
            except HelloError:
                continue


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x02\x01\x00\x05hello",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00",
    ],
)
def test_what_is_no_hello_is_refused(data: bytes) -> None:
    with pytest.raises(HelloError):
        parse_hello(data)


def test_a_name_that_is_no_host_name_is_refused() -> None:
    data = hello().replace(b"shop.example", b"shop\x00example")
    with pytest.raises(HelloError):
        parse_hello(data)
