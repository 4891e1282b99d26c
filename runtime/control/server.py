"""The control plane from top to bottom: open the state, bind, then serve, sign, watch and expire until told to stop.

Everything that blocks (SQLite, file syncs, signatures) runs in threads; everything that waits is Trio. Nothing here is in the path of a
request of the mesh.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import trio

from runtime.control import ca, state
from runtime.control.ca_pages import Issuance
from runtime.control.interface import LEASE_S
from runtime.control.keyfiles import StateError
from runtime.control.ledger import LedgerError
from runtime.control.metrics import Metric, Values
from runtime.control.monitoring import monitoring
from runtime.control.publication import Publication
from runtime.control.registry import WorkloadRegistry
from runtime.control.routing import Router
from runtime.control.server_certificate import ServerCertificate, expiries
from runtime.control.status import StatusBoard
from runtime.control.store_pages import MAX_FILE_BYTES, StorePages
from runtime.control.timestamps import TimestampSigner
from runtime.service import ServiceListener
from runtime.service_server import serve
from snapshot.store_directory import DirectoryStore
from snapshot.trust.keys import KeyProblem, SigningKeys, load_keys
from snapshot.trust.layout import ONLINE_ROLES
from snapshot.trust.publisher import sign_timestamp

MAINTENANCE_S = 3600.0
"""How often certificates are looked at for renewal; every life here is counted in days."""

log = logging.getLogger("weft.control")

Address = tuple[str, int]


class ControlSettings(msgspec.Struct, frozen=True):
    """What ``weft control`` was told. ``hosts`` are further names and addresses for the server's certificate."""

    state: Path
    store: Path
    listen: Address
    monitoring: Address
    trust_domain: str | None = None
    online_keys: Path | None = None
    svid_ttl_s: float = ca.DAY_S
    publish_token: str = ""
    hosts: tuple[str, ...] = ()
    lease_s: float = LEASE_S


class Started(msgspec.Struct, frozen=True):
    """Where a control plane listens, and whether this start made its authority."""

    api: Address
    monitoring: Address
    created: bool
    trust_domain: str


class ControlPlane:
    """Owns the parts of one control plane. Made by ``open_control_plane``, which blocks; ``run`` serves until cancelled."""

    def __init__(self, settings: ControlSettings, opened: state.State, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._state = opened
        self._clock = clock
        ledger = opened.ledger
        hosts = [settings.listen[0], "localhost", "127.0.0.1", "::1", socket.gethostname(), *settings.hosts]
        self.certificate = ServerCertificate(opened.folder / "tls", _certifiable(hosts), ledger, clock=clock)
        self.certificate.renew(opened.authority)
        self.issuance = Issuance(opened.authority, ledger, clock=clock, svid_ttl_s=settings.svid_ttl_s)
        store = DirectoryStore(settings.store)
        keys = _online_keys(settings.online_keys)
        self.publication = Publication(store, settings.store, pinned_root=keys.root if keys else b"")
        start = ledger.count_start(now=clock())
        namings = self.publication.namings
        self.registry = WorkloadRegistry(ledger, namings, start=start, lease_s=settings.lease_s)
        self.status = StatusBoard(self.publication.versions, clock=clock)
        sign = partial(_sign, store, keys, clock) if keys else None
        self.signer = TimestampSigner(lambda: self.publication.expires, sign, clock=clock)
        self.stores = StorePages(store, self.publication.board, self.publication.look)
        parts = (self.issuance, self.registry, self.status, self.stores)
        pages = [page for part in parts for page in part.pages()]
        self.router = Router(pages, trust_domain=opened.trust_domain, publish_token=settings.publish_token)

    async def run(self, *, task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; starts when both ports accept. Closes the ledger at the end."""
        api = _bind(self._settings.listen)
        watch = _bind(self._settings.monitoring)
        try:
            await self.registry.restore()
            await self.publication.refresh()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.registry.expire_forever)
                nursery.start_soon(self.publication.follow_forever, self.status.board.advance)
                nursery.start_soon(self.signer.sign_forever, self.publication.look)
                nursery.start_soon(self._maintain_forever)
                listener = ServiceListener(api, self.certificate.context)
                answer = partial(serve, self.router.answer, [listener], max_body_bytes=MAX_FILE_BYTES)
                (bound,) = await nursery.start(answer)
                pages = monitoring(self._values, self._problem)
                (watched,) = await nursery.start(partial(serve, pages, [ServiceListener(watch)], max_body_bytes=1024))
                task_status.started(Started(bound, watched, self._state.created, self._state.trust_domain))
        finally:
            self._state.ledger.close()

    async def _maintain_forever(self) -> None:
        while True:
            await trio.sleep(MAINTENANCE_S)
            try:
                self.issuance.authority = await trio.to_thread.run_sync(self._renew)
            except (StateError, LedgerError, OSError) as error:
                # The old certificates go on; cert_expiry_seconds is what alerts.
                log.warning("certificates were not renewed: %s", error)

    def _renew(self) -> ca.Authority:
        folder = self._state.folder / "ca"
        authority = ca.create_or_open(folder, self._state.trust_domain, now=self._clock())
        if self.certificate.renew(authority):
            log.info("renewed the control plane's own certificate")
        return authority

    def _problem(self) -> str:
        return self.signer.problem or self.publication.problem

    def _values(self) -> Values:
        now = self._clock()
        ends = {end.role: end.at - now for end in expiries(self.issuance.authority, self.certificate)}
        ends |= {f"tuf-{role}": at - now for role, at in self.publication.expires.items()}
        proxies = self.status.report().proxies
        failing = sum(1 for proxy in proxies if proxy.error)
        return {
            Metric.CERT_EXPIRY: ends,
            Metric.ISSUED: self.issuance.issued,
            Metric.REFUSED: {reason.value: count for reason, count in self.router.refused.items()},
            Metric.WORKLOADS: {"": len(self.registry.leases)},
            Metric.REGISTRY_VERSION: {"": self.registry.board.version},
            Metric.PROXIES: {"error": failing, "fine": len(proxies) - failing},
            Metric.PUBLISHED: self.publication.versions(),
            Metric.PUBLISH: {"": self.publication.seen},
            Metric.SIGNED: {"": self.signer.signed},
            Metric.SIGN_FAILED: {"": self.signer.failed},
            Metric.STORE_PROBLEM: {"": 1 if self.publication.problem else 0},
        }


def open_control_plane(settings: ControlSettings, *, clock: Callable[[], float] = time.time) -> ControlPlane:
    """Opens or makes the state and every part. Blocks. Raises StateError with the file and the next step."""
    opened = state.create_or_open(settings.state, settings.trust_domain, now=clock())
    return ControlPlane(settings, opened, clock=clock)


def _online_keys(folder: Path | None) -> SigningKeys | None:
    if folder is None:
        return None
    try:
        return load_keys(folder, ONLINE_ROLES)
    except KeyProblem as error:
        raise StateError(str(error)) from None


def _sign(store: DirectoryStore, keys: SigningKeys, clock: Callable[[], float]) -> None:
    sign_timestamp(store, keys, now=dt.datetime.fromtimestamp(clock(), dt.UTC))


def _bind(address: Address) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        return socket.create_server(address, family=family, backlog=1024)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        advice = "end what listens there, or give another address and port"
        raise StateError(f"cannot listen on {address[0]}:{address[1]}: {why}; {advice}") from None


def _certifiable(hosts: list[str]) -> list[str]:
    return [host for host in dict.fromkeys(hosts) if host not in ("", "0.0.0.0", "::")]  # noqa: S104  compared, not bound
