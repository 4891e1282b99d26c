"""Which hosts and addresses a key set may be fetched from: what a RequestAuthentication says must not become a way into the network.

Without a list any host may be asked that has public addresses alone. With one only the hosts in it, and they may be private.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"https": 443, "http": 80}


class AddressRefusedError(Exception):
    """A URL, a host or an address from which nothing may be fetched; the message says why."""


def read_url(text: str) -> tuple[SplitResult, str, int]:
    """A URL with its host and port; raises AddressRefusedError for one that is not http or https, or that names a user."""
    try:
        url = urlsplit(text)
        port = url.port or _PORTS.get(url.scheme, 0)
    except ValueError as error:
        raise AddressRefusedError(f"{text!r} is not a URL: {error}") from None
    if url.scheme not in _PORTS or not url.hostname or not text.isascii() or not text.isprintable() or " " in text:
        raise AddressRefusedError(f"{text!r} is not a URL with http or https and a host")
    if url.username is not None or url.password is not None:
        raise AddressRefusedError(f"the URL of {url.hostname} names a user")
    return url, url.hostname, port


def require_host(host: str, hosts: tuple[str, ...]) -> None:
    """Raises AddressRefusedError where there is a list of hosts (``*.suffix`` for any below) and this one is not in it."""
    if hosts and not any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in hosts):
        raise AddressRefusedError(f"{host} is not among the bootstrap's jwks_hosts")


def require_addresses(host: str, addresses: Iterable[str], hosts: tuple[str, ...]) -> list[str]:
    """The addresses of a host; raises AddressRefusedError where there is none, or, without a list of hosts, one that is not public."""
    found = list(addresses)
    if not found:
        raise AddressRefusedError(f"{host} has no address")
    private = [] if hosts else [one for one in found if not is_public(one)]
    if private:
        raise AddressRefusedError(
            f"{host} is {private[0]}, which is not public: list the host in the bootstrap's jwks_hosts"
        )
    return found


def is_public(address: str) -> bool:
    """Whether an IP address is everybody's to call, as it is written and as what it stands for (mapped, 6to4, NAT64)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast
