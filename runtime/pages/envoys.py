"""The pages that Envoy has, too, by Envoy's paths, parameters and forms."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import trio
from cryptography import x509

from runtime.identity.certificate import read_certificates
from runtime.pages import clusters as cluster_page
from runtime.pages import processes
from runtime.pages import stats as stats_page
from runtime.pages.asked import JSON, Asked, json_answer, text_answer, written
from runtime.pages.clusters import ClusterStatus
from runtime.pages.config import config_dump as dump_of
from runtime.pages.config import node_of
from runtime.pages.dumped import DumpQueryError, asked_for
from runtime.pages.filters import FilterError, expression
from runtime.pages.stats import Stats
from runtime.service import ServiceRequest, ServiceResponse
from runtime.telemetry import MetricsSnapshot, exposition, merge
from runtime.telemetry.exposition import CONTENT_TYPE
from snapshot.decoding import json_decoder, packed_decoder
from snapshot.encode import FORMAT

DAY_S = 86_400
NO_CERTIFICATE = 4_294_967_295
"""The days that Envoy shows where no certificate can end."""
STATES = ("LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING")
"""Envoy's states of a server, in the order of its numbers."""


async def ready(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
    """200 LIVE when the proxy serves, else 503 with the reason."""
    reason = asked.not_ready()
    return text_answer(f"{reason}\n", status=503) if reason else text_answer("LIVE\n")


async def server_info(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
    """Version, state, uptime, workers."""
    running = asked.running
    uptime_s = running.clock() - running.started_at
    version = importlib.metadata.version("weft")
    return json_answer(
        {
            "version": version,
            "slice_format": FORMAT,
            "state": server_state(asked),
            "uptime_current_epoch": f"{int(uptime_s)}s",
            "uptime_all_epochs": f"{int(uptime_s)}s",
            "uptime_s": round(uptime_s, 3),
            "hot_restart_version": "disabled",
            "command_line_options": {
                "concurrency": asked.bootstrap.workers,
                "drain_time": f"{asked.leaving.drain_s:g}s",
                "mode": "Serve",
                "restart_epoch": 0,
            },
            "node": node_of(running.deployed.facts.proxy) if running.deployed else {},
            "engine": asked.bootstrap.engine,
            "workers": asked.workers(),
            "worker_restarts": asked.restarts,
        }
    )


def server_state(asked: Asked) -> str:
    """Envoy's word for how far a proxy is: with a snapshot but not ready it initialises, without one it has not begun."""
    if asked.leaving.unhealthy:
        return "DRAINING"
    if not asked.not_ready():
        return "LIVE"
    return "INITIALIZING" if asked.running.deployed is not None else "PRE_INITIALIZING"


async def listeners(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """The slice's listeners with the addresses really bound, but for those that were drained."""
    bound = _open_listeners(asked)
    if request.query.get("format") != "json":
        return text_answer("".join(f"{name}::{address}\n" for name, address in bound.items()))
    statuses = []
    for name, address in bound.items():
        host, _, port = address.rpartition(":")
        local = {"socket_address": {"address": host, "port_value": int(port)}}
        statuses.append({"name": name, "local_address": local})
    return json_answer({"listener_statuses": statuses})


def _open_listeners(asked: Asked) -> dict[str, str]:
    deployed = asked.running.deployed
    closed = {one.name for one in deployed.facts.listeners if asked.leaving.has_closed(one)} if deployed else set()
    return {name: address for name, address in asked.listeners().items() if name not in closed}


async def config_dump(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """What is configured, as Envoy's resources."""
    native = await _native(asked, "/config_dump", request.query)
    if native is not None:
        return native
    deployed = asked.running.deployed
    if deployed is None:
        return json_answer({"configs": []})
    endpoints = await _cluster_statuses(asked) if "include_eds" in request.query else None
    make = partial(
        dump_of,
        deployed.verified.slice,
        asked.bootstrap,
        asked.running.svid,
        deployed.swapped_at,
        credentials=asked.credentials(),
        endpoints=endpoints,
    )
    try:
        return json_answer(asked_for(await trio.to_thread.run_sync(make), request.query))
    except DumpQueryError as error:
        return text_answer(f"{error}\n", status=error.status)


async def clusters(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Clusters with their endpoints as they are now."""
    native = await _native(asked, "/clusters", request.query)
    if native is not None:
        return native
    statuses = await _cluster_statuses(asked)
    try:
        wanted = expression(request.query.get("filter", ""))
    except FilterError as error:
        return text_answer(f"{error}\n", status=400)
    statuses = [one for one in statuses if wanted.search(one.name)]
    if request.query.get("format") == "json":
        return json_answer(cluster_page.as_json(statuses))
    return text_answer(cluster_page.as_text(statuses))


async def certs(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
    """The SVID with the trust bundle, then the credentials of the slice's slots: names, serials and times. Never a key."""
    svid, now = asked.running.svid, asked.running.clock()
    pairs = [(svid.bundle, svid.certificate_chain)] if svid is not None else []
    pairs += [(one.ca, one.certificate_chain) for one in asked.credentials()]
    found = [
        {"ca_cert": _certificates(bundle, now), "cert_chain": _certificates(chain, now)} for bundle, chain in pairs
    ]
    return json_answer({"certificates": found})


def _certificates(pem: bytes, now: float) -> list[dict[str, Any]]:
    return [_certificate(one, now) for one in read_certificates(pem)] if pem else []


async def stats(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Every number under a flat name; ``format`` is ``text``, ``json`` or ``prometheus``."""
    form = request.query.get("format", "text")
    if form == "prometheus":
        return await prometheus(asked, request)
    native = await _native(asked, "/stats", request.query)
    if native is not None:
        return native
    if form not in ("text", "json"):
        return text_answer("usage: /stats?format=(json|prometheus|text)\n", status=400)
    every = await _every_stat(asked)
    every = Stats(every.numbers, asked.running.intervals.close(every.histograms, asked.running.clock()))
    try:
        found = stats_page.asked_for(every, request.query)
    except (stats_page.StatQueryError, FilterError) as error:
        return text_answer(f"{error}\n", status=400)
    buckets = request.query.get("histogram_buckets", "")
    if form == "json":
        return json_answer(stats_page.as_json(found, buckets))
    return text_answer(stats_page.as_text(found, buckets))


async def _every_stat(asked: Asked) -> Stats:
    statuses = await _cluster_statuses(asked)
    workers = await _measured(asked)
    merged = merge([MetricsSnapshot(own=asked.measure().samples()), *workers])
    return stats_page.stats(workers, merged, statuses, _facts(asked, len(statuses), merged), asked.listeners())


def _facts(asked: Asked, clusters: int, merged: MetricsSnapshot) -> dict[str, int]:
    """What Envoy's server says of itself."""
    taken = processes.memory([processes.own(), *asked.workers().values()])
    open_now = (one.value for one in merged.own if (one.name, one.labels) == ("weft_connections", ("downstream",)))
    ends = asked.running.expiries.values()
    days = int((min(ends) - asked.running.clock()) // DAY_S) if ends else NO_CERTIFICATE
    state = server_state(asked)
    return {
        "server.live": int(state == "LIVE"),
        "server.state": list(STATES).index(state),
        "server.uptime": int(asked.running.clock() - asked.running.started_at),
        "server.concurrency": asked.bootstrap.workers,
        "server.hot_restart_epoch": 0,
        "server.total_connections": int(sum(open_now)),
        "server.days_until_first_cert_expiring": max(days, 0),
        "server.memory_allocated": int(str(taken["allocated"])),
        "server.memory_heap_size": int(str(taken["heap_size"])),
        "server.memory_physical_size": int(str(taken["total_physical_bytes"])),
        "cluster_manager.active_clusters": clusters,
        "cluster_manager.warming_clusters": 0,
        "listener_manager.total_listeners_active": len(_open_listeners(asked)),
        "listener_manager.total_listeners_warming": 0,
        "listener_manager.total_listeners_draining": len(asked.leaving.closed),
        "listener_manager.workers_started": int(bool(asked.workers())),
    }


async def prometheus(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """All metrics of all workers and of the supervisor, in the Prometheus text format; ``filter`` and ``usedonly`` leave some out."""
    text = exposition(await _merged(asked), version=importlib.metadata.version("weft")) + await asked.more_metrics()
    try:
        text = stats_page.families_asked_for(text, request.query)
    except (stats_page.StatQueryError, FilterError) as error:
        return text_answer(f"{error}\n", status=400)
    return ServiceResponse(headers=((b"content-type", CONTENT_TYPE),), body=text)


async def merged(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """The same, and behind it what the application itself measures."""
    application = await asked.application_metrics()
    own = await prometheus(asked, request)
    return ServiceResponse(headers=own.headers, body=own.body + application)


async def memory(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
    """What the processes take."""
    return json_answer(processes.memory([processes.own(), *asked.workers().values()]))


async def levels(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """The loggers' levels, and behind them the engine's where it has its own. Who wants to set them must ask with POST."""
    if request.query:
        return text_answer("levels are set with POST\n", status=405)
    native = await _native(asked, "/logging", {}, method="POST")
    return text_answer(processes.as_text() + (native.body.decode() if native is not None else ""))


async def set_levels(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Sets the loggers' levels as the parameters say, in all processes, and shows what they now are. Names that are not ours may be the
    engine's."""
    try:
        wanted = processes.wanted_levels(request.query)
    except processes.LevelError as error:
        return await _native(asked, "/logging", request.query, method="POST") or text_answer(f"{error}\n", status=400)
    if wanted:
        await asked.set_levels(wanted)
    engine = {"level": wanted[processes.PREFIX]} if "level" in request.query else {}
    native = await _native(asked, "/logging", engine, method="POST")
    return text_answer(processes.as_text() + (native.body.decode() if native is not None else ""))


async def _measured(asked: Asked) -> list[MetricsSnapshot]:
    return [packed_decoder(MetricsSnapshot).decode(body) for body in await asked.ask("metrics")]


async def _merged(asked: Asked) -> MetricsSnapshot:
    return merge([MetricsSnapshot(own=asked.measure().samples()), *await _measured(asked)])


async def _cluster_statuses(asked: Asked) -> Sequence[ClusterStatus]:
    bodies = await asked.ask("clusters")
    return cluster_page.added([json_decoder(list[ClusterStatus]).decode(body) for body in bodies])


async def _native(asked: Asked, path: str, query: dict[str, str], *, method: str = "GET") -> ServiceResponse | None:
    answer = await asked.native(path, query, method=method)
    if answer is None:
        return None
    status, body = answer
    if body[:1] in (b"{", b"["):
        return ServiceResponse(status, JSON, body)
    return ServiceResponse(status, body=body)


def _alternative(name: x509.GeneralName) -> Iterator[dict[str, str]]:
    """A name as Envoy shows it; those of other kinds it leaves out, too."""
    match name:
        case x509.UniformResourceIdentifier(value=uri):
            yield {"uri": uri}
        case x509.DNSName(value=host):
            yield {"dns": host}
        case x509.IPAddress(value=address):
            yield {"ip_address": str(address)}
        case _:
            return


def _certificate(certificate: x509.Certificate, now: float) -> dict[str, Any]:
    expires_at = certificate.not_valid_after_utc.timestamp()
    try:
        names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    return {
        "path": "<inline>",
        "serial_number": f"{certificate.serial_number:x}",
        "subject_alt_names": [shown for name in names for shown in _alternative(name)],
        "days_until_expiration": str(max(0, int((expires_at - now) // DAY_S))),
        "valid_from": written(certificate.not_valid_before_utc.timestamp()),
        "expiration_time": written(expires_at),
    }
