"""The pages that Envoy has, too, by Envoy's paths, parameters and forms."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
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
from runtime.service import ServiceRequest, ServiceResponse
from runtime.telemetry import MetricsSnapshot, exposition, merge
from runtime.telemetry.exposition import CONTENT_TYPE
from snapshot.decoding import json_decoder, packed_decoder
from snapshot.encode import FORMAT

DAY_S = 86_400


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
            "state": "PRE_INITIALIZING" if asked.not_ready() else "LIVE",
            "uptime_current_epoch": f"{int(uptime_s)}s",
            "uptime_all_epochs": f"{int(uptime_s)}s",
            "uptime_s": round(uptime_s, 3),
            "command_line_options": {"concurrency": asked.bootstrap.workers, "mode": "Serve"},
            "node": {"id": running.deployed.verified.slice.entry.name if running.deployed else ""},
            "engine": asked.bootstrap.engine,
            "workers": asked.workers(),
            "worker_restarts": asked.restarts,
        }
    )


async def listeners(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """The slice's listeners with the addresses really bound."""
    bound = asked.listeners()
    if request.query.get("format") != "json":
        return text_answer("".join(f"{name}::{address}\n" for name, address in bound.items()))
    statuses = []
    for name, address in bound.items():
        host, _, port = address.rpartition(":")
        local = {"socket_address": {"address": host, "port_value": int(port)}}
        statuses.append({"name": name, "local_address": local})
    return json_answer({"listener_statuses": statuses})


async def config_dump(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """What is configured, as Envoy's resources."""
    native = await _native(asked, "/config_dump", request.query)
    if native is not None:
        return native
    deployed = asked.running.deployed
    if deployed is None:
        return json_answer({"configs": []})
    slice_, svid, since = deployed.verified.slice, asked.running.svid, deployed.swapped_at
    return json_answer(await trio.to_thread.run_sync(dump_of, slice_, asked.bootstrap, svid, since))


async def clusters(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Clusters with their endpoints as they are now."""
    native = await _native(asked, "/clusters", request.query)
    if native is not None:
        return native
    statuses = await _cluster_statuses(asked)
    if request.query.get("format") == "json":
        return json_answer(cluster_page.as_json(statuses))
    return text_answer(cluster_page.as_text(statuses))


async def certs(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
    """The SVID and the trust bundle: names, serials and times. Never a key."""
    svid = asked.running.svid
    if svid is None:
        return json_answer({"certificates": []})
    now = asked.running.clock()
    chain = [_certificate(one, now) for one in read_certificates(svid.certificate_chain)]
    bundle = [_certificate(one, now) for one in read_certificates(svid.bundle)]
    return json_answer({"certificates": [{"ca_cert": bundle, "cert_chain": chain}]})


async def stats(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Every number under a flat name; ``format`` is ``text``, ``json`` or ``prometheus``."""
    form = request.query.get("format", "text")
    if form == "prometheus":
        return await prometheus(asked, request)
    native = await _native(asked, "/stats", request.query)
    if native is not None:
        return native
    if form not in ("text", "json"):
        return text_answer("format is one of text, json, prometheus\n", status=400)
    statuses = await _cluster_statuses(asked)
    facts = {
        "server.live": 0 if asked.not_ready() else 1,
        "server.uptime": int(asked.running.clock() - asked.running.started_at),
        "server.concurrency": asked.bootstrap.workers,
        "cluster_manager.active_clusters": len(statuses),
        "listener_manager.total_listeners_active": len(asked.listeners()),
    }
    every = stats_page.stats(await _merged(asked), statuses, facts)
    try:
        found = stats_page.asked_for(every, request.query)
    except stats_page.StatQueryError as error:
        return text_answer(f"{error}\n", status=400)
    return json_answer(stats_page.as_json(found)) if form == "json" else text_answer(stats_page.as_text(found))


async def prometheus(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
    """All metrics of all workers and of the supervisor, in the Prometheus text format."""
    text = exposition(await _merged(asked), version=importlib.metadata.version("weft"))
    return ServiceResponse(headers=((b"content-type", CONTENT_TYPE),), body=text + await asked.more_metrics())


async def merged(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """The same, and behind it what the application itself measures."""
    application = await asked.application_metrics()
    own = await prometheus(asked, request)
    return ServiceResponse(headers=own.headers, body=own.body + application)


async def memory(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
    """What the processes take."""
    return json_answer(processes.memory([processes.own(), *asked.workers().values()]))


async def levels(_asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """The loggers' levels. Who wants to set them must ask with POST."""
    if request.query:
        return text_answer("levels are set with POST\n", status=405)
    return text_answer(processes.as_text())


async def set_levels(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Sets the loggers' levels as the parameters say, in all processes, and shows what they now are."""
    try:
        wanted = processes.wanted_levels(request.query)
    except processes.LevelError as error:
        return text_answer(f"{error}\n", status=400)
    if wanted:
        await asked.set_levels(wanted)
    return text_answer(processes.as_text())


async def _merged(asked: Asked) -> MetricsSnapshot:
    parts = [packed_decoder(MetricsSnapshot).decode(body) for body in await asked.ask("metrics")]
    return merge([MetricsSnapshot(own=asked.measure().samples()), *parts])


async def _cluster_statuses(asked: Asked) -> Sequence[ClusterStatus]:
    bodies = await asked.ask("clusters")
    return cluster_page.added([json_decoder(list[ClusterStatus]).decode(body) for body in bodies])


async def _native(asked: Asked, path: str, query: dict[str, str]) -> ServiceResponse | None:
    body = await asked.native(path, query)
    if body is None:
        return None
    return ServiceResponse(headers=JSON, body=body) if body[:1] in (b"{", b"[") else ServiceResponse(body=body)


def _certificate(certificate: x509.Certificate, now: float) -> dict[str, Any]:
    expires_at = certificate.not_valid_after_utc.timestamp()
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    return {
        "path": "<inline>",
        "serial_number": f"{certificate.serial_number:x}",
        "subject_alt_names": [{"uri": uri} for uri in uris],
        "days_until_expiration": str(max(0, int((expires_at - now) // DAY_S))),
        "valid_from": written(certificate.not_valid_before_utc.timestamp()),
        "expiration_time": written(expires_at),
    }
