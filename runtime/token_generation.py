"""A generation whose slice asks for tokens: each request is authenticated before it is decided."""

from __future__ import annotations

import time

import msgspec

from policies.head import Peer, Principal, RequestHead
from runtime.generation import Chain, Generation, Plan
from snapshot.authenticate import admitted, authenticate


class TokenGeneration(Generation):
    """A Generation that knows who a request is from by more than its connection."""

    def plan(self, chain: Chain, head: RequestHead, peer: Peer) -> Plan:
        """See Generation. Changes the head into what is forwarded: headers that tell claims are set, and the token may be gone."""
        prepared = chain.prepared
        if not prepared.tokens:
            return super().plan(chain, head, peer)
        principal = authenticate(prepared, head, peer, self.live.tokens, time.time())
        seen = admitted(prepared, head, principal)
        head.headers, head.query = seen.headers, seen.query
        return self.plan_for(chain, head, peer, principal)

    def plan_for(self, chain: Chain, head: RequestHead, peer: Peer, principal: Principal) -> Plan:
        """What the slice says about a request of somebody who is known."""
        if principal.failure:
            return self.made(self.decided(chain, head, peer, principal))
        plan = self.kept(chain, head, peer, principal)
        return plan if principal.token is None else msgspec.structs.replace(plan, principal=principal)
