"""The supervisor from top to bottom: what a proxy does from its start to its end, and what each piece of news leads to.

Everything arrives as news: a verified slice, a certificate, a registry, addresses, keys, a signal. Each is passed to the fleet, which passes
it to every worker. Nothing that fails here stops what serves.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio

from policies.tokens import KeySource
from runtime.bootstrap import Bootstrap
from runtime.credentials import CredentialFiles
from runtime.discovery.control import ControlClient
from runtime.discovery.names import Names, look_up
from runtime.discovery.registry import Registration, RegistryFollower
from runtime.fetch import follow
from runtime.fetch.news import FetchProblem, News, VerifiedSlice
from runtime.fetch.saved import require_root
from runtime.health.prober import Prober
from runtime.identity.keeper import IdentityKeeper
from runtime.identity.saved import SavedIdentity
from runtime.ipc import LiveUpdate
from runtime.issuers import KeySetFetcher, KeySets
from runtime.pages.processes import set_levels
from runtime.socket_address import shown
from runtime.supervisor.dns import DnsPart
from runtime.supervisor.engines import fleet_for, sockets_for
from runtime.supervisor.facts import SliceFacts, read_facts
from runtime.supervisor.fleet import WORKER_COMMAND, Outcome
from runtime.supervisor.handover import FORMAT, Handed, HandoverError, Inherited, execute, numbers_of, preflight
from runtime.supervisor.leaving import DRAIN_S, Leaving
from runtime.supervisor.pages import open_pages
from runtime.supervisor.readiness import why_not_ready
from runtime.supervisor.reports import registration_of, report_forever
from runtime.supervisor.running import Running
from runtime.supervisor.scraping import application_metrics
from runtime.supervisor.sockets import Address, BindError, wanted_addresses, with_real_ports
from runtime.supervisor.tasks import Task, keep_running
from runtime.telemetry import Instruments
from snapshot.decoding import json_decoder
from snapshot.encode import FormatError
from snapshot.live import Credential, FetchedKeys, Registry, Resolved, Svid

ATTEMPTS = {"bind": 1_000_000, "worker": 2}
"""How often a slice is tried that was refused by a circumstance: a taken port may become free, and a worker may have been killed by chance;
but a slice that kills workers costs their connections each time. What does not load is never tried again."""

LONGEST_RETRY_S = 15.0
UPGRADE_S = 0.2
"""How long the answer to a request for an upgrade has to get out."""

WITHDRAW_S = 0.3
"""How long peers get to hear that this workload has left the registry, before it stops to accept."""

KeySources = tuple[KeySource, ...]

log = logging.getLogger("weft.proxy")


class Supervisor:
    """Owns one proxy: its sockets, its fleet, and the tasks that bring news. ``kind`` is sidecar, ingress or egress, by name only."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        *,
        command: Sequence[str] = WORKER_COMMAND,
        inherited: Inherited | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        require_root(bootstrap)
        inherited = inherited or Inherited()
        workers = max(bootstrap.workers, inherited.workers_per_address)
        if workers > bootstrap.workers:
            # What waits in a queue of the program before must find a worker.
            log.warning("%d workers until the next restart, as before the upgrade", workers)
        bootstrap = msgspec.structs.replace(bootstrap, workers=workers)
        self.bootstrap = with_real_ports(bootstrap, outbound=inherited.outbound)
        self.running = Running(clock=clock)
        self._state = Path(bootstrap.state)
        self._sockets = sockets_for(bootstrap, inherited)
        self._page_sockets = dict(inherited.pages)
        self.fleet = fleet_for(self.bootstrap, self._sockets, command=command, inherited=inherited)
        self._names = Names()
        fetcher = KeySetFetcher(bootstrap.jwks_hosts, authority=bootstrap.jwks_ca, look_up=look_up)
        self._key_sets = KeySets(fetcher.fetch, self._state, clock=clock)
        self.dns = DnsPart(self.bootstrap, self.running.instruments, self._page_sockets, self._start_task)
        self._credentials = CredentialFiles(bootstrap.credentials)
        self._prober = Prober(self.bootstrap)
        self._control = ControlClient(bootstrap.control, bootstrap.control_ca) if bootstrap.control else None
        self._registration = Registration(self._control) if self._control else None
        self._keeper = (
            IdentityKeeper(self._control, SavedIdentity(self._state), bootstrap.join_token, clock=clock)
            if self._control
            else None
        )
        self.leaving = Leaving(
            self.bootstrap,
            self.running,
            self.fleet,
            self._sockets,
            on_change=self._on_change,
            withdraw=self._leave_registry,
        )
        self._nursery: trio.Nursery | None = None
        self._stopping = trio.Event()
        self._ready = trio.Event()
        self._was_ready = False
        self._withdrawn = False
        self.pages: dict[str, Address] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until ``stop``; then drains and returns. Starts when the admin pages answer. Raises BindError for a taken page port."""
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self.pages = await open_pages(nursery, self.bootstrap, self, self._page_sockets)
                self._start_tasks(nursery)
                task_status.started()
                await self._stopping.wait()
                await self._end()
                nursery.cancel_scope.cancel()
        finally:
            self._sockets.release(self._sockets.names())
            if self._control is not None:
                with trio.CancelScope(shield=True):
                    await self._control.close()

    def stop(self) -> None:
        """Asks for a graceful end: drain, then return."""
        self._stopping.set()

    async def preflight(self) -> None:
        """Asks the program that is installed now whether it could take over; raises HandoverError."""
        await preflight()

    async def upgrade_soon(self) -> None:
        """Becomes that program, in a moment; where that fails in spite of all, says why."""
        await trio.sleep(UPGRADE_S)
        try:
            await self.upgrade()
        except HandoverError as error:
            log.error("no upgrade: %s; what serves goes on", error)  # noqa: TRY400  the reason says it all

    async def upgrade(self) -> None:
        """Becomes the program that was asked by ``preflight``, without letting go of a connection; raises HandoverError, and then nothing has
        changed."""
        async with self.fleet.held() as workers:
            if self.stopping:
                raise HandoverError("the proxy is ending")
            sockets = numbers_of(self._sockets.all())
            pages = {name: one.fileno() for name, one in self._page_sockets.items()}
            log.info("upgrading in place; %d workers serve meanwhile", len(workers))
            try:
                execute(Handed(FORMAT, sockets, pages, workers, self.bootstrap.ports.outbound))
            except OSError as error:
                raise HandoverError(f"the program cannot be run: {error.strerror}") from None

    def in_background(self, act: Callable[[], Awaitable[None]]) -> None:
        """Runs something until it is done, or the proxy ends."""
        assert self._nursery is not None
        self._nursery.start_soon(act)

    def _start_task(self, name: str, task: Task) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(keep_running, name, task)

    async def wait_ready(self) -> None:
        """Waits until the proxy was ready for the first time."""
        await self._ready.wait()

    async def withdraw(self) -> None:
        """Leaves the registry for good and gives peers the moment to hear of it; what still comes is served."""
        self._withdrawn = True
        if await self._leave_registry():
            await trio.sleep(WITHDRAW_S)

    async def _leave_registry(self) -> bool:
        return self._registration is not None and await self._registration.withdraw()

    @property
    def stopping(self) -> bool:
        """Whether the end was asked for."""
        return self._stopping.is_set()

    # --- news ----------------------------------------------------------------------------------------------------------------

    async def _take_news(self, news_in: trio.MemoryReceiveChannel[News]) -> None:
        """Deploys each slice that comes. One that only a circumstance refused is tried again until a newer one comes."""
        pending: VerifiedSlice | None = None
        attempts = 0
        while True:
            news: News | None = pending
            with trio.move_on_after(_retry_s(attempts) if pending is not None else math.inf):
                news, attempts = await news_in.receive(), 0
            if isinstance(news, FetchProblem):
                if self.running.fetch_failed(news):
                    log.warning("store: %s: %s; what serves goes on", news.reason.value, news.message)
            elif news is not None:
                attempts += 1
                reason = await self._take_slice(news)
                pending = news if attempts < ATTEMPTS.get(reason, 0) else None

    async def _take_slice(self, verified: VerifiedSlice) -> str:
        """Deploys one slice; returns why it was refused, "" where it serves."""
        deployed = self.running.deployed
        if deployed is not None and deployed.verified.slice.snapshot == verified.slice.snapshot:
            self.running.renewed(verified)
            return ""
        try:
            outcome = await self._deploy(verified)
        except Exception as error:
            # A supervision point: a slice that brings out a bug of ours is refused like any other.
            log.exception("a bug came out while version %d was deployed", verified.release.version)
            outcome = Outcome("internal", f"{type(error).__name__}: {error}")
        if outcome.reason:
            place = f" ({outcome.source})" if outcome.source else ""
            message = f"version {verified.release.version}: {outcome.message}{place}"
            if self.running.refuse(outcome.reason, message):
                log.error("refused %s: %s; what serves goes on", outcome.reason, message)
        return outcome.reason

    async def _deploy(self, verified: VerifiedSlice) -> Outcome:
        """Everything that can fail first, then the fleet's swap, then what is not needed any more is let go."""
        begin = trio.current_time()
        try:
            facts = read_facts(verified.slice)
            wanted = wanted_addresses(self.bootstrap, facts.listeners)
            wanted = {name: address for name, address in wanted.items() if name not in self.leaving.closed}
            index = self.dns.prepare(facts)
            fresh = self._sockets.bind(wanted)
        except FormatError as error:
            return Outcome(error.reason, str(error))
        except BindError as error:
            self.dns.abandon()
            return Outcome("bind", str(error))
        await self._fill_slots(facts)
        outcome = await self.fleet.deploy(verified.slice, wanted)
        if outcome.reason:
            self._sockets.release(fresh)
            self.dns.abandon()
            return outcome
        self._sockets.release(self._sockets.names() - wanted.keys())
        self._names.only(facts.names, refresh_s=facts.proxy.deadlines.dns_refresh_ms / 1000)
        self._key_sets.only(facts.keys)
        self.dns.use(index, facts)
        took_ms = (trio.current_time() - begin) * 1000
        self.running.took(verified, facts, took_ms=took_ms, outcome=outcome)
        self._prober.use(facts.proxy.probe)
        release = verified.release
        digest = verified.slice.snapshot[:12]
        log.info("swapped to version %d, snapshot %s, in %.1f ms", release.version, digest, took_ms)
        self._on_change()
        return outcome

    async def _fill_slots(self, facts: SliceFacts) -> None:
        await self._names.want(facts.names)
        await self._key_sets.want(facts.keys)
        await self._credentials.want(frozenset(slot.name for slot in facts.proxy.credentials))
        self.dns.server.take_resolved(self._names.all())
        await self.fleet.update(
            LiveUpdate(resolved=self._names.all(), credentials=self._credentials.all(), keys=self._key_sets.all())
        )

    async def _take_svid(self, svid: Svid) -> None:
        self.running.identified(svid)
        await self.fleet.update(LiveUpdate(svid=svid))
        self._on_change()

    async def _take_registry(self, registry: Registry) -> None:
        self.dns.server.take_registry(registry)
        await self.fleet.update(LiveUpdate(registry=registry))
        self.running.instruments.set("weft_registry_version", registry.version)

    async def _take_resolved(self, resolved: tuple[Resolved, ...]) -> None:
        self.dns.server.take_resolved(resolved)
        await self.fleet.update(LiveUpdate(resolved=resolved))

    async def _missed_keys(self) -> list[KeySource]:
        answers = await self.fleet.ask("missed_keys")
        return [source for body in answers if body for source in json_decoder(KeySources).decode(body)]

    async def _take_keys(self, keys: tuple[FetchedKeys, ...]) -> None:
        await self.fleet.update(LiveUpdate(keys=keys))

    async def _take_credentials(self, credentials: tuple[Credential, ...]) -> None:
        await self.fleet.update(LiveUpdate(credentials=credentials))

    async def _take_verdict(self) -> None:
        """The application has begun or ceased to answer: it is registered, or nobody is sent to it any more."""
        self._on_change()
        if self._prober.problem and not self._withdrawn:
            await self._leave_registry()

    def _on_change(self) -> None:
        reason, deployed = self.not_ready(), self.running.deployed
        ready = not reason
        if ready and not self._was_ready:
            self._ready.set()
            log.info("ready: %s", ", ".join(f"{name} {host}:{port}" for name, (host, port) in self.pages.items()))
        elif not ready and deployed is not None:
            log.warning("not ready: %s", reason)
        self._was_ready = ready
        svid = self.running.svid
        if self._withdrawn or self._registration is None:
            return
        if ready and deployed is not None and svid is not None:
            labels = deployed.verified.slice.entry.labels
            workload = registration_of(self.bootstrap, deployed.facts, svid, labels)
            if workload is not None:
                self._registration.offer(workload)

    # --- tasks ---------------------------------------------------------------------------------------------------------------

    def _start_tasks(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.fleet.run)
        tasks: dict[str, Task] = {
            "name resolution": partial(self._names.refresh_forever, self._take_resolved),
            "fetching the keys of issuers": partial(self._key_sets.refresh_forever, self._take_keys),
            "hearing of unknown keys": partial(self._key_sets.listen_forever, self._missed_keys),
            "watching credentials": partial(self._credentials.watch_forever, self._take_credentials),
            "probing the application": partial(self._prober.run, self._take_verdict),
        }
        if self._control is not None:
            assert self._keeper is not None
            assert self._registration is not None
            registry = RegistryFollower(self._control, self._state / "registry.json")
            tasks |= {
                "keeping the identity": partial(self._keeper.run, self._take_svid),
                "following the trust bundle": partial(self._keeper.follow_bundle, self._take_svid),
                "following the registry": partial(registry.follow, self._take_registry),
                "registering": self._registration.refresh_forever,
                "reporting": partial(report_forever, self._control, self.bootstrap, self.running),
            }
        for name, task in tasks.items():
            nursery.start_soon(keep_running, name, task)
        news_out, news_in = trio.open_memory_channel[News](1)
        nursery.start_soon(follow, self.bootstrap, news_out)
        nursery.start_soon(self._take_news, news_in)

    async def _end(self) -> None:
        """Leaves the registry first, so that no new request is sent here; then finishes what is in flight."""
        deployed = self.running.deployed
        limit_s = deployed.facts.proxy.deadlines.drain_ms / 1000 if deployed else DRAIN_S
        log.info("draining for at most %g s", limit_s)
        with trio.move_on_after(limit_s + 2.0):
            await self.withdraw()
            await self.fleet.drain(limit_s)
        log.info("drained")

    # --- what the admin pages ask --------------------------------------------------------------------------------------------

    @property
    def restarts(self) -> int:
        """How often a worker was started again."""
        return self.fleet.restarts

    def not_ready(self) -> str:
        """Why the proxy is not ready, "" where it is."""
        deployed = self.running.deployed
        if deployed is None and self.fleet.outlived and not self._stopping.is_set():
            return ""  # The workers of the program before serve.
        return why_not_ready(
            deployed.facts if deployed is not None else None,
            self.running.svid,
            joins=self._control is not None,
            identity_problem=self.identity_problem(),
            workers_up=self.fleet.workers_up,
            stopping=self._stopping.is_set(),
            unhealthy=self.leaving.unhealthy,
            application=self._prober.problem,
        )

    def identity_problem(self) -> str:
        """Why there is no new certificate, "" where the last attempt was good."""
        return self._keeper.problem if self._keeper is not None else ""

    def listeners(self) -> dict[str, str]:
        """The bound addresses by listener name."""
        deployed = self.running.deployed
        found = {}
        for listener in deployed.facts.listeners if deployed else ():
            address = self.bootstrap.resolve(listener.bind)
            if address is not None:
                found[listener.name] = shown(*address)
        return found

    def token_keys(self) -> tuple[FetchedKeys, ...]:
        """The keys by which tokens are checked."""
        return self._key_sets.all()

    def credentials(self) -> tuple[Credential, ...]:
        """What fills the slice's credential slots."""
        return self._credentials.all()

    def workers(self) -> dict[int, int]:
        """Process ids by worker."""
        return self.fleet.pids()

    def measure(self) -> Instruments:
        """The supervisor's own metrics, brought up to now."""
        failed = self._keeper.failed_total if self._keeper is not None else 0
        self.running.instruments.set("weft_cert_rotation_failed_total", failed)
        self.running.instruments.set("weft_jwks_age_seconds", self._key_sets.age_s())
        self.running.instruments.set("weft_jwks_fetch_failed_total", self._key_sets.failed_total)
        return self.running.measure(self.fleet.restarts)

    async def ask(self, page: str) -> list[bytes]:
        """A page of every worker."""
        return await self.fleet.ask(page)

    async def native(self, path: str, query: dict[str, str], *, method: str = "GET") -> tuple[int, bytes] | None:
        """The engine's own page, where it has one."""
        return await self.fleet.native(path, query, method=method)

    async def set_levels(self, levels: dict[str, str]) -> None:
        """Sets the loggers' levels here and in every worker, also those to come."""
        set_levels(levels)
        await self.fleet.update(LiveUpdate(levels=levels))

    async def application_metrics(self) -> bytes:
        """What the application measures, where its pod's annotations ask for it to be shown here."""
        deployed = self.running.deployed
        scrape = deployed.facts.proxy.scrape if deployed is not None else None
        if scrape is None:
            return b""
        return await application_metrics(self.bootstrap, scrape, self.running.instruments)

    async def more_metrics(self) -> bytes:
        """What the engine measures in words of its own."""
        return await self.fleet.more_metrics()


def _retry_s(attempts: int) -> float:
    return min(0.5 * 2.0**attempts, LONGEST_RETRY_S)
