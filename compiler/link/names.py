"""Names: what a sidecar's DNS server answers by itself, and the addresses that stand for hosts without one.

A host is answered for where an address of it is known to lead through the proxy to the host's clusters. Everything else is for the resolvers
of the machine to answer: what is not in Git (the cluster IP that Kubernetes chose, an external name without an entry) they know better.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from zlib import crc32

import msgspec

from compiler.hosts import is_visible
from compiler.link.allocation import allocate
from compiler.link.view import View
from compiler.mesh import Mesh, MeshService
from compiler.resources.kubernetes import Service, Workload
from compiler.resources.mesh_config import CLUSTER_DOMAIN
from compiler.resources.proxy_config import UNSAID, ProxySettings
from snapshot.section import Name, NameTable

GROUP = "WorkloadGroup"
NAMES_PER_TABLE = 128
_NO_DESTINATION = ("NONE", "DYNAMIC_DNS")
"""Resolutions that need the address that the application asked for."""


class Naming(msgspec.Struct, frozen=True):
    """How one sidecar answers DNS: ``entries`` and ``services`` say whether ServiceEntries, and Services, without an address have one for it."""

    entries: bool
    services: bool


def naming(mesh: Mesh, workload: Workload) -> Naming | None:
    """What the mesh and a workload ask for; None where its proxy leaves DNS alone, as without a word.

    Where addresses are allocated, machines outside of Kubernetes get them for Services too, whose cluster IPs Git seldom knows and which
    their resolvers have never heard of. A pod's resolvers know them.
    """
    settings = _settings(mesh, workload)
    if not settings.captures_dns:
        return None
    allocates = settings.allocates is not False
    return Naming(allocates, allocates and workload.meta.id.kind == GROUP)


def _settings(mesh: Mesh, workload: Workload) -> ProxySettings:
    """What holds for a workload: its own ProxyConfig before its annotation, then its namespace's and the mesh's ProxyConfig, then MeshConfig
    (Istio); of equally near ProxyConfigs the oldest."""
    home, root = workload.meta.namespace, mesh.config.root_namespace
    found = UNSAID
    for namespace, selects in ((home, True), (home, False), (root, False)):
        for rule in mesh.proxy_rules:
            fits = (rule.selector is not None) == selects and set(rule.selector or ()) <= set(workload.labels)
            if rule.meta.namespace == namespace and fits:
                found = found.over(rule.settings)
        if selects:
            found = found.over(workload.settings)
    return found.over(mesh.config.proxies)


class ServiceAddresses:
    """The addresses of services as the proxies of a namespace with one Naming have them. Owns those that it allocated."""

    def __init__(self, mesh: Mesh, namespace: str, naming: Naming | None) -> None:
        self._naming = naming
        self._allocated = allocate(self._without(mesh, namespace)) if naming is not None else {}

    def of(self, service: MeshService) -> tuple[str, ...]:
        """The addresses at which clients find a service: IP addresses and blocks; none where it has none."""
        origin = service.origin
        if origin.addresses or self._naming is None:
            return tuple(_canonical(one) if ":" in one else one for one in origin.addresses)
        return _noted(service) or self._allocated.get(_key(service), ())

    def _without(self, mesh: Mesh, namespace: str) -> Iterator[str]:
        for service in mesh.services:
            if self._needs(service) and is_visible(service.origin.export_to, service.namespace, namespace):
                yield _key(service)

    def _needs(self, service: MeshService) -> bool:
        origin = service.origin
        assert self._naming is not None
        if origin.addresses or service.host.startswith("*"):
            return False
        if isinstance(origin, Service):
            found = not (origin.headless or origin.external_name or origin.datagram_ports or origin.fails)
            return self._naming.services and found
        return (
            self._naming.entries
            and origin.allocates
            and origin.resolution not in _NO_DESTINATION
            and not _noted(service)
        )


def _noted(service: MeshService) -> tuple[str, ...]:
    """The addresses that a ServiceEntry's status says were allocated to a host by somebody else."""
    origin = service.origin
    if isinstance(origin, Service):
        return ()
    return tuple(address for host, address in origin.allocated if host in ("", service.host))


def _key(service: MeshService) -> str:
    return f"{service.namespace}/{service.host}"


def name_tables(views: Sequence[View], addresses: ServiceAddresses) -> list[NameTable]:
    """The names of all hosts that some of the views know, by the namespace that declares them; the first view that knows a host decides."""
    tables: dict[str, dict[str, Name]] = {}
    seen: set[str] = set()
    for view in views:
        for host, service in view.known_services.items():
            declared = view.mesh.service(host, view.namespace) if host != service.host else service
            if declared is None or host in seen:
                continue
            seen.add(host)
            found = _name(view, host, declared, service, addresses)
            if found is not None:
                tables.setdefault(declared.namespace, {})[host] = found
    return [part for home, table in sorted(tables.items()) for part in _parts(home, table)]


def _parts(home: str, table: dict[str, Name]) -> Iterator[NameTable]:
    """A namespace's names in tables of about NAMES_PER_TABLE. Which one a host is in follows from its name and, by powers of two, from how many
    there are, so that a change of one host is seldom a change of two tables."""
    count = 1
    while count * NAMES_PER_TABLE < len(table):
        count *= 2
    parts: dict[int, list[Name]] = {}
    for host in sorted(table):
        parts.setdefault(crc32(host.encode()) % count, []).append(table[host])
    for number, names in sorted(parts.items()):
        yield NameTable(f"{home}/{number}", tuple(names))


def _name(
    view: View, host: str, declared: MeshService, service: MeshService, addresses: ServiceAddresses
) -> Name | None:
    names, source = _called(host, declared, view.namespace), declared.meta.source
    if isinstance(declared.origin, Service) and declared.origin.external_name:
        return Name(names, source, alias=declared.origin.external_name.lower().rstrip("."))
    known = _ip_addresses(addresses.of(service))
    if known:
        return Name(names, source, known)
    if _has_endpoints(service) and service.ports:
        cluster = view.cluster(service, service.ports[0])
        return Name(names, source, cluster=cluster.name) if cluster is not None else None
    return None


def _has_endpoints(service: MeshService) -> bool:
    """Whether clients call the workloads themselves."""
    origin = service.origin
    if isinstance(origin, Service):
        return origin.headless
    return origin.resolution == "NONE" and bool(origin.selector) and not origin.addresses


def _canonical(written: str) -> str:
    """An IPv6 address or block as the kernel tells it, by which connections are found."""
    address, slash, length = written.partition("/")
    return f"{ip_address(address)}{slash}{length}"


def _ip_addresses(written: Iterable[str]) -> tuple[str, ...]:
    """Addresses without blocks, of which no single one is meant; IPv4 first."""
    found = [ip_address(one) for one in written if "/" not in one]
    return tuple(str(one) for one in sorted(found, key=lambda one: one.version))


def _called(host: str, declared: MeshService, namespace: str) -> tuple[str, ...]:
    """All names of a host. Short ones are of Kubernetes' Services alone, and one without a namespace only in their own."""
    suffix = f".svc.{CLUSTER_DOMAIN}"
    if not isinstance(declared.origin, Service) or not host.endswith(suffix):
        return (host,)
    stem = host.removesuffix(suffix)
    own = (declared.name.lower(),) if declared.namespace == namespace else ()
    return (host, f"{stem}.svc", stem, *own)
