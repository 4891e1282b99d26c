"""The proxy's own pages, as one table per port: admin (15000), metrics (15090), merged metrics and health (15020), readiness (15021)."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from runtime.identity.certificate import read_certificates
from runtime.service import Handler, ServiceRequest, ServiceResponse
from runtime.supervisor.running import Running
from runtime.telemetry import Instruments, MetricsSnapshot, exposition, merge
from runtime.telemetry.exposition import CONTENT_TYPE
from snapshot.encode import FORMAT

JSON = ((b"content-type", b"application/json"), (b"cache-control", b"no-cache, max-age=0"))


class Asked(Protocol):
    """What the pages are made from: the supervisor."""

    running: Running

    def not_ready(self) -> str:
        """Why the proxy is not ready, "" where it is."""

    def listeners(self) -> dict[str, str]:
        """The bound addresses by listener name."""

    def workers(self) -> dict[int, int]:
        """Process ids by worker."""

    @property
    def restarts(self) -> int:
        """How often a worker was started again."""

    def measure(self) -> Instruments:
        """The supervisor's own metrics, brought up to now."""

    async def ask(self, page: str) -> list[bytes]:
        """A page of every worker."""

    async def more_metrics(self) -> bytes:
        """Metrics that the engine has in the text format already."""


Page = Callable[[Asked], Awaitable[ServiceResponse]]


def pages(table: dict[str, Page], asked: Asked) -> Handler:
    """A handler that answers GET and HEAD from a table of pages, and lists the table at ``/``."""

    async def answer(request: ServiceRequest) -> ServiceResponse:
        if request.method not in ("GET", "HEAD"):
            return _text("these pages are read with GET\n", status=405)
        page = table.get(request.path)
        if page is not None:
            return await page(asked)
        if request.path == "/":
            return _text("".join(f"{path}\n" for path in table))
        return _text(f"no page {request.path}; there are {', '.join(table)}\n", status=404)

    return answer


async def ready(asked: Asked) -> ServiceResponse:
    """200 LIVE when the proxy serves, else 503 with the reason."""
    reason = asked.not_ready()
    return _text(f"{reason}\n", status=503) if reason else _text("LIVE\n")


async def server_info(asked: Asked) -> ServiceResponse:
    """Version, uptime, workers."""
    running = asked.running
    return _json(
        {
            "version": importlib.metadata.version("weft"),
            "slice_format": FORMAT,
            "state": "PRE_INITIALIZING" if asked.not_ready() else "LIVE",
            "uptime_s": round(running.clock() - running.started_at, 3),
            "workers": asked.workers(),
            "worker_restarts": asked.restarts,
        }
    )


async def snapshot_page(asked: Asked) -> ServiceResponse:
    """What runs, since when, whether it is fresh, and the last problem of the store and of prepare."""
    running = asked.running
    deployed = running.deployed
    report: dict[str, object] = {
        "running": None,
        "problem": _problem(running.problem),
        "refused": _problem(running.refused),
    }
    if deployed is not None:
        release = deployed.verified.release
        report["running"] = {
            "version": release.version,
            "channel": release.channel,
            "commit": release.commit,
            "break_glass": release.break_glass,
            "digest": deployed.verified.slice.snapshot,
            "slice": deployed.verified.slice.entry.name,
            "behaviour": deployed.verified.slice.entry.behaviour,
            "since": _when(deployed.swapped_at),
            "since_s": deployed.swapped_at,
            "took_ms": round(deployed.took_ms, 3),
            "pause_ms": round(deployed.pause_ms, 3),
            "fresh": running.fresh(),
            "fresh_until": _when(deployed.verified.fresh_until),
        }
    return _json(report)


async def certs(asked: Asked) -> ServiceResponse:
    """The SVID's identity and times, and the trust bundle's subjects. Never a key."""
    svid = asked.running.svid
    if svid is None:
        return _json({"svid": None, "bundle": []})
    leaf, *_ = read_certificates(svid.certificate_chain)
    return _json(
        {
            "svid": {
                "identity": svid.identity,
                "serial": f"{leaf.serial_number:x}",
                "issued_at": _when(svid.issued_at),
                "expires_at": _when(svid.expires_at),
                "expires_in_s": round(svid.expires_at - asked.running.clock()),
            },
            "bundle": [
                {"subject": one.subject.rfc4514_string(), "expires_at": _when(one.not_valid_after_utc.timestamp())}
                for one in read_certificates(svid.bundle)
            ],
        }
    )


async def listeners(asked: Asked) -> ServiceResponse:
    """The slice's listeners with the addresses really bound."""
    return _json(asked.listeners())


async def config_dump(asked: Asked) -> ServiceResponse:
    """The running sections with their positions, as a worker has them."""
    return await _from_worker(asked, "config_dump")


async def clusters(asked: Asked) -> ServiceResponse:
    """Clusters with their endpoints, as a worker has them now."""
    return await _from_worker(asked, "clusters")


async def prometheus(asked: Asked) -> ServiceResponse:
    """All metrics of all workers and of the supervisor, in the Prometheus text format."""
    own = asked.measure().samples()
    parts = [msgspec.msgpack.decode(body, type=MetricsSnapshot) for body in await asked.ask("metrics")]
    text = exposition(merge([MetricsSnapshot(own=own), *parts]), version=importlib.metadata.version("weft"))
    return ServiceResponse(headers=((b"content-type", CONTENT_TYPE),), body=text + await asked.more_metrics())


ADMIN: dict[str, Page] = {
    "/ready": ready,
    "/server_info": server_info,
    "/snapshot": snapshot_page,
    "/listeners": listeners,
    "/clusters": clusters,
    "/config_dump": config_dump,
    "/certs": certs,
    "/stats/prometheus": prometheus,
}
METRICS: dict[str, Page] = {"/stats/prometheus": prometheus}
MERGED: dict[str, Page] = {"/stats/prometheus": prometheus, "/metrics": prometheus, "/healthz/ready": ready}
READINESS: dict[str, Page] = {"/healthz/ready": ready}


async def _from_worker(asked: Asked, page: str) -> ServiceResponse:
    bodies = await asked.ask(page)
    if not bodies:
        return _text("no worker answers\n", status=503)
    return ServiceResponse(headers=JSON, body=bodies[0])


def _problem(problem: object) -> object:
    if problem is None:
        return None
    fields = msgspec.to_builtins(problem)
    return {**fields, "at": _when(fields["at"])}


def _json(value: object) -> ServiceResponse:
    return ServiceResponse(headers=JSON, body=msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _text(text: str, *, status: int = 200) -> ServiceResponse:
    return ServiceResponse(status=status, body=text.encode())


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
