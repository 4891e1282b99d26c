"""The virtual hosts behind Istio Gateway servers: hosts that servers and bound VirtualServices have in common."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.hosts import overlap
from compiler.link.draft import virtual_host_sections
from compiler.link.limits import limits_on, with_limits
from compiler.link.view import View
from compiler.link.virtual_services import Standpoint, binds, hosts_of, http_routes, is_catch_all
from compiler.resources.cursor import Labels
from compiler.resources.gateway import Gateway, Server
from compiler.resources.virtual_service import VirtualService
from policies.match import RouteMatch
from policies.traffic import DirectResponse, Redirect
from snapshot.section import Route, RouteTable, Section, VirtualHost

Bound = tuple[VirtualService, Gateway]


def bound_services(view: View, gateway: Gateway) -> list[VirtualService]:
    """The visible VirtualServices that name a Gateway, in order."""
    name = f"{gateway.meta.namespace}/{gateway.meta.name}"
    return [service for service in view.virtual_services if binds(service, name)]


def common_hosts(gateway: Gateway, server: Server, service: VirtualService) -> list[str]:
    """The hosts of a VirtualService that a server serves; a server's host may be kept for one namespace's routes."""
    owner = service.meta.namespace
    offered = [
        host.host
        for host in server.hosts
        if host.namespace in ("*", owner) or (host.namespace == "." and owner == gateway.meta.namespace)
    ]
    shared = (overlap(host, wanted) for wanted, _ in hosts_of(service) for host in offered)
    return list(dict.fromkeys(host for host in shared if host is not None))


class HostTable:
    """One route table of a gateway. Owns its virtual hosts while servers are added; VirtualServices of one host are merged."""

    def __init__(self, view: View, labels: Labels, name: str, port: int) -> None:
        self.view = view
        self.labels = labels
        self.name = name
        self.port = port
        self._bound: dict[str, list[Bound]] = {}
        self._redirects: dict[str, Server] = {}
        self._failing: dict[str, Server] = {}

    def serve(self, gateway: Gateway, server: Server, *, redirect: bool) -> None:
        """Adds a server's hosts; ``redirect`` answers them with a redirect to https, whether or not routes are bound."""
        if gateway.fails:
            self._failing.update({host.host: server for host in server.hosts})
            return
        if redirect:
            self._redirects.update({host.host: server for host in server.hosts})
        for service in bound_services(self.view, gateway):
            if not service.http:
                continue
            for host in common_hosts(gateway, server, service):
                if redirect:
                    self._redirects.setdefault(host, server)
                bound = self._bound.setdefault(host, [])
                if all(known is not service for known, _ in bound):
                    bound.append((service, gateway))

    def sections(self) -> list[Section]:
        """The table with its virtual hosts."""
        sections: list[Section] = [RouteTable(self.name, self.view.mesh.source)]
        for host in sorted({*self._bound, *self._redirects, *self._failing}):
            server = self._failing.get(host) or self._redirects.get(host)
            if server is not None:
                routes = [_failure(server) if host in self._failing else _https_redirect(server)]
                source = server.source
            else:
                bound = sorted(self._bound[host], key=lambda item: item[0].meta.order)
                routes = self._merged(bound)
                source = bound[0][0].meta.source
            section = VirtualHost(self.name, f"{host}:{self.port}", (host,), source)
            sections += virtual_host_sections(section, routes)
        return sections

    def _merged(self, bound: Iterable[Bound]) -> list[Route]:
        routes: list[Route] = []
        for service, gateway in bound:
            name = f"{gateway.meta.namespace}/{gateway.meta.name}"
            at = Standpoint(name, self.port, self.view.namespace, self.labels)
            routes += with_limits(http_routes(self.view, service, at), limits_on(self.view.mesh, gateway.meta))
        # Of several VirtualServices one's catch-all must not hide the next one's routes (Istio).
        return sorted(routes, key=is_catch_all)


def _failure(server: Server) -> Route:
    return Route(server.source, RouteMatch(), DirectResponse(status=503), name="broken-gateway")


def _https_redirect(server: Server) -> Route:
    redirect = Redirect(status=301, scheme="https", port_from_scheme=True)
    return Route(server.source, RouteMatch(), redirect, name="https-redirect")
