"""From where a key set may be fetched."""

from __future__ import annotations

import pytest

from runtime.issuers.addresses import AddressRefusedError, is_public, read_url, require_addresses, require_host

PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_everybodys_to_call_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is_everybodys_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.test/",
        "https://",
        "https:///x",
        "file:///etc/passwd",
        "https://u:p@a.test/",
        "https://a.test:x/",
        "https://a b/",
    ],
)
def test_a_url_is_http_with_a_host_and_no_user(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        read_url(url)


def test_one_private_address_among_public_ones_refuses_a_host() -> None:
    with pytest.raises(AddressRefusedError, match=r"10\.0\.0\.1"):
        require_addresses("a.test", ["8.8.8.8", "10.0.0.1"], ())
    assert require_addresses("a.test", ["10.0.0.1"], ("a.test",)) == ["10.0.0.1"]


def test_a_list_of_hosts_admits_those_alone() -> None:
    for host in ("a.test", "x.b.test"):
        require_host(host, ("a.test", "*.b.test"))
    for host in ("b.test", "xb.test", "a.test.evil"):
        with pytest.raises(AddressRefusedError):
            require_host(host, ("a.test", "*.b.test"))
    require_host("any.test", ())
