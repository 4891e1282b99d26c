"""How many retries a cluster takes at once: Istio's maxRetries and retryBudget, Envoy's circuit breaker. Without either nothing is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.traffic import PER_MILLION

if TYPE_CHECKING:
    from runtime.http.tally import ClusterLoad
    from runtime.plane import Plane
    from snapshot.section import Cluster


class RetryGrant:
    """One retry that is under way, from its decision to what comes of it. ``release`` gives its place back, once."""

    __slots__ = ("_load",)

    def __init__(self, load: ClusterLoad | None) -> None:
        self._load = load
        if load is not None:
            load.retries += 1

    def release(self) -> None:
        """The retry has an answer, or nobody waits for one."""
        if self._load is not None:
            self._load.retries -= 1
            self._load = None


UNCOUNTED = RetryGrant(None)
"""The grant of retries that nothing bounds, and of attempts that are none."""


def grant_retry(plane: Plane, cluster: Cluster) -> RetryGrant | None:
    """A place for one more retry; None where there is none, which is counted as Envoy does."""
    limits = cluster.limits
    budget = limits.retry_budget
    if budget is None and not limits.max_retries:
        return UNCOUNTED
    load = plane.pools.load_of(cluster.name)
    most = limits.max_retries
    if budget is not None:
        # The request that failed is one of those in flight.
        in_flight = load.requests + load.pending + 1
        most = max(in_flight * budget.per_million // PER_MILLION, budget.minimum)
    if load.retries < most:
        return RetryGrant(load)
    plane.instruments.add("envoy_cluster_upstream_rq_retry_overflow", cluster.name)
    return None
