"""One cluster of one generation: its endpoints now, which of them are used, and the pools that lead there."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from runtime.balance.localities import levels_of
from runtime.balance.shares import Level, Share, shares
from runtime.balance.standing import zones_of
from runtime.balance.zones import Zones
from runtime.endpoints import LiveData, endpoints_of
from runtime.http.pool import Pool, PoolKey
from runtime.http.proxied import SWEEP_AT, ClientPools, address_of, announcing
from runtime.http.stream import EndpointPool
from runtime.interception import inbound_source
from runtime.pacing import paced
from runtime.telemetry import RequestSeries
from snapshot.decision import Spread, weighed
from snapshot.hashing import place_of
from snapshot.ring import Leveled, Table, Weighted, table_of
from snapshot.section import Cluster, Endpoint, OriginalDestination

if TYPE_CHECKING:
    from runtime.plane import Plane

HASHED = frozenset({"ring_hash", "maglev"})


class LiveCluster:
    """One cluster of one generation. Owns its endpoints (live), its pools' look-up and its metric series.

    ``known`` are all endpoints, ``endpoints`` those that are used. ``balance`` is the section's, or ``spread`` where several groups of endpoints
    share the requests. ``watch`` is None where nothing is remembered of the endpoints.
    """

    __slots__ = (
        "__weakref__",
        "_at",
        "_building",
        "_levels",
        "_own",
        "_plane",
        "_pools",
        "_sweep_at",
        "_turn",
        "_zones",
        "balance",
        "endpoints",
        "known",
        "section",
        "series",
        "spread",
        "table",
        "watch",
    )

    def __init__(self, section: Cluster, plane: Plane, live: LiveData, own: tuple[str, str] = ("", "")) -> None:
        self.section = section
        self._own = own
        self.series: dict[tuple[object, ...], RequestSeries] = {}
        self.endpoints: tuple[Endpoint, ...] = ()
        self.spread: Spread | None = None
        self.table: Table | Leveled | None = None
        self.balance = section.balance
        self.watch = plane.watches.of(section)
        self._plane = plane
        self._pools: dict[tuple[str, int, str, bool], EndpointPool] = {}
        self._at: dict[tuple[str, int], list[EndpointPool]] = {}
        # Where a cluster goes where it is asked to, its clients make up the endpoints, and no end of them.
        self._sweep_at = SWEEP_AT if isinstance(section.endpoints, OriginalDestination) else sys.maxsize
        self._turn = 0
        self._building = 0
        self._levels: tuple[Level, ...] = ()
        self._zones: Zones | None = None
        self.known = endpoints_of(section, live)
        if self.watch is not None:
            self.watch.join(self)
        self._arrange(live)

    # --- which endpoints -----------------------------------------------------------------------------------------------------

    def build(self) -> Generator[None, None, None]:
        """Builds what hashing needs, in small steps."""
        if self.section.hashing is not None:
            self.table = yield from self._tables(self._shares())

    def refresh(self, live: LiveData) -> None:
        """Takes in what the live data now says; pools to addresses that are gone are let go."""
        known = endpoints_of(self.section, live)
        if known == self.known:
            if self._zones is not None and self._zones != self._zones_of(live):
                self._arrange(live)
            return
        self.known = known
        self._arrange(live)
        self._rebuild()
        self._pools.clear()
        self._at.clear()
        self.series.clear()

    def reselect(self) -> None:
        """See Watched."""
        self._select()
        self._rebuild()

    def is_up(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint is healthy, as far as anybody knows."""
        return self.watch is None or self.watch.is_up(endpoint)

    def priorities(self) -> dict[tuple[str, int], int]:
        """The endpoints that are only asked where others are not up, by how many groups come before theirs."""
        return {
            (endpoint.address, endpoint.port): number
            for number, level in enumerate(self._levels)
            for part in level
            for endpoint in part.endpoints
            if number
        }

    def beyond(self, tried: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """See Live."""
        for level in self._levels:
            endpoints = tuple(endpoint for part in level for endpoint in part.endpoints)
            if not any(endpoint in endpoints for endpoint in tried):
                return tuple(filter(self.is_up, endpoints))
        return ()

    def _arrange(self, live: LiveData) -> None:
        if self.watch is not None:
            self.watch.look()
        bootstrap = live.bootstrap
        self._zones = self._zones_of(live)
        self._levels = levels_of(
            self.known, self.section.locality, bootstrap.standpoint, dict(bootstrap.selector.labels)
        )
        self._select()

    def _select(self) -> None:
        """Which endpoints are used, and in what shares."""
        if self.watch is None and self.section.locality is None:
            self.endpoints = weighed(self.known)
            return
        found = [self._warmed(share) for share in self._shares()]
        self.endpoints = weighed([endpoint for share in found for endpoint in share.endpoints])
        spread = len(found) > 1 and self.section.balance not in HASHED
        self.spread = Spread.of([(one.share, one.endpoints) for one in found], self.section.balance) if spread else None
        self.balance = "spread" if spread else self.section.balance

    def _shares(self) -> tuple[Share, ...]:
        outlier = self.section.outlier
        panic = outlier.min_health_percent if outlier is not None else 0
        return shares(self._levels, self.is_up, panic, self._zones)

    def _zones_of(self, live: LiveData) -> Zones | None:
        load = self.section.locality
        if load is not None and self.section.utilization is not None:
            # Load, not locality, says who takes how much of a level.
            return Zones("", {}, 0)
        return zones_of(load, live, self._own, balance=self.section.balance) if load is not None else None

    def _warmed(self, share: Share) -> Share:
        return share if self.watch is None else share._replace(endpoints=self.watch.weighted(share.endpoints))

    # --- hashing -------------------------------------------------------------------------------------------------------------

    def owner(self, key: tuple[bytes, ...], draw: float) -> Endpoint | None:
        """The endpoint of a key; of a drawn place where there is none."""
        table = self.table
        if table is None:
            return None
        return table.owner(place_of(key) if key else int(draw * (1 << 64)))

    def _rebuild(self) -> None:
        """Builds anew beside the traffic; until it is done the table before is used."""
        if self.section.hashing is None:
            return
        self._building += 1
        if self._plane.nursery is None:
            for _ in self.build():
                pass
        else:
            self._plane.nursery.start_soon(self._build_beside, self._building)

    async def _build_beside(self, number: int) -> None:
        table = await paced(self._plane.lane, self._tables(self._shares()))
        if number == self._building:
            self.table = table

    def _tables(self, found: tuple[Share, ...]) -> Generator[None, None, Table | Leveled]:
        """A table, or one for each level that takes requests."""
        hashing = self.section.hashing
        assert hashing is not None
        tables = []
        for number in sorted({share.level for share in found}):
            here = [share for share in found if share.level == number]
            load = sum(share.share for share in here)
            weighted = tuple(_weighted(here, load))
            key = (self.section.balance, hashing, weighted)
            table = self._plane.watches.tables.get(key)
            if table is None:
                table = self._plane.watches.tables[key] = yield from table_of(*key)
            tables.append((load, table))
        if len(tables) == 1:
            return tables[0][1]
        return Leveled.of(tables)

    # --- pools ---------------------------------------------------------------------------------------------------------------

    def pool(self, endpoint: Endpoint, downstream_protocol: str, *, tunnel: bool = False) -> EndpointPool:
        """The pool for one request. ``same`` speaks what the downstream speaks; a tunnel speaks nothing."""
        key = (endpoint.address, endpoint.port, downstream_protocol, tunnel)
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= self._sweep_at:
                self._sweep()
            protocol = self._protocol(downstream_protocol, key)
            pool = self._pools[key] = self._pools_to(endpoint, protocol)
            here = self._at.setdefault((endpoint.address, endpoint.port), [])
            if pool not in here:
                here.append(pool)
        return pool

    def _sweep(self) -> None:
        """Lets go of pools without a request, with their idle connections."""
        for key, pool in list(self._pools.items()):
            if isinstance(pool, Pool) and pool.unused:
                del self._pools[key]
                self._at.pop(key[:2], None)
                self._plane.pools.let_go(pool)
        for (address, port, *_), pool in self._pools.items():
            here = self._at.setdefault((address, port), [])
            if pool not in here:
                here.append(pool)
        self._plane.pools.forget()
        self._sweep_at = max(SWEEP_AT, 2 * len(self._pools))

    def _pools_to(self, endpoint: Endpoint, protocol: str) -> EndpointPool:
        pools, version = self._plane.pools, self.section.proxy_protocol
        if not version:
            if self.section.endpoints != OriginalDestination(inbound=True):
                return pools.get(self.section, endpoint, protocol)
            if not self._plane.transparent:
                return pools.get(self.section, endpoint, protocol, source=inbound_source(endpoint.address))
        own = partial(pools.get, self.section, endpoint, protocol)
        load, tally = pools.load_of(self.section.name), pools.tally_of(self.section.name, endpoint)
        if version:
            return ClientPools(announcing(version), own, pools.let_go, load=load, tally=tally)
        return ClientPools(address_of, lambda source: own(source=source), pools.let_go, load=load, tally=tally)

    def _protocol(self, downstream_protocol: str, key: tuple[str, int, str, bool]) -> str:
        if key[3]:
            return "tcp"
        if self.section.protocol == "same":
            return "http2" if downstream_protocol == "HTTP/2" else "http1"
        return "http1" if self.section.protocol == "tcp" else self.section.protocol

    def active(self, endpoint: Endpoint) -> int:
        """Requests in flight to an endpoint."""
        pools = self._at.get((endpoint.address, endpoint.port))
        if pools is None:
            return 0
        # Nearly always one, and this is asked twice for each request.
        return pools[0].active if len(pools) == 1 else sum(pool.active for pool in pools)

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
        return any(key.port == one.port and key.address in (one.address, *one.others) for one in self.known)


def _weighted(found: list[Share], load: float) -> list[Weighted]:
    """The endpoints of a level with their shares of its requests."""
    weighted = []
    for share in found:
        total = sum(endpoint.weight for endpoint in share.endpoints)
        part = share.share / load if len(found) > 1 else 1.0
        weighted += [(endpoint, part * endpoint.weight / total) for endpoint in share.endpoints]
    return weighted
