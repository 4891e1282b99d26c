"""What becomes of what is open when the policies over it change: MeshConfig's ``onPolicyChange``.

Requests are no question: each is decided by the snapshot that serves when it begins. This is about what lasts: TCP connections, tunnels (WebSocket,
CONNECT), and connections that the new snapshot would not let in at all.

    keep        they go on under what let them in, until they end
    revalidate  each is asked again with what is known of it; what the new policies refuse is cut off (the default)
    close       whatever the changed policies are about is closed: tunnels and TCP at once, HTTP connections after their requests
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from policies.attributes import Asked
from policies.authorization import Verdict
from policies.authorizing import PreparedPolicies
from policies.head import Peer, Principal, RequestHead
from runtime.generation import Chain
from snapshot.section import DownstreamTls, HttpChain, ServerTls

if TYPE_CHECKING:
    from runtime.generation import Generation
    from snapshot.prepared import PreparedChain
    from snapshot.section import FilterChain

KEEP, REVALIDATE, CLOSE = "keep", "revalidate", "close"
REFUSED = frozenset({401, 403})
NOBODY = PreparedPolicies((), (), Verdict(allowed=False), reads_identity=False, reads_more=False)


def connection_allowed(prepared: PreparedChain, peer: Peer) -> bool:
    """Whether a chain's policies let a TCP connection in."""
    policies = prepared.policies
    return policies is None or policies.evaluate(Asked(None, peer, Principal(peer.identity), prepared.edge)).allowed


def request_allowed(generation: Generation, chain: Chain, head: RequestHead, peer: Peer, principal: Principal) -> bool:
    """Whether a snapshot would let a request begin that has become a tunnel. Whose it is was found out when it began."""
    reply = generation.plan_for(chain, head, peer, principal).decision.reply
    return reply is None or reply.status not in REFUSED


def chain_meanwhile(old: Chain, new: FilterChain | None, generation: Generation, listener: str) -> Chain:
    """Under which chain of the new snapshot a request is decided that comes on a connection made for another one, before that is closed.

    Where the new chain asks the same of clients it serves them already; where it asks more, or there is none, nobody is let in.
    """
    if new is not None and isinstance(new.network, HttpChain) and same_admission(old.prepared.chain.tls, new.tls):
        return generation.chains[listener, new.name]
    refusing = msgspec.structs.replace(old.prepared, policies=NOBODY)
    return Chain((listener, f"{old.key[1]}|refused"), refusing, generation.identity, generation.prepared.proxy.headers)


def same_admission(old: DownstreamTls | None, new: DownstreamTls | None) -> bool:
    """Whether two chains ask clients for the same proof of who they are."""
    if isinstance(old, ServerTls) and isinstance(new, ServerTls):
        return (old.client, old.client_ca) == (new.client, new.client_ca)
    return old == new
