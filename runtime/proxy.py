"""The data plane of one worker: what the supervisor's frames are carried out on.

    prepare(slice) -> Generation     off to the side; all that can fail
    swap(generation)                 one assignment; then what changed is drained
    drain(deadline)                  no new connections; what is in flight ends

Sidecars, ingress and egress gateways are the same code: they differ in their slices.
"""

from __future__ import annotations

import gc
import os
import socket
import time
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio

from runtime.accepting import Acceptor
from runtime.bootstrap import Bootstrap
from runtime.endpoints import LiveData
from runtime.generation import Generation
from runtime.http.pool import Pools
from runtime.interception import redirected_to
from runtime.lane.loop import Lane
from runtime.limits.limiter import Borrowing
from runtime.machines import install
from runtime.names import NameCache
from runtime.pacing import paced
from runtime.pages import telling
from runtime.pages.connections import by_listener
from runtime.plane import Plane, Rebindable
from runtime.prepare import address_of, prepare
from runtime.retire import free, parts_of
from runtime.socket_address import takes_datagrams
from runtime.telemetry import AccessLogFormat, MetricsSnapshot
from runtime.telemetry.labels import facts_of_registered
from runtime.telemetry.metrics import OwnSample
from runtime.tls.contexts import TlsMaterial
from runtime.udp.accepting import DatagramAcceptor
from snapshot.index import Slice
from snapshot.live import Credential, FetchedKeys, Registry, Resolved, Svid

LOG_INTERVAL_S = 0.2
REBIND_BATCH = 256
DRAIN_POLL_S = 0.02
EXPIRY_LOOK_S = 1.0
FAREWELL_S = 1.0
"""How long after the drain's deadline a WebSocket's two sides may take for the closing handshake."""


class Proxy:
    """One worker's data plane. Owns the lane, the listening sockets, the key material and the serving generation."""

    def __init__(
        self, bootstrap: Bootstrap, sockets: dict[str, socket.socket] | None = None, *, stamp: bool = False
    ) -> None:
        self._bootstrap = bootstrap
        self._sockets: dict[str, socket.socket] = dict(sockets or {})
        self._acceptors: dict[str, Acceptor | DatagramAcceptor] = {}
        self._closed: frozenset[str] = frozenset()
        self._material = TlsMaterial()
        self._live = LiveData(bootstrap)
        self._generation: Generation | None = None
        self._swapped_at = 0.0
        self._prepare_lock = trio.Lock()
        self._log_path = ""
        self._log_fd = -1
        self.lane = Lane()
        source_ip = bootstrap.address if bootstrap.address.startswith("127.") else ""
        self.plane = Plane(
            self.lane,
            resolve_name=NameCache().addresses,
            stamp=stamp or bootstrap.stamp,
            source_ip=source_ip,
            transparent=bootstrap.interception == "tproxy",
        )
        self.plane.pools = Pools(self.plane)
        install(self.plane)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; the listening sockets are closed at the end."""
        try:
            async with trio.open_nursery() as nursery:
                self.plane.nursery = nursery
                self.plane.set_clock()
                nursery.start_soon(self._write_log)
                nursery.start_soon(self._end_with_certificates)
                await nursery.start(self.lane.run)
                task_status.started()
        finally:
            self._flush_log()
            for sock in self._sockets.values():
                sock.close()

    # --- sockets -------------------------------------------------------------------------------------------------------------

    def add_sockets(self, sockets: dict[str, socket.socket]) -> None:
        """Takes listening sockets by ``address:port``, for the next generations to accept on."""
        self._sockets.update(sockets)

    def drop_sockets(self, names: frozenset[str]) -> None:
        """Closes listening sockets on which no generation accepts."""
        for name in names:
            sock = self._sockets.pop(name, None)
            if sock is not None:
                sock.close()

    # --- generations ---------------------------------------------------------------------------------------------------------

    async def prepare(self, slice_: Slice) -> Generation:
        """Makes a generation of a slice; raises FormatError or PrepareError, and then nothing has changed."""
        async with self._prepare_lock:
            previous = self._generation.prepared if self._generation is not None else None
            # A collection in the middle would walk everything made so far, which is all alive: 8 ms for ten thousand routes.
            gc.disable()
            try:
                return await prepare(
                    self.plane,
                    slice_,
                    previous,
                    bootstrap=self._bootstrap,
                    sockets=frozenset(self._sockets) | self._closed,
                    material=self._material,
                    live=self._live,
                )
            finally:
                gc.freeze()
                gc.enable()

    def swap(self, generation: Generation) -> None:
        """Makes a generation the serving one, at once and without a pause; then drains what it no longer has."""
        with self.lane.pause():
            generation.refresh()
            old, self._generation = self._generation, generation
            self.plane.generation = generation
            self._swapped_at = time.time()
            self._use_log(generation)
            self._accept_on(generation)
        if self.plane.nursery is not None:
            self.plane.nursery.start_soon(self._settle, generation)
            if old is not None:
                self.plane.nursery.start_soon(free, weakref.ref(old), parts_of(old.prepared))

    def _accept_on(self, generation: Generation) -> None:
        wanted = {
            name: listener.name
            for listener in generation.prepared.listeners.values()
            if (name := address_of(listener, self._bootstrap)) is not None and name not in self._closed
        }
        directions = {
            f"{host}:{port}": direction
            for direction, addresses in redirected_to(self._bootstrap).items()
            for host, port in addresses
        }
        wanted |= dict.fromkeys(directions.keys() & self._sockets.keys(), "")
        for name in [name for name in self._acceptors if name not in wanted]:
            self._acceptors.pop(name).stop()
            self._sockets.pop(name).close()
        for name, listener in wanted.items():
            acceptor = self._acceptors.get(name)
            if acceptor is None:
                accepts = DatagramAcceptor if takes_datagrams(name) else Acceptor
                acceptor = self._acceptors[name] = accepts(self.plane, self._sockets[name], listener)
                acceptor.start()
            acceptor.listener = listener
            acceptor.direction = directions.get(name) or ("outbound" if generation.interception else "")

    async def _settle(self, generation: Generation) -> None:
        """After a swap, in batches: moves connections over, lets go of pools, frees the old generation."""
        connections = list(self.plane.connections)
        for at in range(0, len(connections), REBIND_BATCH):
            batch = [one for one in connections[at : at + REBIND_BATCH] if one in self.plane.connections]
            self.lane.call(partial(_rebind, batch, generation))
            await trio.lowlevel.checkpoint()
        if self._generation is generation:
            self.lane.call(lambda: self.plane.pools.keep(generation.uses))

    # --- live data -----------------------------------------------------------------------------------------------------------

    def share_limits(self, borrow: Borrowing, workers: int) -> None:
        """Says that other workers share the rate limits, and where tokens are borrowed."""
        self.plane.limiter.borrow, self.plane.limiter.workers = borrow, workers

    def set_registry(self, registry: Registry) -> None:
        """Takes the registered workloads; endpoints change in place."""
        self._live.with_registry(registry)
        self.plane.reporter.know({one.address: facts_of_registered(one) for one in registry.workloads})
        self.plane.instruments.set("weft_registry_version", registry.version)
        self._refresh()

    def set_resolved(self, resolved: list[Resolved]) -> None:
        """Takes the addresses of DNS names."""
        self._live.with_names(resolved)
        self._refresh()

    def set_svid(self, svid: Svid) -> None:
        """Takes a new SVID for new connections; open ones stay. Raises MaterialError where it does not work, and the old one stays."""
        self._material.set_svid(svid)

    def set_credentials(self, credentials: list[Credential]) -> None:
        """Takes the keys for the slice's slots; one that does not work leaves its slot as it was and is counted."""
        for problem in self._material.set_credentials(credentials):
            self.plane.instruments.add("weft_prepare_failed_total", f"credential_{problem.reason}")

    def set_keys(self, keys: Sequence[FetchedKeys]) -> None:
        """Takes the keys that tokens are checked by, all that there are; a slot that is not among them refuses every token."""
        self._live.tokens.fill(keys)

    def _refresh(self) -> None:
        if self._generation is not None:
            self._generation.refresh()

    # --- drain ---------------------------------------------------------------------------------------------------------------

    def set_leaving(self, leaving: bool) -> None:
        """Asks clients to leave with each reply (Connection: close, GOAWAY), or no more. New connections are taken all the same."""
        self.plane.draining = leaving
        if leaving:
            self._ask_to_leave()

    def close_listeners(self, names: frozenset[str]) -> None:
        """Accepts on these sockets no more, whatever slices come; connections that are open go on."""
        self._closed |= names
        for name in names & self._acceptors.keys():
            self._acceptors.pop(name).stop()
        self.drop_sockets(names)

    def _ask_to_leave(self) -> None:
        for connection in list(self.plane.connections):
            self.lane.call(connection.drain)

    async def _end_with_certificates(self) -> None:
        """Asks connections to leave whose client's certificate has ended, and cuts off after a drain's time who has not."""
        while True:
            await trio.sleep(EXPIRY_LOOK_S)
            plane = self.plane
            grace_s = self._generation.deadlines.drain_ms / 1000 if self._generation is not None else 0.0
            leaving, late = plane.certificate_ends.due(plane.connections, time.time(), grace_s)
            for one in leaving:
                plane.instruments.add("weft_certificate_ended_total")
                self.lane.call(one.drain)
            for one in late:
                self.lane.call(one.abort)

    async def drain(self, deadline_s: float) -> None:
        """Accepts no more and returns when nothing is in flight, or at the deadline, when what is left is cut off: WebSockets FAREWELL_S after
        they were told."""
        self.plane.draining = True
        for acceptor in self._acceptors.values():
            acceptor.stop()
        self._acceptors.clear()
        self._ask_to_leave()
        await self._wait_closed(deadline_s)
        if self._say_farewell():
            await self._wait_closed(FAREWELL_S)
        for connection in list(self.plane.connections):
            self.lane.call(connection.abort)
        self._flush_log()

    def _say_farewell(self) -> bool:
        told: list[bool] = []

        def tell() -> None:
            told.extend([connection.say_farewell() for connection in list(self.plane.connections)])

        self.lane.call(tell)
        return any(told)

    async def _wait_closed(self, at_most_s: float) -> None:
        with trio.move_on_after(at_most_s):
            # Polled: this happens once in a process's life, and an event would cost every connection's end.
            while self.plane.connections:  # noqa: ASYNC110
                await trio.sleep(DRAIN_POLL_S)

    # --- telling -------------------------------------------------------------------------------------------------------------

    def pause_ms(self) -> float:
        """The longest that anything kept the lane from its sockets since this was last asked, in milliseconds."""
        longest, work_s = self.lane.take_max_pause()
        self.plane.instruments.raise_to("weft_lane_pause_seconds", longest)
        self.plane.instruments.raise_to("weft_lane_work_seconds", work_s)
        return longest * 1000

    def metrics(self) -> MetricsSnapshot:
        """Everything that this worker has counted, at once."""
        samples = self.plane.metrics.samples()
        return MetricsSnapshot(samples.requests, samples.tcp, [*samples.own, *self._measure()])

    def _measure(self) -> list[OwnSample]:
        """The instruments, brought up to now."""
        instruments = self.plane.instruments
        instruments.set("weft_connections", len(self.plane.connections), "downstream")
        instruments.set("weft_connections", self.plane.pools.connections, "upstream")
        instruments.forget("weft_listener_connections")
        for listener, count in by_listener(self.plane.connections).items():
            instruments.set("weft_listener_connections", count, listener)
        if self.lane.bugs:
            instruments.add("weft_connection_bugs_total", amount=self.lane.bugs)
            self.lane.bugs = 0
        for acceptor in self._acceptors.values():
            if isinstance(acceptor, DatagramAcceptor):
                acceptor.publish()
        return instruments.samples()

    def status(self) -> dict[str, object]:
        """What serves since when."""
        generation = self._generation
        return {
            "snapshot": generation.prepared.snapshot if generation is not None else "",
            "behaviour": generation.prepared.behaviour if generation is not None else "",
            "swapped_at": self._swapped_at,
            "connections": len(self.plane.connections),
            "draining": self.plane.draining,
        }

    async def page(self, name: str) -> bytes:
        """One page of state: ``metrics`` as MessagePack, ``clusters``, ``connections``, ``status`` as JSON; made in pieces, with the sockets
        served in between. Raises KeyError for others."""
        plane = self.plane
        match name:
            case "metrics":
                return await paced(self.lane, telling.metrics(plane.metrics, self._measure))
            case "status":
                return msgspec.json.encode(self.status())
            case "clusters":
                return await paced(self.lane, telling.clusters(self._generation, plane.pools))
            case "connections":
                return await paced(self.lane, telling.connections(plane.connections))
            case "missed_keys":
                return msgspec.json.encode(self._live.tokens.take_missed())
            case _:
                raise KeyError(name)

    # --- the access log ------------------------------------------------------------------------------------------------------

    def _use_log(self, generation: Generation) -> None:
        setting = generation.prepared.proxy.access_log
        self.plane.reporter.configure(AccessLogFormat(setting) if setting.path else None)
        if setting.path != self._log_path:
            self._flush_log()
            if self._log_fd > 2:
                os.close(self._log_fd)
            self._log_path, self._log_fd = setting.path, _open_log(setting.path)

    async def _write_log(self) -> None:
        while True:
            await trio.sleep(LOG_INTERVAL_S)
            self.plane.set_clock()
            data = self.plane.reporter.take_lines()
            if data and self._log_fd >= 0:
                # In a thread: a pipe that nobody reads must stop the log, not the traffic.
                await trio.to_thread.run_sync(_write_all, self._log_fd, data)

    def _flush_log(self) -> None:
        data = self.plane.reporter.take_lines()
        if data and self._log_fd >= 0:
            _write_all(self._log_fd, data)


def make_proxy(bootstrap: Bootstrap) -> Proxy:
    """The data plane of a worker process."""
    return Proxy(bootstrap)


def _rebind(connections: Sequence[Rebindable], generation: Generation) -> None:
    for connection in connections:
        connection.rebind(generation)


def _open_log(path: str) -> int:
    match path:
        case "":
            return -1
        case "/dev/stdout":
            return 1
        case "/dev/stderr":
            return 2
        case _:
            return os.open(Path(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _write_all(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        # The log's disk or reader is gone; traffic is not its hostage.
        return
