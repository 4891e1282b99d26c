"""What a route changes of a message on its way: the head that is sent on, and the cookie that a reply brings back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.head import Headers, Peer, RequestHead
from policies.traffic import NO_EDITS
from runtime.http.edits import compiled
from snapshot.hashing import set_cookie
from snapshot.resolve import choose_endpoint
from snapshot.rewriting import rewritten_path

if TYPE_CHECKING:
    from policies.traffic import Destination
    from runtime.balance.cluster import LiveCluster
    from runtime.generation import Plan
    from runtime.http.exchange import Exchange
    from snapshot.section import Endpoint


def forwarded_head(head: RequestHead, plan: Plan, destination: Destination | None, *, tells_path: bool) -> RequestHead:
    """The head as it is forwarded: rewritten, with the edits of destination, route and virtual host. The same one where nothing changes.

    ``tells_path`` says that a rewritten path is kept in x-envoy-original-path.
    """
    if plan.as_is and (destination is None or destination.request_headers is NO_EDITS):
        return head
    decision = plan.decision
    headers = head.headers
    if destination is not None and destination.request_headers is not NO_EDITS:
        headers = compiled(destination.request_headers).apply(headers)
    for level in decision.request_edits:
        headers = compiled(level).apply(headers)
    path, authority = decision.path, decision.authority
    own = destination.rewrite if destination is not None else None
    if own is not None:
        path = rewritten_path(own, decision.matched, head.path) if path is None else path
        authority = authority or own.authority
    if path is not None and tells_path:
        original = head.path if head.query is None else f"{head.path}?{head.query}"
        headers = [pair for pair in headers if pair[0] != b"x-envoy-original-path"]
        headers.append((b"x-envoy-original-path", original.encode()))
    return RequestHead(
        head.method,
        head.scheme,
        authority or head.authority,
        head.host,
        head.path if path is None else path,
        head.query,
        headers,
    )


def rehashed(exchange: Exchange) -> Endpoint | None:
    """The endpoint of a request whose head was changed: hashing reads what is forwarded (Envoy). Any other choice stands."""
    destination = exchange.destination
    cluster = exchange.generation.clusters.get(destination.cluster) if destination is not None else None
    if destination is None or cluster is None or cluster.table is None:
        return exchange.endpoint
    live, draws, peer = exchange.generation, exchange.plane.draws, exchange.downstream.peer
    return choose_endpoint(destination.cluster, live, draws, (), exchange.forwarded, peer)


def add_cookie(cluster: LiveCluster, head: RequestHead, peer: Peer, headers: Headers) -> None:
    """Appends the cookie by which the next request finds the same endpoint, where this one came without."""
    hashing = cluster.section.hashing
    cookie = set_cookie(hashing, head, peer) if hashing is not None else b""
    if cookie:
        headers.append((b"set-cookie", cookie))
