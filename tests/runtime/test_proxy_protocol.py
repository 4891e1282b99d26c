"""Headers of the PROXY protocol: what is read, what is refused, and that what is written is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.proxy_protocol import MAX_V1, SIGNATURE, Ends, ProxyProtocolError, read, write

FOUR = Ends("192.0.2.1", 56324, "198.51.100.2", 443)
SIX = Ends("2001:db8::1", 1, "2001:db8::2", 65535)
V2_FOUR = SIGNATURE + b"\x21\x11\x00\x0c" + bytes((192, 0, 2, 1, 198, 51, 100, 2)) + b"\xdc\x04\x01\xbb"


@pytest.mark.parametrize(
    ("wire", "ends"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", FOUR),
        (b"PROXY TCP6 2001:db8::1 2001:0db8::2 1 65535\r\n", SIX),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n", None),
        (V2_FOUR, FOUR),
        (SIGNATURE + b"\x20\x00\x00\x00", None),
        (SIGNATURE + b"\x20\x11\x00\x0c" + V2_FOUR[16:], None),
        (SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216), None),
        (SIGNATURE + b"\x21\x11\x00\x0f" + V2_FOUR[16:] + b"\x04\x00\x00", FOUR),
    ],
)
def test_a_header_is_read_and_what_follows_is_left(wire: bytes, ends: Ends | None) -> None:
    assert read(wire + b"GET /") == (ends, len(wire))
    for cut in range(len(wire)):
        assert read(wire[:cut]) is None


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY UNKNOWN\n\r\n",
        b"PROXY " + b"1" * MAX_V1,
        SIGNATURE + b"\x31\x11\x00\x0c" + V2_FOUR[16:],
        SIGNATURE + b"\x22\x11\x00\x0c" + V2_FOUR[16:],
        SIGNATURE + b"\x21\x11\x00\x0b" + V2_FOUR[16:],
        SIGNATURE + b"\x21\x11\xff\xff" + V2_FOUR[16:],
        b"\r\n\r\n\x00\r\nQUIT\r",
    ],
)
def test_what_is_no_header_is_refused(wire: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        read(wire)


port = st.integers(0, 65535)
ends = st.one_of(
    *(
        st.builds(Ends, st.ip_addresses(v=family).map(str), port, st.ip_addresses(v=family).map(str), port)
        for family in (4, 6)
    )
)


@given(st.sampled_from(["v1", "v2"]), ends, st.binary(max_size=20))
def test_what_is_written_is_read_back(version: str, said: Ends, rest: bytes) -> None:
    header = write(version, said)
    assert read(header + rest) == (said, len(header))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_ends_of_two_families_are_not_named(version: str) -> None:
    header = write(version, Ends("192.0.2.1", 1, "2001:db8::1", 2))
    assert read(header) == (None, len(header))


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(wire: bytes) -> None:
    try:
        found = read(wire)
    except ProxyProtocolError:
        return
    assert found is None or found[1] <= len(wire)
