"""When a proxy may be sent traffic. Pure."""

from __future__ import annotations

from runtime.supervisor.facts import SliceFacts
from snapshot.live import Svid


def why_not_ready(
    facts: SliceFacts | None,
    svid: Svid | None,
    *,
    joins: bool,
    identity_problem: str,
    workers_up: int,
    stopping: bool,
    unhealthy: bool = False,
    application: str = "",
) -> str:
    """The first reason, "" where it is ready. ``joins`` says that a control plane gives the identity; without one a mesh port has none.
    ``application`` is what its readiness probe says."""
    if facts is None:
        return "no snapshot serves yet"
    if facts.mesh and joins and svid is None:
        return f"no certificate yet: {identity_problem or 'asking for one'}"
    wanted = facts.proxy.workload.identity
    if facts.mesh and svid is not None and wanted and svid.identity != wanted:
        return f"the certificate is for {svid.identity}, the snapshot's workload is {wanted}"
    if workers_up == 0:
        return "no worker is up"
    if unhealthy:
        return "the health check was failed on request (/healthcheck/fail)"
    return "draining" if stopping else application
