"""What a worker counts of its clusters and of their endpoints, by the names that Envoy gives it on its admin pages.

The path of a request counts here only what it counted already (streams granted and ended) and whether the endpoint answered well;
connections, failures and retries count themselves as they happen, which is seldom. Nothing here is ever reset: a count that goes with its
endpoint goes whole.
"""

from __future__ import annotations


class ClusterLoad:
    """What a cluster's pools use together, and what they have done since the worker started.

    ``granted`` streams less ``ended`` ones are in flight. ``queued`` counts requests that had to wait for a connection, ``retried`` the
    attempts after a first one, ``recovered`` those that ended well, ``exhausted`` requests that ran out of attempts. Upstreams
    have ``broken`` their protocol so often, ``reset`` so many streams that they had taken, and ``left`` so many connections in use.
    """

    __slots__ = (
        "broken",
        "connect_failed",
        "connect_timed_out",
        "connections",
        "ended",
        "exhausted",
        "granted",
        "http1_opened",
        "http2_opened",
        "left",
        "opened",
        "pending",
        "queued",
        "recovered",
        "reset",
        "retried",
        "retries",
        "timed_out",
        "try_timed_out",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.pending = 0
        self.retries = 0
        self.granted = 0
        self.ended = 0
        self.opened = 0
        self.http1_opened = 0
        self.http2_opened = 0
        self.connect_failed = 0
        self.connect_timed_out = 0
        self.queued = 0
        self.retried = 0
        self.recovered = 0
        self.exhausted = 0
        self.timed_out = 0
        self.try_timed_out = 0
        self.broken = 0
        self.reset = 0
        self.left = 0

    @property
    def requests(self) -> int:
        """Streams in flight."""
        return self.granted - self.ended


class EndpointTally:
    """What one endpoint of a cluster was asked and how it did, over all pools that lead there.

    ``active`` are the streams in use of those pools that are one client's each; of others the pool itself knows.

    ``past`` are the requests of connections that are gone: those of open ones the connections know. ``succeeded`` and ``erred`` count
    attempts as Envoy's router does: an answer below 500 (of gRPC, by its status) is a success, every other end of an attempt an error but
    for one that nobody waited for.
    """

    __slots__ = ("active", "connect_failed", "erred", "opened", "past", "succeeded", "timed_out")

    def __init__(self) -> None:
        self.active = 0
        self.opened = 0
        self.connect_failed = 0
        self.past = 0
        self.succeeded = 0
        self.erred = 0
        self.timed_out = 0
