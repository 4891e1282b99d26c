"""``/registry``: workloads come and go, proxies wait for the news.

A registration is a lease of 15 seconds that a sidecar refreshes every 5. Changes are written to the ledger, so that a restart of the
control plane takes nobody's endpoints away; refreshes are not.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Sequence

import msgspec
import trio

from runtime.control.board import Board
from runtime.control.interface import Reason, Registered
from runtime.control.leases import Key, Leases
from runtime.control.ledger import Ledger, LedgerError
from runtime.control.naming import Naming, grant
from runtime.control.refusal import Refused
from runtime.control.routing import JSON, Access, Page, json_reply, read_json, version_of, wait_of
from runtime.service import ServiceRequest, ServiceResponse
from snapshot.live import RegisteredWorkload

log = logging.getLogger("weft.control")

MAX_PORTS = 64
MAX_TEXT = 253
VERSIONS_PER_START = 1 << 32
"""Versions of one start of the control plane; the next start's are all greater, and they stay exact in JSON up to 2**21 starts."""


class WorkloadRegistry:
    """Owns the leases, the registry's version and its encoded form. ``namings`` gives those of the published snapshots, one per channel."""

    def __init__(self, ledger: Ledger, namings: Callable[[], Sequence[Naming]], *, start: int, lease_s: float) -> None:
        self.leases = Leases(lease_s=lease_s)
        self.board = Board(start * VERSIONS_PER_START)
        self._ledger = ledger
        self._namings = namings
        self._encoded = b""
        self._encoded_version = -1
        # One writer, first come first served: a withdrawal never overtakes the registration that it ends.
        self._writes = trio.CapacityLimiter(1)

    def pages(self) -> list[Page]:
        """The routes of the registry."""
        return [
            Page("GET", "/registry", Access.WORKLOAD, self._read),
            Page("PUT", "/registry/", Access.WORKLOAD, self._register),
            Page("DELETE", "/registry/", Access.WORKLOAD, self._withdraw),
        ]

    async def restore(self) -> None:
        """Takes up the registrations that the ledger kept."""
        self.leases.restore(await trio.to_thread.run_sync(self._ledger.registrations), trio.current_time())

    async def expire_forever(self) -> None:
        """Drops registrations when their lease ends. Runs until cancelled."""
        while True:
            await trio.sleep_until(self.leases.next_end(trio.current_time()))
            gone = self.leases.expire(trio.current_time())
            if gone:
                await self._publish([], gone)

    async def _read(self, request: ServiceRequest, _rest: str) -> ServiceResponse:
        known = version_of(request)
        if known is not None and not await self.board.wait_other(known, wait_s=wait_of(request)):
            return ServiceResponse(status=304)
        if self._encoded_version != self.board.version:
            # One encoding per version, however many were waiting for it.
            self._encoded = msgspec.json.encode(self.leases.registry(self.board.version))
            self._encoded_version = self.board.version
        return ServiceResponse(headers=(JSON,), body=self._encoded)

    async def _register(self, request: ServiceRequest, rest: str) -> ServiceResponse:
        namespace, name = _names(rest)
        claim = read_json(request, RegisteredWorkload)
        if (claim.namespace, claim.name) != (namespace, name):
            raise Refused(Reason.MALFORMED, f"the body is about {claim.namespace}/{claim.name}, the path about {rest}")
        _require_plausible(claim)
        granted = grant(self._namings(), claim, request.peer.identity)
        if self.leases.register(granted, trio.current_time()):
            await self._publish([granted], [])
        return json_reply(Registered(version=self.board.version, lease_s=self.leases.lease_s))

    async def _withdraw(self, request: ServiceRequest, rest: str) -> ServiceResponse:
        namespace, name = _names(rest)
        gone = self.leases.withdraw(namespace, name, request.query.get("address", ""), request.peer.identity)
        if gone:
            await self._publish([], gone)
        return ServiceResponse(status=204)

    async def _publish(self, changed: list[RegisteredWorkload], gone: list[Key]) -> None:
        self.board.advance()
        try:
            await trio.to_thread.run_sync(self._ledger.keep_registrations, changed, gone, limiter=self._writes)
        except LedgerError as error:
            # What is in memory is what proxies are told; the ledger is only for the next start.
            log.warning("a registration was not kept for the next start: %s", error)


def _names(rest: str) -> tuple[str, str]:
    namespace, _, name = rest.partition("/")
    if not namespace or not name or "/" in name or len(rest) > 2 * MAX_TEXT:
        raise Refused(Reason.MALFORMED, f"/registry/{rest[:80]} is not /registry/<namespace>/<name>")
    return namespace, name


def _require_plausible(claim: RegisteredWorkload) -> None:
    try:
        address = ipaddress.ip_address(claim.address)
    except ValueError:
        raise Refused(Reason.ADDRESS, f"{claim.address[:80]} is not an IP address") from None
    if address.is_unspecified or address.is_multicast or claim.address == "255.255.255.255":
        raise Refused(Reason.ADDRESS, f"{claim.address} is not the address of one workload")
    if len(claim.ports) > MAX_PORTS or not all(0 < port < 65_536 for _, port in claim.ports):
        raise Refused(Reason.ADDRESS, f"ports must be at most {MAX_PORTS}, each from 1 to 65535")
    texts = (claim.locality, claim.cluster, *(name for name, _ in claim.ports))
    if any(len(text) > MAX_TEXT for text in texts):
        raise Refused(Reason.MALFORMED, f"locality, cluster and port names have at most {MAX_TEXT} characters")
