"""``/status``: what each proxy says that it runs, beside what is published. Kept in memory: proxies report again within seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from runtime.control.board import Board
from runtime.control.interface import ProxyStatus, Reason, StatusReport
from runtime.control.refusal import Refused
from runtime.control.routing import Access, Page, json_reply, read_json, version_of, wait_of
from runtime.service import ServiceRequest, ServiceResponse

FORGET_S = 900.0
"""A proxy that says nothing for this long is gone from the report."""

MAX_PROXIES = 100_000
MAX_ID = 512
MAX_ERROR = 4096


class StatusBoard:
    """Owns the last word of each proxy. An id belongs to the identity that reported it first, until it is forgotten."""

    def __init__(self, published: Callable[[], Mapping[str, int]], *, clock: Callable[[], float]) -> None:
        self.board = Board(1)
        self._published = published
        self._clock = clock
        self._proxies: dict[str, ProxyStatus] = {}

    def pages(self) -> list[Page]:
        """The routes of the status board. Reading shows no addresses but those of proxies, no configuration and no secret."""
        return [
            Page("GET", "/status", Access.ANYONE, self._read),
            Page("PUT", "/status/", Access.WORKLOAD, self._write),
        ]

    def put(self, status: ProxyStatus, identity: str) -> None:
        """Takes one report; raises Refused where the id is another identity's."""
        now = self._clock()
        held = self._proxies.get(status.proxy)
        if held is not None and held.identity != identity and now - held.seen_at < FORGET_S:
            raise Refused(Reason.CONFLICT, f"{status.proxy} is reported by {held.identity}, not {identity}")
        if held is None and len(self._proxies) >= MAX_PROXIES:
            raise Refused(Reason.UNAVAILABLE, f"the status board is full ({MAX_PROXIES} proxies)")
        new = msgspec.structs.replace(status, identity=identity, seen_at=now, error=status.error[:MAX_ERROR])
        self._proxies[status.proxy] = new
        if held is None or msgspec.structs.replace(held, seen_at=now) != new:
            self.board.advance()

    def report(self) -> StatusReport:
        """All proxies that reported lately, by id."""
        oldest = self._clock() - FORGET_S
        for proxy in [name for name, status in self._proxies.items() if status.seen_at < oldest]:
            del self._proxies[proxy]
        proxies = tuple(self._proxies[name] for name in sorted(self._proxies))
        return StatusReport(version=self.board.version, published=dict(self._published()), proxies=proxies)

    async def _read(self, request: ServiceRequest, _rest: str) -> ServiceResponse:
        known = version_of(request)
        if known is not None and not await self.board.wait_other(known, wait_s=wait_of(request)):
            return ServiceResponse(status=304)
        return json_reply(self.report())

    async def _write(self, request: ServiceRequest, rest: str) -> ServiceResponse:
        if not rest or len(rest) > MAX_ID:
            raise Refused(Reason.MALFORMED, f"/status/{rest[:80]} is not /status/<proxy id>")
        status = msgspec.structs.replace(read_json(request, ProxyStatus), proxy=rest)
        caller = _namespace(request.peer.identity)
        if status.namespace != caller:
            raise Refused(Reason.IDENTITY, f"{request.peer.identity} may not report for namespace {status.namespace!r}")
        self.put(status, request.peer.identity)
        return ServiceResponse(status=204)


def _namespace(identity: str) -> str:
    parts = identity.split("/")
    return parts[4] if len(parts) == 7 and parts[3] == "ns" else ""
