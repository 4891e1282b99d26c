"""The decision: what a slice says about one request. Pure; the proxy, test, explain, plan and replay all call it.

    authenticate -> decide -> resolve -> (attempt) -> on_response

Order inside ``decide``: a refused credential (401), authorization (403), the chain's redirect to https, the virtual host (404),
the first route by rank whose tests hold (404 where none does), the route's action. Authorization comes before routing, as in Envoy's filter chain.
"""

from __future__ import annotations

import msgspec

from policies.attributes import Asked
from policies.head import Peer, Principal, RequestHead, TokenIdentity
from policies.source import SourceRef
from policies.traffic import Destination, DirectResponse, Forward, Redirect
from snapshot.cors import cross_origin
from snapshot.decision import Decision, LocalReply
from snapshot.jwt import AUDIENCE, MISSING
from snapshot.prepared import (
    PreparedChain,
    PreparedRoute,
    PreparedSlice,
    PreparedTable,
    PreparedVirtualHost,
    edits,
    forwarding,
)
from snapshot.rewriting import redirect_location, rewritten_path
from snapshot.section import HttpChain, UndeclaredPort

NOT_FOUND = LocalReply(404, flag="NR", details="route_not_found")
BLACK_HOLE = LocalReply(502, details="direct_response")
PASSTHROUGH = "PassthroughCluster"
MAX_REALM_PATH = 256
"""How much of a path is said again to whom a token was refused (Envoy)."""
NO_TABLE = Decision(reply=NOT_FOUND)


def decide(
    prepared: PreparedSlice, chain: PreparedChain, head: RequestHead, peer: Peer, principal: Principal
) -> Decision:
    """Decides one request on one chain. ``principal`` is authenticate's; ``head.path`` is normalised already."""
    if principal.failure:
        return _refused(principal.failure, head)
    policies = chain.policies
    sources: tuple[SourceRef, ...] = ()
    cacheable = True
    if policies is not None:
        verdict = policies.evaluate(Asked(head, peer, principal, chain.edge))
        many_ports = isinstance(chain.listener.bind, UndeclaredPort)
        cacheable = not policies.reads_more and not (policies.reads_port and many_ports)
        if not verdict.allowed:
            return _denied(verdict.source, cacheable=cacheable)
        if verdict.source is not None:
            sources = (verdict.source,)
    decision = _route(prepared, chain, head, principal)
    if not sources and cacheable:
        return decision
    return msgspec.structs.replace(
        decision, sources=(*sources, *decision.sources), cacheable=decision.cacheable and cacheable
    )


def table_for(prepared: PreparedSlice, chain: PreparedChain, head: RequestHead) -> PreparedTable | None:
    """The route table that a request is looked up in: the chain's, or at the explicit proxy that of the target's port."""
    network, table = chain.chain.network, chain.table
    if isinstance(network, HttpChain) and network.proxy:
        return prepared.tables_of(table.section.group if table else "").get(target_port(head)) or table
    return table


def target_port(head: RequestHead) -> int:
    """The port that a request's authority names, or its scheme's default."""
    _, colon, port = head.authority.rpartition(":")
    if colon and port.isdigit():
        return int(port)
    return 443 if head.scheme == "https" else 80


def host_for(table: PreparedTable, chain: PreparedChain, head: RequestHead) -> PreparedVirtualHost | None:
    """The virtual host of a request: by its authority, else the one that a listener per service stands for."""
    host = table.find(head)
    network = chain.chain.network
    if isinstance(network, HttpChain) and network.host and (host is None or host is table.fallback):
        return table.exact.get(network.host, host)
    return host


def first_route(
    host: PreparedVirtualHost, head: RequestHead, token: TokenIdentity | None = None
) -> tuple[PreparedRoute | None, bool]:
    """The first route by rank that matches, and whether only method, authority and path were read to find it."""
    plain = True
    for rank in host.paths.candidates(head.path):
        route = host.routes[rank]
        if route.reads_more:
            plain = False
        for test in route.tests:
            if not test(head):
                break
        else:
            if not route.claims or all(test(token) for test in route.claims):
                return route, plain
    return None, plain


def _route(prepared: PreparedSlice, chain: PreparedChain, head: RequestHead, principal: Principal) -> Decision:
    network = chain.chain.network
    if isinstance(network, HttpChain) and network.https_redirect:
        return _redirect(Redirect(scheme="https", port_from_scheme=True), None, head, (chain.chain.source,))
    table = table_for(prepared, chain, head)
    if table is None:
        return NO_TABLE
    host = host_for(table, chain, head)
    if host is None:
        return _unmatched(table)
    route, plain = first_route(host, head, principal.token)
    if route is None:
        return Decision(reply=NOT_FOUND, virtual_host=host.section.name, cacheable=plain)
    decision = route.decision
    if decision is None:
        decision = _act(host, route, head)
        if route.limits:
            decision = msgspec.structs.replace(decision, limits=route.limits)
    cors = route.route.cors
    # As in Envoy, what is answered here is not another origin's to read.
    if cors is not None and decision.reply is None and decision.total_weight:
        decision = cross_origin(route, cors, decision, head)
    return decision if plain else msgspec.structs.replace(decision, cacheable=False)


def _act(host: PreparedVirtualHost, prepared: PreparedRoute, head: RequestHead) -> Decision:
    route = prepared.route
    match route.action:
        case Forward() as action:
            path = rewritten_path(action.rewrite, route.match.path, head.path) if action.rewrite else None
            return forwarding(host.section, route, action, path=path)
        case Redirect() as action:
            redirected = _redirect(action, prepared, head, (route.source,))
            response = edits(route.response_headers, host.section.response_headers)
            return msgspec.structs.replace(
                redirected, response_edits=response, route_name=route.name, virtual_host=host.section.name
            )
        case DirectResponse(status, body, flag):
            return Decision(
                reply=LocalReply(status, body=body.encode(), flag=flag),
                response_edits=edits(route.response_headers, host.section.response_headers),
                fault=route.fault,
                route_name=route.name,
                virtual_host=host.section.name,
                sources=(route.source,),
                cacheable=True,
            )


def _redirect(
    redirect: Redirect, route: PreparedRoute | None, head: RequestHead, sources: tuple[SourceRef, ...]
) -> Decision:
    location = redirect_location(redirect, route.route.match.path if route else None, head)
    return Decision(
        reply=LocalReply(redirect.status, headers=((b"location", location.encode()),)),
        fault=route.route.fault if route else None,
        sources=sources,
    )


def _unmatched(table: PreparedTable) -> Decision:
    cluster = table.section.unmatched
    if not cluster:
        return Decision(reply=NOT_FOUND, cacheable=True)
    if cluster == "BlackHoleCluster":
        return Decision(reply=BLACK_HOLE, virtual_host="block_all", sources=(table.section.source,), cacheable=True)
    return Decision(
        destinations=(Destination(cluster),),
        total_weight=1,
        route_name="allow_any",
        virtual_host="allow_any",
        sources=(table.section.source,),
        cacheable=True,
        passthrough=cluster == PASSTHROUGH,
    )


def _refused(why: str, head: RequestHead) -> Decision:
    """401 as Envoy's filter for tokens answers, and 403 where the token is good but meant for others (RFC 6750 section 3)."""
    scheme = next((value for name, value in head.headers if name == b"x-forwarded-proto"), head.scheme.encode())
    target = head.path if head.query is None else f"{head.path}?{head.query}"
    realm = b"%b://%b%b" % (scheme, head.authority.encode(), target[:MAX_REALM_PATH].encode())
    error = b"" if why == MISSING else b', error="invalid_token"'
    challenge = b'Bearer realm="%b"%b' % (realm.replace(b'"', b"%22"), error)
    reply = LocalReply(
        403 if why == AUDIENCE else 401,
        headers=((b"www-authenticate", challenge),),
        body=why.encode(),
        details=f"jwt_authn_access_denied{{{why.replace(' ', '_')}}}",
    )
    return Decision(reply=reply)


def _denied(source: SourceRef | None, *, cacheable: bool) -> Decision:
    """403 as Envoy's RBAC filter answers; the details name the policy and the rule as Istio does."""
    details = "rbac_access_denied_matched_policy[none]"
    if source is not None and source.path:
        rule = source.path.rpartition("[")[2].rstrip("]")
        details = f"rbac_access_denied_matched_policy[ns[{source.namespace}]-policy[{source.name}]-rule[{rule}]]"
    reply = LocalReply(403, body=b"RBAC: access denied", details=details, grpc_status=7)
    return Decision(reply=reply, sources=(source,) if source else (), cacheable=cacheable)
