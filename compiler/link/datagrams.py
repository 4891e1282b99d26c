"""The UDP listeners of a Gateway: one socket each, and where its datagrams go."""

from __future__ import annotations

from compiler.api_listeners import PlacedListener
from compiler.attachment import connections
from compiler.link.http_routes import api_destination
from compiler.link.view import View
from policies.traffic import Destination
from snapshot.section import FilterChain, GatewayPort, Listener, UdpChain


def datagram_listener(view: View, place: PlacedListener, policies: str) -> Listener:
    """The listener of a place with the protocol UDP. Nothing tells one route's datagrams from another's, so the first route has them all.

    Its name says the transport, because a Gateway may have the number for TCP, too.
    """
    written = place.listener
    rules = ((route, rule) for route, _ in connections(view.mesh, place) for rule in route.rules[:1])
    route, rule = next(rules, (None, None))
    source, name = written.source, written.name
    destinations: tuple[Destination, ...] = ()
    if route is not None and rule is not None:
        source = rule.source
        destinations = tuple(api_destination(view, route, backend) for backend in rule.backends)
        name = f"{written.name}/{route.meta.namespace}/{route.meta.name}"
    chain = FilterChain(name, source, UdpChain(destinations, source, policies))
    return Listener(
        f"gateway:{written.port}/udp",
        written.source,
        "gateway",
        GatewayPort(written.port, datagrams=True),
        "udp",
        (chain,),
    )
