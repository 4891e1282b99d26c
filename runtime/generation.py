"""The run-time form of a slice, replaced whole: what a request reads from its first byte to its last.

A Generation is made by ``runtime.prepare`` and never changed afterwards, but for what is live: a cluster's endpoints, and caches. It is the
``Live`` of resolve.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import msgspec

from policies.head import Peer, RequestHead
from policies.traffic import Destination
from runtime.endpoints import LiveData, endpoints_of
from runtime.http.pool import Pool, PoolKey, Pools
from runtime.http.rules import Rules
from runtime.lane.wheel import NEVER, slack
from runtime.telemetry import RequestSeries, WorkloadFacts
from runtime.telemetry.labels import facts_of_workload
from runtime.tls.contexts import TlsMaterial
from snapshot.authenticate import authenticate
from snapshot.decide import decide, target_port
from snapshot.decision import Decision
from snapshot.hashing import Ring
from snapshot.prepared import PreparedChain, PreparedSlice
from snapshot.section import Cluster, ConsistentHash, Deadlines, Endpoint, OriginalDestination

if TYPE_CHECKING:
    from runtime.plane import Plane

MAX_PLANS = 4096
"""How many decisions stay cached; when it is full the cache starts anew, so that a scan of paths costs no more than not caching."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """A decision, ready to be carried out. ``as_is``: neither rewrite nor edit at route level changes the request. ``plain``: besides,
    it has no deadline, is not mirrored and does not go where the request itself says."""

    decision: Decision
    as_is: bool
    plain: bool


def _plain(decision: Decision, *, as_is: bool) -> bool:
    return as_is and not decision.timeout_ms and not decision.passthrough and not decision.mirrors


class Chain:
    """One filter chain as connections hold it: the prepared chain, and the header rules of its place."""

    __slots__ = ("direction", "key", "prepared", "rules")

    def __init__(self, key: tuple[str, str], prepared: PreparedChain, identity: str) -> None:
        self.key = key
        self.prepared = prepared
        self.direction = prepared.listener.direction
        self.rules = Rules(direction=self.direction, edge=prepared.edge, identity=identity)


class LiveCluster:
    """One cluster of one generation. Owns its endpoints (live), its pools' look-up and its metric series."""

    __slots__ = ("_pools", "_store", "_turn", "endpoints", "ring", "section", "series")

    def __init__(self, section: Cluster, pools: Pools, live: LiveData) -> None:
        self.section = section
        self.endpoints = endpoints_of(section, live)
        self.ring: Ring | None = Ring(section.hashing, self.endpoints) if section.hashing is not None else None
        self.series: dict[tuple[object, ...], RequestSeries] = {}
        self._store = pools
        self._pools: dict[tuple[str, int, str, bool], Pool] = {}
        self._turn = 0

    def refresh(self, live: LiveData) -> None:
        """Takes in what the live data now says; pools to addresses that are gone are let go."""
        endpoints = endpoints_of(self.section, live)
        if endpoints == self.endpoints:
            return
        self.endpoints = endpoints
        if self.section.hashing is not None:
            self.ring = Ring(self.section.hashing, endpoints)
        self._pools.clear()
        self.series.clear()

    def pool(self, endpoint: Endpoint, downstream_protocol: str, *, tunnel: bool = False) -> Pool:
        """The pool for one request. ``same`` speaks what the downstream speaks; a tunnel speaks nothing."""
        key = (endpoint.address, endpoint.port, downstream_protocol, tunnel)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = self._store.get(self.section, endpoint, self._protocol(downstream_protocol, key))
        return pool

    def _protocol(self, downstream_protocol: str, key: tuple[str, int, str, bool]) -> str:
        if key[3]:
            return "tcp"
        if self.section.protocol == "same":
            return "http2" if downstream_protocol == "HTTP/2" else "http1"
        return "http1" if self.section.protocol == "tcp" else self.section.protocol

    def active(self, endpoint: Endpoint) -> int:
        """Requests in flight to an endpoint."""
        pools = {pool for key, pool in self._pools.items() if key[0] == endpoint.address and key[1] == endpoint.port}
        return sum(pool.active for pool in pools)

    def take_turn(self) -> int:
        """The next round-robin number."""
        self._turn += 1
        return self._turn - 1

    def uses(self, key: PoolKey) -> bool:
        """Whether a pool is still one of this cluster's: the same way to reach one of its endpoints."""
        source = self.section.endpoints
        if isinstance(source, OriginalDestination):
            return True
        if key.tls is not None and key.tls != self.section.tls:
            return False
        return any(key.address == one.address and key.port == one.port for one in self.endpoints)


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

    @property
    def serves_http2(self) -> bool:
        """Whether this proxy has a machine for HTTP/2."""
        return "http2" in self._plane.downstream_machines

    def fill(self) -> Generator[None, None, None]:
        """Makes the chains and clusters in small steps."""
        for key, chain in self.prepared.chains.items():
            self.chains[key] = Chain(key, chain, self.identity)
        yield
        for name, section in self.prepared.clusters.items():
            self.clusters[name] = LiveCluster(section, self._plane.pools, self.live)
            if not section.subset and name.startswith("outbound|"):
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
        key = (chain.key, peer.identity, head.method, head.authority, head.path)
        plan = self._plans.get(key)
        if plan is None:
            decision = self._connect(chain, head, peer) if head.method == "CONNECT" else self._decide(chain, head, peer)
            as_is = not decision.request_edits and decision.path is None and decision.authority is None
            plan = Plan(decision, as_is=as_is, plain=_plain(decision, as_is=as_is))
            if decision.cacheable:
                if len(self._plans) >= MAX_PLANS:
                    self._plans.clear()
                self._plans[key] = plan
        return plan

    def _decide(self, chain: Chain, head: RequestHead, peer: Peer) -> Decision:
        principal = authenticate(self.prepared, head, peer, {}, 0.0)
        return decide(self.prepared, chain.prepared, head, peer, principal)

    def _connect(self, chain: Chain, head: RequestHead, peer: Peer) -> Decision:
        """CONNECT goes where a request for / would go, or, for a port that has no HTTP routes, to the cluster of that host and port."""
        decision = self._decide(chain, msgspec.structs.replace(head, path="/"), peer)
        unrouted = decision.passthrough or (decision.reply is not None and decision.reply.flag == "NR")
        name = self._by_address.get((head.host, target_port(head)))
        if unrouted and name is not None:
            return Decision(destinations=(Destination(name),), total_weight=1, sources=decision.sources)
        return msgspec.structs.replace(decision, path=None, cacheable=False)

    # --- Live ----------------------------------------------------------------------------------------------------------------

    def endpoints(self, cluster: str) -> Sequence[Endpoint]:
        """See Live."""
        return self.clusters[cluster].endpoints

    def active(self, cluster: str, endpoint: Endpoint) -> int:
        """See Live."""
        return self.clusters[cluster].active(endpoint)

    def balance(self, cluster: str) -> str:
        """See Live."""
        return self.clusters[cluster].section.balance

    def ring(self, cluster: str) -> Ring | None:
        """See Live."""
        return self.clusters[cluster].ring

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
