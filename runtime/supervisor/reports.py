"""What this proxy says of itself to the control plane: its place in the registry, and what it runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from runtime.bootstrap import Bootstrap
from runtime.control.interface import ProxyStatus
from runtime.discovery.control import ControlClient, ControlError
from runtime.supervisor.facts import SliceFacts
from runtime.supervisor.running import Running
from snapshot.live import RegisteredWorkload, Svid

RETRY_S = 0.5
"""How soon a report that failed is made again."""
REPEAT_S = 5.0
"""How often the same is said again; also how soon it is said that the store's signatures are past their time, which no event tells."""

log = logging.getLogger("weft.proxy")


def registration_of(
    bootstrap: Bootstrap, facts: SliceFacts, svid: Svid, labels: Sequence[tuple[str, str]] = ()
) -> RegisteredWorkload | None:
    """How this workload registers; None where it serves no port, so nobody could be sent to it. ``labels`` are its slice's, for a proxy that was
    told no labels but a name."""
    ports = tuple((str(port), bootstrap.port_map.get(str(port), port)) for port in facts.inbound_ports)
    if not ports:
        return None
    workload = facts.proxy.workload
    return RegisteredWorkload(
        namespace=workload.namespace,
        name=workload.name,
        address=bootstrap.address,
        labels=tuple(sorted(bootstrap.selector.labels or labels)),
        identity=svid.identity,
        ports=ports,
        locality=bootstrap.standpoint,
        cluster=workload.cluster,
    )


async def report_forever(control: ControlClient, bootstrap: Bootstrap, running: Running) -> None:
    """Reports what runs: at every change, and again every REPEAT_S. Runs until cancelled; a failed report is only repeated."""
    said: ProxyStatus | None = None
    said_at = -REPEAT_S
    while True:
        changed = running.changed
        status = _status(bootstrap, running)
        if status is not None and (status != said or trio.current_time() - said_at >= REPEAT_S):
            try:
                await control.report(status)
                said = status
            except ControlError as error:
                log.debug("the status could not be reported: %s", error)
            said_at = trio.current_time()
        with trio.move_on_after(REPEAT_S if status == said else RETRY_S):
            await changed.wait()


def _status(bootstrap: Bootstrap, running: Running) -> ProxyStatus | None:
    deployed = running.deployed
    if deployed is None or running.svid is None:
        return None
    workload = deployed.facts.proxy.workload
    fixed = ProxyStatus(
        proxy=f"{workload.name}.{workload.namespace}@{bootstrap.address}",
        namespace=workload.namespace,
        name=workload.name,
        kind=deployed.verified.slice.entry.proxy,
        labels=dict(bootstrap.selector.labels),
        address=bootstrap.address,
        workers=bootstrap.workers,
    )
    return running.status(fixed)
