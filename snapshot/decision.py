"""What the four pure steps say to each other. Symbolic first (Decision), concrete after the draws (Action)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

import msgspec

from policies.match import PathMatch
from policies.source import SourceRef
from policies.traffic import Destination, Fault, HeaderEdits, Mirror, Retry
from snapshot.limiting import PreparedLimit
from snapshot.section import ConsistentHash, Endpoint


class LocalReply(msgspec.Struct, frozen=True, gc=False):
    """A reply that the proxy makes itself. ``flag`` is Envoy's response flag ("" for none), ``details`` its RESPONSE_CODE_DETAILS."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    flag: str = ""
    details: str = "direct_response"
    grpc_status: int = -1


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What the slice says about one request, before any draw: either ``reply``, or ``destinations`` with what happens on the way.

    ``path`` and ``authority`` are what is forwarded (None: unchanged; ``path`` includes no query). Edits are in the order in which they
    run; the chosen destination's run before them. ``sources`` are the deciding resources, the policy's rule first. ``cacheable`` says
    that only the chain, the peer's identity, the method, the authority and the path were read (all five, and only those, are the key of a
    cache): the same Decision then holds for the next request that has the same.
    ``limits`` are asked before anything is sent or answered.
    ``mirrors`` are where copies of the request go besides.
    ``matched`` is what the route matched of the path, set where a destination rewrites or redirects by itself.
    ``passthrough`` is set where the request goes where it was going (PassthroughCluster); destinations then hold that cluster.
    """

    reply: LocalReply | None = None
    destinations: tuple[Destination, ...] = ()
    total_weight: int = 0
    path: str | None = None
    authority: str | None = None
    request_edits: tuple[HeaderEdits, ...] = ()
    response_edits: tuple[HeaderEdits, ...] = ()
    fault: Fault | None = None
    timeout_ms: int = 0
    retry: Retry | None = None
    route_name: str = ""
    virtual_host: str = ""
    sources: tuple[SourceRef, ...] = ()
    cacheable: bool = False
    passthrough: bool = False
    matched: PathMatch | None = None
    mirrors: tuple[Mirror, ...] = ()
    limits: tuple[PreparedLimit, ...] = ()


class Action(msgspec.Struct, frozen=True, gc=False):
    """What to do now: wait ``delay_ms``, then give ``reply`` or send to ``endpoint`` of ``destination.cluster``.

    ``endpoint`` is None with ``reply`` set. ``flags`` are those that hold whatever happens next (DI, FI)."""

    reply: LocalReply | None = None
    destination: Destination | None = None
    endpoint: Endpoint | None = None
    delay_ms: int = 0
    flags: tuple[str, ...] = ()


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try that ended. ``number`` counts from 1. ``failure`` is "" where a response head came, else one of ``connect-failure``,
    ``reset-before-request``, ``reset``, ``refused-stream``, ``timeout`` (per try). ``replayable`` says that the whole request can be sent
    again (its body was empty or is still held); ``tried`` are the endpoints used so far; ``destination`` is the one that was chosen."""

    number: int
    failure: str = ""
    replayable: bool = True
    tried: tuple[Endpoint, ...] = ()
    destination: Destination | None = None


class RetryAfter(msgspec.Struct, frozen=True, gc=False):
    """Try again after ``delay_ms``, with another endpoint where there is one."""

    delay_ms: int


class Edits(msgspec.Struct, frozen=True, gc=False):
    """Pass the response on with these header edits, in order."""

    edits: tuple[HeaderEdits, ...]


class Draws(Protocol):
    """Random numbers by name, so that a decision can be replayed: the same names in the same order give the same Action."""

    def draw(self, name: str) -> float:
        """A number in [0, 1) for this purpose.

        The purposes: ``fault.delay``, ``fault.abort``, ``mirror``, ``destination``, ``locality``, ``endpoint.1``, ``endpoint.2``, ``backoff``.
        """


class Equals(tuple[Endpoint, ...]):
    """Endpoints that all have the weight 1: one is chosen among them without looking at each."""

    __slots__ = ()


def weighed(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Endpoints as a choice is made among them: Equals where they are."""
    return Equals(endpoints) if all(endpoint.weight == 1 for endpoint in endpoints) else tuple(endpoints)


class Spread(NamedTuple):
    """Groups of endpoints that share a cluster's requests. ``bounds`` are the running sums of their shares, ``balance`` chooses in a group."""

    bounds: tuple[float, ...]
    groups: tuple[tuple[Endpoint, ...], ...]
    balance: str

    @classmethod
    def of(cls, shares: Sequence[tuple[float, tuple[Endpoint, ...]]], balance: str) -> Spread:
        """From shares, which together are 1."""
        return cls(
            tuple(accumulate(share for share, _ in shares)), tuple(weighed(group) for _, group in shares), balance
        )

    def group(self, draw: float) -> tuple[Endpoint, ...]:
        """The group of a number in [0, 1)."""
        return self.groups[min(bisect_right(self.bounds, draw), len(self.groups) - 1)]


class Live(Protocol):
    """The live data that fills a slice's slots, as resolve sees it."""

    def endpoints(self, cluster: str) -> Sequence[Endpoint]:
        """The endpoints of a cluster that may be used now (healthy, weight over 0), in a stable order; empty where there are none."""

    def goes_where_asked(self, cluster: str) -> bool:
        """Whether the cluster has no endpoints of its own: its requests go to the host that they name."""

    def active(self, cluster: str, endpoint: Endpoint) -> int:
        """How many requests are in flight to this endpoint from this worker."""

    def balance(self, cluster: str) -> str:
        """How the cluster chooses: ``least_request``, ``round_robin``, ``random``, ``ring_hash``, ``maglev``, or ``spread``."""

    def spread(self, cluster: str) -> Spread | None:
        """The groups that share the cluster's requests, where its balance is ``spread``."""

    def beyond(self, cluster: str, tried: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """The healthy endpoints of the nearest level (Envoy's priority) that none of those tried is of; empty where there is none."""

    def owner(self, cluster: str, key: tuple[bytes, ...], draw: float) -> Endpoint | None:
        """The endpoint that owns a key, or ``draw`` where there is no key; None where there is none."""

    def hashing(self, cluster: str) -> ConsistentHash | None:
        """What a cluster hashes; None where it hashes nothing."""

    def turn(self, cluster: str) -> int:
        """The cluster's next round-robin number, counted up by each call."""
