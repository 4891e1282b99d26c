"""The run-time form of a slice, replaced whole: what a request reads from its first byte to its last.

A Generation is made by ``runtime.prepare`` and never changed afterwards, but for what is live: a cluster's endpoints, and caches. It is the
``Live`` of resolve.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import msgspec

from policies.head import Peer, Principal, RequestHead
from policies.proxy_headers import USUAL, ProxyHeaders
from policies.traffic import Destination
from runtime.balance.cluster import LiveCluster
from runtime.endpoints import LiveData
from runtime.http.chosen_rules import rules_of
from runtime.http.pool import PoolKey
from runtime.interception import Interception
from runtime.lane.wheel import NEVER, slack
from runtime.telemetry import RequestSeries, WorkloadFacts
from runtime.telemetry.labels import facts_of_workload
from runtime.tls.contexts import TlsMaterial
from snapshot.authenticate import ANONYMOUS
from snapshot.decide import decide, target_port
from snapshot.decision import Decision, Spread
from snapshot.prepared import PreparedChain, PreparedSlice
from snapshot.section import Cluster, ConsistentHash, Deadlines, Endpoint, OriginalDestination, ServerTls

if TYPE_CHECKING:
    from runtime.plane import Plane

MAX_PLANS = 4096
"""How many decisions stay cached; when it is full the cache starts anew, so that a scan of paths costs no more than not caching."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """A decision, ready to be carried out. ``as_is``: neither rewrite nor edit at route level changes the request. ``plain``: besides,
    it has no deadline, is not mirrored and does not go where the request itself says. ``principal`` is who the request is from, where a token says
    that."""

    decision: Decision
    as_is: bool
    plain: bool
    principal: Principal = ANONYMOUS


def _plain(decision: Decision, *, as_is: bool) -> bool:
    return (
        as_is and not decision.timeout_ms and not decision.passthrough and not decision.mirrors and not decision.limits
    )


def _connected(peer: Peer) -> Principal:
    """Who a request is from where no token is asked for."""
    return Principal(identity=peer.identity) if peer.identity else ANONYMOUS


class Chain:
    """One filter chain as connections hold it: the prepared chain, and the header rules of its place."""

    __slots__ = ("direction", "key", "prepared", "rules")

    def __init__(
        self, key: tuple[str, str], prepared: PreparedChain, identity: str, headers: ProxyHeaders = USUAL
    ) -> None:
        self.key = key
        self.prepared = prepared
        self.direction = prepared.listener.direction
        # A certificate that was named for clients says nothing of who this is.
        by = "" if isinstance(prepared.chain.tls, ServerTls) else identity
        self.rules = rules_of(headers, direction=self.direction, edge=prepared.edge, identity=by)


class Generation:
    """A prepared slice with everything that serving it needs."""

    def __init__(self, plane: Plane, prepared: PreparedSlice, material: TlsMaterial, live: LiveData) -> None:
        self.prepared = prepared
        self.material = material
        self.live = live
        proxy = prepared.proxy
        self.deadlines: Deadlines = proxy.deadlines
        self.stream_idle_s = proxy.deadlines.stream_idle_ms / 1000 or NEVER
        self.stream_idle_slack_s = slack(self.stream_idle_s)
        self.idle_s = proxy.deadlines.idle_ms / 1000 or NEVER
        self.idle_slack_s = slack(self.idle_s)
        self.path_profile = proxy.path_normalization
        self.trust_domains = frozenset((proxy.trust_domain, *proxy.trust_domain_aliases))
        self.workload: WorkloadFacts = facts_of_workload(proxy.workload)
        self.identity = proxy.workload.identity
        self.stamp = f"{proxy.workload.name}={prepared.snapshot[:12]}".encode()
        self.chains: dict[tuple[str, str], Chain] = {}
        self.clusters: dict[str, LiveCluster] = {}
        self.series: dict[tuple[object, ...], RequestSeries] = {}
        self._by_address: dict[tuple[str, int], str] = {}
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._plane = plane
        self.interception = Interception(prepared, live.bootstrap) if live.bootstrap.interception != "none" else None

    @property
    def serves_http2(self) -> bool:
        """Whether this proxy has a machine for HTTP/2."""
        return "http2" in self._plane.downstream_machines

    def fill(self) -> Generator[None, None, None]:
        """Makes the chains and clusters in small steps."""
        headers = self.prepared.proxy.headers
        for key, chain in self.prepared.chains.items():
            self.chains[key] = Chain(key, chain, self.identity, headers)
        yield
        workload = self.prepared.proxy.workload
        own = workload.namespace, workload.name
        for name, section in self.prepared.clusters.items():
            cluster = self.clusters[name] = LiveCluster(section, self._plane, self.live, own)
            yield from cluster.build()
            if not section.subset and section.protocol != "udp" and name.startswith("outbound|"):
                self._name_cluster(section)
            yield

    def _name_cluster(self, section: Cluster) -> None:
        service = section.service
        names = [service.host]
        if service.namespace:
            names += [f"{service.name}.{service.namespace}", f"{service.name}.{service.namespace}.svc"]
            if service.namespace == self.workload.namespace:
                names.append(service.name)
        for name in names:
            self._by_address.setdefault((name, section.port), section.name)

    # --- deciding ------------------------------------------------------------------------------------------------------------

    def plan(self, chain: Chain, head: RequestHead, peer: Peer) -> Plan:
        """What the slice says about a request, from the cache where the decision reads no more than the cache's key."""
        plan = self._plans.get((chain.key, peer.identity, head.method, head.authority, head.path))
        return plan if plan is not None else self.kept(chain, head, peer, _connected(peer))

    def plan_for(self, chain: Chain, head: RequestHead, peer: Peer, principal: Principal) -> Plan:
        """As ``plan``, for a request of which is known already who it is from."""
        del principal
        return self.plan(chain, head, peer)

    def kept(self, chain: Chain, head: RequestHead, peer: Peer, principal: Principal) -> Plan:
        """The plan for a request that is let in to be decided, kept where it holds for others."""
        key = (chain.key, peer.identity, head.method, head.authority, head.path)
        plan = self._plans.get(key)
        if plan is None:
            decide_it = self._connect if head.method == "CONNECT" else self.decided
            plan = self.made(decide_it(chain, head, peer, principal))
            if plan.decision.cacheable:
                if len(self._plans) >= MAX_PLANS:
                    self._plans.clear()
                self._plans[key] = plan
        return plan

    def made(self, decision: Decision) -> Plan:
        """A decision, ready to be carried out."""
        changed = decision.path is not None or decision.authority is not None or decision.matched is not None
        as_is = not decision.request_edits and not changed
        asked = any(one.cluster and self.goes_where_asked(one.cluster) for one in decision.destinations)
        return Plan(decision, as_is=as_is, plain=not asked and _plain(decision, as_is=as_is))

    def decided(self, chain: Chain, head: RequestHead, peer: Peer, principal: Principal) -> Decision:
        """What the slice says about a request of a principal."""
        return decide(self.prepared, chain.prepared, head, peer, principal)

    def _connect(self, chain: Chain, head: RequestHead, peer: Peer, principal: Principal) -> Decision:
        """CONNECT goes where a request for / would go, or, for a port that has no HTTP routes, to the cluster of that host and port."""
        decision = self.decided(chain, msgspec.structs.replace(head, path="/"), peer, principal)
        unrouted = decision.passthrough or (decision.reply is not None and decision.reply.flag == "NR")
        name = self._by_address.get((head.host, target_port(head)))
        if unrouted and name is not None:
            return Decision(destinations=(Destination(name),), total_weight=1, sources=decision.sources)
        return msgspec.structs.replace(decision, path=None, cacheable=False)

    # --- Live ----------------------------------------------------------------------------------------------------------------

    def endpoints(self, cluster: str) -> Sequence[Endpoint]:
        """See Live."""
        return self.clusters[cluster].endpoints

    def goes_where_asked(self, cluster: str) -> bool:
        """See Live."""
        found = self.clusters.get(cluster)
        return found is not None and isinstance(found.section.endpoints, OriginalDestination)

    def active(self, cluster: str, endpoint: Endpoint) -> int:
        """See Live."""
        return self.clusters[cluster].active(endpoint)

    def balance(self, cluster: str) -> str:
        """See Live."""
        return self.clusters[cluster].balance

    def beyond(self, cluster: str, tried: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """See Live."""
        return self.clusters[cluster].beyond(tried)

    def spread(self, cluster: str) -> Spread | None:
        """See Live."""
        return self.clusters[cluster].spread

    def owner(self, cluster: str, key: tuple[bytes, ...], draw: float) -> Endpoint | None:
        """See Live."""
        return self.clusters[cluster].owner(key, draw)

    def hashing(self, cluster: str) -> ConsistentHash | None:
        """See Live."""
        return self.clusters[cluster].section.hashing

    def turn(self, cluster: str) -> int:
        """See Live."""
        return self.clusters[cluster].take_turn()

    def uses(self, key: PoolKey) -> bool:
        """Whether this generation would still use a pool."""
        cluster = self.clusters.get(key.cluster)
        return cluster is not None and cluster.uses(key)

    def refresh(self) -> None:
        """The live data has changed: endpoints are filled in anew, in place."""
        for cluster in self.clusters.values():
            cluster.refresh(self.live)
        self.series.clear()
