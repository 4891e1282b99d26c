"""The Envoy engine as the supervisor sees it: the same orders as to a fleet of workers, carried out by one Envoy process.

A deployment has three steps. First everything that can fail without Envoy serving it: decode and index the slice, translate it, and have a
second Envoy judge the result as a whole; what is refused here never reaches the one that serves. Then make before break: keys, clusters and
endpoints, and once those are warm, routes and listeners. Last, what the new slice no longer has. Where the serving Envoy rejects a step
in spite of all, it is told the old slice again.

Envoy takes resource by resource, so between two of them a request may meet a new listener and an old route table; see the decision record.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import trio

from runtime.bootstrap import Bootstrap
from runtime.endpoints import LiveData
from runtime.envoy.binary import require_envoy, require_messages
from runtime.envoy.clusters import load_assignment
from runtime.envoy.discovery import Discovery, RejectedError, StreamLostError
from runtime.envoy.failure import UntranslatableError
from runtime.envoy.fellows import fellows
from runtime.envoy.messages import Message
from runtime.envoy.placeholders import placeholders
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.process import EnvoyFailedError, EnvoyProcess, discovered_bootstrap, objection, start
from runtime.envoy.resources import CLUSTER, ENDPOINTS, FILTER, LISTENER, ORDER, ROUTES, SECRET, Resources, resources
from runtime.envoy.secrets import of_credential, of_svid
from runtime.envoy.static import plain, static_bootstrap
from runtime.envoy.translate import discovering, translate
from runtime.interception import redirected_to
from runtime.ipc import LiveUpdate
from runtime.socket_address import socket_name
from runtime.supervisor.fleet import Outcome
from runtime.supervisor.handover import HandedWorker, HandoverError
from runtime.supervisor.sockets import Address
from snapshot.encode import FormatError
from snapshot.index import Slice
from snapshot.live import Credential, Svid
from snapshot.prepared import PreparedSlice, PrepareError, prepare

UP_S = 30.0
WARM_S = 10.0
RESTART_S = (0.0, 0.2, 1.0, 5.0, 10.0)
"""How long to wait before the next start, by how many were needed in a row."""

STEADY_S = 30.0
NATIVE = frozenset({"/config_dump", "/clusters", "/stats", "/logging"})

log = logging.getLogger("weft.proxy")


class _Candidate(msgspec.Struct, frozen=True):
    """A slice that passed everything that can be asked before Envoy serves it."""

    prepared: PreparedSlice
    resources: Resources
    secrets: frozenset[str]


class EnvoyFleet:
    """Owns the Envoy process, its discovery service, the slice that it serves and the newest live data."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        require_messages()
        self.restarts = 0
        self._program = require_envoy()
        self._bootstrap = bootstrap
        self._live = LiveData(bootstrap)
        self._svid: Svid | None = None
        self._credentials: tuple[Credential, ...] = ()
        self._serving: _Candidate | None = None
        self._envoy: EnvoyProcess | None = None
        self._wanted = trio.Event()
        self._up = trio.Event()
        self._stopping = False
        # Paths of sockets are short (108 bytes), state folders need not be.
        self._folder = Path(tempfile.mkdtemp(prefix="weft-envoy-"))
        self._discovery = Discovery(self._folder / "discovery")
        self._turn = trio.Lock()

    @property
    def outlived(self) -> int:
        """None: an Envoy is not handed over."""
        return 0

    @property
    def workers_up(self) -> int:
        """1 where Envoy serves, else 0."""
        return int(self._up.is_set())

    def pids(self) -> dict[int, int]:
        """Envoy's process id."""
        return {0: self._envoy.process.pid} if self._envoy is not None else {}

    async def run(self) -> None:
        """Keeps Envoy alive from the first slice until cancelled; then ends it."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._discovery.serve)
                await self._keep_alive()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def deploy(self, slice_: Slice, wanted: dict[str, Address]) -> Outcome:
        """Has Envoy serve a slice, or go on with the one before; ``wanted`` must be free or its own."""
        del wanted
        begin = trio.current_time()
        async with self._turn:
            try:
                candidate = await self._prepare(slice_)
            except _RefusedError as error:
                return Outcome(error.reason, str(error), error.source)
            prepare_ms = (trio.current_time() - begin) * 1000
            before, self._serving = self._serving, candidate
            try:
                await (self._begin() if before is None else self._change())
            except (RejectedError, StreamLostError, EnvoyFailedError) as error:
                self._serving = before
                await self._return()
                reason = "engine" if isinstance(error, RejectedError) else "worker"
                return Outcome(reason, f"Envoy refuses the slice: {error}")
            return Outcome(prepare_ms=prepare_ms)

    async def update(self, live: LiveUpdate) -> None:
        """Takes live data: new keys and endpoints go to Envoy at once, and are in use when this returns, unless Envoy is starting.
        Names are resolved by Envoy itself."""
        # Not in turn with deployments: a deployment may be waiting for just these keys.
        if live.registry is not None:
            self._live.with_registry(live.registry)
        if live.svid is not None:
            self._svid = live.svid
        if live.credentials is not None:
            self._credentials = live.credentials
        if live.keys is not None:
            self._live.tokens.fill(live.keys)
            await self._offer_filters()
        if live.registry is not None or live.svid is not None or live.credentials is not None:
            await self._discovery.offer(resources(self._live_messages()), (SECRET, ENDPOINTS))
        if live.leaving is not None:
            await self._order("/healthcheck/fail" if live.leaving else "/healthcheck/ok")
        if live.closed is not None:
            # Envoy knows all listeners, or those that are inbound.
            partly = {"inboundonly": ""} if self._addresses() - set(live.closed) else {}
            await self._order("/drain_listeners", **partly)

    async def _offer_filters(self) -> None:
        """The filters of the slice that serves, with the keys that there are now."""
        before = self._serving
        if before is None or not before.prepared.tokens:
            return
        made = translate(before.prepared, self._place(before.prepared, Delivery.DISCOVERED))
        parts = before.resources.replacing(resources(made.filters), (FILTER,))
        self._serving = _Candidate(before.prepared, parts, before.secrets)
        await self._discovery.offer(self._resources(), (FILTER,))

    def _addresses(self) -> set[str]:
        """The sockets on which Envoy listens."""
        listeners = self._serving.prepared.listeners.values() if self._serving is not None else ()
        bound = ((listener, self._bootstrap.resolve(listener.bind)) for listener in listeners)
        redirected = {socket_name(one) for places in redirected_to(self._bootstrap).values() for one in places}
        return redirected | {
            socket_name(address, datagrams=listener.protocol == "udp")
            for listener, address in bound
            if address is not None
        }

    async def _order(self, path: str, **query: str) -> None:
        """Has Envoy act; one that is gone comes back as it was before."""
        if self._envoy is not None:
            with contextlib.suppress(EnvoyFailedError):
                await self._envoy.page(path, method="POST", **query)

    async def ask(self, page: str) -> list[bytes]:
        """Nothing: Envoy's pages are ``native``."""
        del page
        return []

    async def native(self, path: str, query: dict[str, str], *, method: str = "GET") -> tuple[int, bytes] | None:
        """Envoy's own ``/config_dump``, ``/clusters``, ``/stats`` and ``/logging``; 503 where it does not answer now."""
        if path not in NATIVE:
            return None
        if self._envoy is not None:
            with contextlib.suppress(EnvoyFailedError):
                return await self._envoy.answer(path, method=method, **query)
        return 503, b"Envoy does not answer\n"

    async def more_metrics(self) -> bytes:
        """Envoy's own metrics in the Prometheus text format."""
        if self._envoy is not None:
            with contextlib.suppress(EnvoyFailedError):
                return await self._envoy.page("/stats/prometheus")
        return b""

    def held(self) -> AbstractAsyncContextManager[tuple[HandedWorker, ...]]:
        """Envoy's listeners are its own: raises HandoverError."""
        raise HandoverError("an upgrade in place is for the trio engine; restart the proxy instead")

    async def drain(self, deadline_s: float) -> None:
        """Has Envoy finish what is in flight: it takes no new connection, and asks clients to leave those they have."""
        self._stopping = True
        envoy = self._envoy
        if envoy is None:
            return
        with contextlib.suppress(EnvoyFailedError), trio.move_on_after(deadline_s):
            await envoy.page("/healthcheck/fail", method="POST")
            await envoy.page("/drain_listeners", method="POST", graceful="", skip_exit="")
            while await envoy.busy():  # noqa: ASYNC110  Envoy tells only who asks.
                await trio.sleep(0.05)

    # --- a slice -------------------------------------------------------------------------------------------------------------

    async def _prepare(self, slice_: Slice) -> _Candidate:
        """Everything that can fail before Envoy hears of a slice: decode, index, translate, and the judgement of a second Envoy."""
        try:
            # In a thread: a large slice takes a second, and the supervisor goes on meanwhile.
            candidate, whole = await trio.to_thread.run_sync(self._translate, slice_)
        except (FormatError, PrepareError) as error:
            source = getattr(error, "source", None)
            raise _RefusedError(error.reason, str(error), str(source) if source else "") from None
        except UntranslatableError as error:
            raise _RefusedError("engine", str(error), str(error.source) if error.source else "") from None
        against = await objection(self._program, whole)
        if against:
            raise _RefusedError("engine", f"Envoy refuses the slice: {against}", "")
        return candidate

    def _translate(self, slice_: Slice) -> tuple[_Candidate, dict[str, Any]]:
        """The slice for the Envoy that serves, and as one static configuration for the one that judges; raises what refuses a slice."""
        prepared = prepare(slice_)
        made = translate(prepared, self._place(prepared, Delivery.DISCOVERED))
        parts = resources((*made.clusters, *made.filters, *made.routes, *made.listeners))
        whole = translate(prepared, self._place(prepared, Delivery.STATIC))
        place = self._place(prepared, Delivery.STATIC)
        static = static_bootstrap(whole, placeholders(whole.secrets), prepared.proxy, place=place)
        return _Candidate(prepared, parts, made.secrets), plain(static)

    def _place(self, prepared: PreparedSlice, delivery: Delivery) -> Placement:
        name = prepared.proxy.workload.name
        stamp = f"{name}={prepared.snapshot[:12]}" if self._bootstrap.stamp else ""
        return Placement(self._bootstrap, self._live, delivery, stamp)

    async def _begin(self) -> None:
        """The first slice: Envoy starts with it. Raises RejectedError, EnvoyFailedError."""
        self._discovery.rejected = ""
        self._discovery.available = self._resources()
        self._wanted.set()
        with trio.move_on_after(UP_S) as waiting:
            await self._up.wait()
        if waiting.cancelled_caught:
            raise EnvoyFailedError(f"Envoy does not serve within {UP_S:g} s")
        if self._discovery.rejected:
            raise RejectedError(self._discovery.rejected)

    async def _return(self) -> None:
        """After a failed deployment: Envoy is told the slice of before again, or, where there is none, ended."""
        if self._serving is not None:
            await self._discovery.offer(self._resources(), ORDER)
            return
        self._wanted = trio.Event()
        if self._envoy is not None:
            self._envoy.kill()

    async def _change(self) -> None:
        """From the serving slice to the next: make, then break."""
        with trio.move_on_after(UP_S) as waiting:
            await self._up.wait()
        if waiting.cancelled_caught or self._envoy is None:
            raise EnvoyFailedError("Envoy is not up")
        wanted = self._resources()
        both = wanted.with_kept(self._discovery.available, CLUSTER)
        await self._discovery.push(both, (SECRET, CLUSTER, ENDPOINTS))
        await self._envoy.wait_warm(WARM_S)
        await self._discovery.push(both, (FILTER, ROUTES, LISTENER))
        if not await self._envoy.wait_warm(WARM_S):
            log.warning("some listeners still wait for keys or routes")
        await self._discovery.push(wanted, (CLUSTER, ENDPOINTS))

    def _resources(self) -> Resources:
        """Everything that Envoy should have now."""
        parts = self._serving.resources if self._serving is not None else Resources({})
        return parts.replacing(resources(self._live_messages()), (SECRET, ENDPOINTS))

    def _live_messages(self) -> Iterator[Message]:
        """What fills the slots of the slice: endpoints and keys."""
        candidate = self._serving
        if candidate is None:
            return
        place = self._place(candidate.prepared, Delivery.DISCOVERED)
        for section in discovering(candidate.prepared):
            yield load_assignment(section, place)
        yield fellows(candidate.prepared.proxy, place)
        found = of_svid(self._svid) if self._svid is not None else []
        found += [one for given in self._credentials for one in of_credential(given)]
        yield from (one for one in found if one.name in candidate.secrets)

    # --- the process ---------------------------------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        tries = 0
        while not self._stopping:
            await self._wanted.wait()
            await trio.sleep(RESTART_S[min(tries, len(RESTART_S) - 1)])
            begin = trio.current_time()
            await self._run_envoy()
            tries = 1 if trio.current_time() - begin > STEADY_S else tries + 1
            if self._wanted.is_set() and not self._stopping:
                self.restarts += 1

    async def _run_envoy(self) -> None:
        """One life of Envoy, from its start to its end."""
        if self._serving is None:
            return
        proxy, standpoint = self._serving.prepared.proxy, self._bootstrap.standpoint
        configuration = discovered_bootstrap(proxy, self._discovery.path, self._folder / "admin", standpoint)
        try:
            envoy = start(self._program, configuration, self._folder, threads=self._bootstrap.workers)
        except OSError as error:
            log.error("Envoy cannot be started: %s", error)  # noqa: TRY400  the machine's reason is all there is
            return
        self._envoy = envoy
        try:
            await envoy.wait_live()
            self._up.set()
            status = await envoy.process.wait()
            if not self._stopping:
                log.warning("Envoy (pid %d) ended with status %d", envoy.process.pid, status)
        except EnvoyFailedError as error:
            log.warning("%s", error)
        finally:
            self._envoy = None
            self._up = trio.Event()
            await envoy.close()


class _RefusedError(Exception):
    """A slice that does not get to Envoy."""

    def __init__(self, reason: str, message: str, source: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.source = source
