"""Which addresses the proxy's own pages have on this machine."""

from __future__ import annotations

import ipaddress

import msgspec

from runtime.bootstrap import Bootstrap
from runtime.supervisor.sockets import free_port


def with_real_ports(bootstrap: Bootstrap) -> Bootstrap:
    """The bootstrap with an outbound port of 0 replaced by a free one, so that every worker binds the same."""
    if bootstrap.ports.outbound != 0:
        return bootstrap
    ports = msgspec.structs.replace(bootstrap.ports, outbound=free_port(bootstrap.address))
    return msgspec.structs.replace(bootstrap, ports=ports)


def admin_host(bootstrap: Bootstrap) -> str:
    """Where the admin pages listen: loopback whatever the proxy's address is, because they show the whole configuration."""
    if ipaddress.ip_address(bootstrap.address).is_loopback:
        return bootstrap.address
    return "127.0.0.1"
