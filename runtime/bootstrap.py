"""What one proxy is told before it knows anything else: where its store is, whom to trust, who it is, and this machine's addresses.

The file is TOML. Everything here is live data of one machine; nothing of it is ever in a snapshot. Relative paths count from the
bootstrap file's folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from policies.balancing import labelled_locality
from runtime.dns.resolv_conf import addresses
from runtime.toml_file import keys_of, sentence
from snapshot.index import Selector
from snapshot.section import (
    AddressPort,
    Bind,
    GatewayPort,
    ProxyPort,
    ServicePort,
    UndeclaredPort,
    UnixSocket,
    WorkloadPort,
)

_PATHS = (
    "root",
    "state",
    "control_ca",
    "join_token",
    "credentials",
    "admin_socket",
    "admin_token",
    "resolv_conf",
    "jwks_ca",
)


class BootstrapError(Exception):
    """The bootstrap file is missing or wrong; the message names the file, the field and the next step."""


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The proxy's own ports on ``Bootstrap.address`` (Istio's numbers); 0 takes any free port, -1 opens none."""

    admin: int = 15000
    outbound: int = 15001
    metrics: int = 15090
    merged_metrics: int = 15020
    readiness: int = 15021
    inbound: int = 15006
    dns: int = 15053


class Bootstrap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One proxy's bootstrap.

    ``address`` is the workload's (or gateway's) address in the mesh, on which the proxy accepts; ``application`` is the address where
    the application behind a sidecar listens. ``port_map`` maps a slice's listener port (as text; ``53/udp`` is one for datagrams
    alone) to the port really bound, and ``application_ports`` a target port to the application's real one.
    ``services`` gives ``host:port`` of a mesh service an
    ``address:port`` to listen on (listener per service), and moves a listener that a Sidecar binds to ``address:port``. ``control`` is the
    control plane's URL ("" for none), trusted by ``control_ca`` (PEM file); ``join_token`` is a file. ``credentials`` is a directory of
    ``<namespace>/<secret>/{tls.crt,tls.key,ca.crt}``. ``state`` keeps the last verified slice and the SVID. ``stamp`` adds an x-weft-
    snapshot entry to every reply. ``poll_s`` bounds how old a remote store's news may be. ``locality`` is where this machine stands,
    ``region/zone/subzone``, by which near endpoints are preferred. ``engine`` is what serves: ``trio`` (our own data plane) or ``envoy``.
    ``admin_socket`` is a Unix socket on which the admin pages are served, too, and ``admin_token`` a file: who comes over the one or
    bears the other may take the proxy out of service. With ``interception`` ``redirect`` (``tproxy``: incoming ones by the kernel's transparent
    proxying, and the application sees the clients' addresses) connections come by the kernel's redirection to the
    ports inbound and outbound, and a slice's own listeners are bound nowhere. Where the slice has the proxy answer DNS, it asks the servers of
    ``resolv_conf`` for what the mesh does not know, or instead of them ``resolvers`` (``address`` or ``address:port``).
    ``jwks_hosts`` are the hosts (``*.suffix`` for any below) from which the keys of token issuers may be fetched, also at private addresses;
    without any every host with public addresses may. ``jwks_ca`` is their CA (PEM file) where it is not one of the system's.
    """

    selector: Selector
    store: str
    root: str
    state: str
    address: str = "127.0.0.1"
    application: str = "127.0.0.1"
    port_map: dict[str, int] = {}
    application_ports: dict[str, int] = {}
    services: dict[str, str] = {}
    ports: Ports = Ports()
    control: str = ""
    control_ca: str = ""
    join_token: str = ""
    credentials: str = ""
    workers: int = 1
    poll_s: float = 0.5
    channel: str = "stable"
    stamp: bool = False
    locality: str = ""
    engine: Literal["trio", "envoy"] = "trio"
    admin_socket: str = ""
    admin_token: str = ""
    interception: Literal["none", "redirect", "tproxy"] = "none"
    resolv_conf: str = "/etc/resolv.conf"
    resolvers: tuple[str, ...] = ()
    jwks_hosts: tuple[str, ...] = ()
    jwks_ca: str = ""

    @property
    def standpoint(self) -> str:
        """The locality of this workload: where its labels say it stands, else where its machine does (Istio)."""
        return labelled_locality(dict(self.selector.labels)) or self.locality

    def resolve(self, bind: Bind) -> tuple[str, int] | None:
        """The address (or Unix socket) and port to bind for a slice's listener, or None where this machine gives it none."""
        match bind:
            case WorkloadPort() if self.interception != "none":
                return None
            case ProxyPort() if self.interception != "none":
                return "127.0.0.1", self.ports.outbound
            case GatewayPort(port, datagrams=True) if f"{port}/udp" in self.port_map:
                return self.address, self.port_map[f"{port}/udp"]
            case GatewayPort(port, address=address) if address:
                return address, self.port_map.get(str(port), port)
            case WorkloadPort(port) | GatewayPort(port):
                return self.address, self.port_map.get(str(port), port)
            case ProxyPort():
                return None if self.ports.outbound < 0 else (self.address, self.ports.outbound)
            case ServicePort(host, port):
                given = self.services.get(f"{host}:{port}")
                return _split(given) if given else None
            case AddressPort(address, port):
                where = address or self.application
                given = self.services.get(f"{where}:{port}")
                return _split(given) if given else (where, port)
            case UnixSocket(path):
                return path, 0
            case UndeclaredPort():
                return None


def load(path: Path) -> Bootstrap:
    """Reads a bootstrap file, its relative paths made absolute; raises BootstrapError."""
    try:
        bootstrap = msgspec.toml.decode(path.read_bytes(), type=Bootstrap)
    except OSError as error:
        raise BootstrapError(
            f"cannot read the bootstrap file {path}: {error.strerror}; `weft init` writes examples in proxies/"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BootstrapError(f"{path}: {sentence(error, keys_of(Bootstrap, Selector, Ports))}") from None
    try:
        addresses(bootstrap.resolvers)
    except ValueError as error:
        raise BootstrapError(f"{path}: resolvers: {error}; write ADDRESS or ADDRESS:PORT") from None
    here = path.parent.resolve()
    changes: dict[str, str] = {
        name: os.path.normpath(here / value) for name in _PATHS if (value := getattr(bootstrap, name))
    }
    if "://" not in bootstrap.store:
        changes["store"] = str(here / bootstrap.store)
    return msgspec.structs.replace(bootstrap, **changes)


def _split(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
