"""The pages that Envoy has not: which snapshot runs, its sections with their positions, why a request is decided as it is, who is connected."""

from __future__ import annotations

import msgspec
import trio

from runtime.pages import connections as connection_page
from runtime.pages.asked import Asked, json_answer, text_answer, written
from runtime.pages.config import section_page
from runtime.pages.connections import Connections
from runtime.pages.explaining import ExplainError
from runtime.pages.explaining import explain as explain_request
from runtime.service import ServiceRequest, ServiceResponse
from snapshot.decoding import json_decoder


async def snapshot(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
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
            "since": written(deployed.swapped_at),
            "since_s": deployed.swapped_at,
            "took_ms": round(deployed.took_ms, 3),
            "pause_ms": round(deployed.pause_ms, 3),
            "fresh": running.fresh(),
            "fresh_until": written(deployed.verified.fresh_until),
        }
    return json_answer(report)


async def sections(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
    """The running sections with their positions in the mesh repository."""
    deployed = asked.running.deployed
    if deployed is None:
        return json_answer({"snapshot": "", "behaviour": "", "sections": []})
    return json_answer(await trio.to_thread.run_sync(section_page, deployed.verified.slice))


async def explain(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """What the serving slice decides about the request that the query describes."""
    deployed = asked.running.deployed
    if deployed is None:
        return text_answer("no snapshot serves yet\n", status=503)
    try:
        found = await trio.to_thread.run_sync(
            explain_request, deployed.verified.slice, request.query, asked.token_keys()
        )
    except ExplainError as error:
        return text_answer(f"{error}\n", status=400)
    return json_answer(found)


async def connections(asked: Asked, _request: ServiceRequest) -> ServiceResponse:
    """The downstream connections that are open."""
    bodies = await asked.ask("connections")
    return json_answer(connection_page.added([json_decoder(Connections).decode(body) for body in bodies]))


def _problem(problem: object) -> object:
    if problem is None:
        return None
    fields = msgspec.to_builtins(problem)
    return {**fields, "at": written(fields["at"])}
