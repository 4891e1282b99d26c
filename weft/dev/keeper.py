"""The processes and sidecars of a placement. A sidecar is ready before its process starts; what ends by itself is told and started again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import trio

from weft.dev.placement import PlacedProcess, PlacedProxy, Placement
from weft.local.bootstraps import LocalProxy, write_bootstrap, write_certificate
from weft.local.children import Child, Children, LocalError, weft_command
from weft.local.plane import LocalPlane
from weft.local.views import LOOK_S, READINESS, read

READY_S = 30.0
WATCH_S = 0.3
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
STEADY_S = 60.0
"""A process that ran so long before it ended is started again at once; others ever later."""
TOKEN_USES = 1_000
"""A sidecar that is started again may join again: it keeps its certificate, but only while that is good."""


class Keeper:
    """Owns what runs. ``say`` is told each event; ``ended`` says of a name why it does not run now."""

    def __init__(
        self, folder: Path, home: Path, plane: LocalPlane, children: Children, say: Callable[[str], None]
    ) -> None:
        self.ended: dict[str, str] = {}
        self._folder = folder
        self._home = home
        self._plane = plane
        self._children = children
        self._say = say
        self._proxies: dict[str, LocalProxy] = {}
        self._processes: dict[str, PlacedProcess] = {}
        self._credentials: dict[str, tuple[str, ...]] = {}
        self._accounts: set[tuple[str, str]] = set()
        self._again: dict[str, tuple[float, float]] = {}

    async def follow(self, placement: Placement) -> None:
        """Starts what is new, starts again what is another now, ends what is gone. What runs unchanged is not touched."""
        wanted = {name: placed.proxy for name, placed in placement.proxies.items()}
        await self._stop_others(self._processes, placement.processes)
        await self._stop_others(self._proxies, wanted)
        fresh = [placed for name, placed in placement.proxies.items() if name not in self._proxies]
        for placed in placement.proxies.values():
            self._certify(placed)
        for placed in fresh:
            await self._start_proxy(placed.proxy)
        async with trio.open_nursery() as nursery:
            for placed in fresh:
                nursery.start_soon(self._wait_ready, placed.proxy)
        for name, process in placement.processes.items():
            if name not in self._processes:
                self._processes[name] = process
                self._start(name)

    async def watch(self) -> None:
        """Tells of what ends by itself and starts it again, ever later where it ends soon; runs until cancelled."""
        while True:
            await trio.sleep(WATCH_S)
            for child in self._children.ended():
                await self._mourn(child)
            now = trio.current_time()
            for name, (due, _) in list(self._again.items()):
                if name in self.ended and now >= due:
                    self._start(name)

    def log(self, name: str) -> Path:
        """Where a process's output is."""
        return self._folder / "logs" / f"{name}.log"

    def names(self) -> list[str]:
        """Everything that runs or should, the processes first."""
        return [*self._processes, *self._proxies]

    async def _mourn(self, child: Child) -> None:
        name = child.name
        code = child.process.returncode
        last = child.tail.strip().splitlines()[-1:] or ["(it said nothing)"]
        await self._children.stop(name)
        if name not in self._proxies and name not in self._processes:
            raise LocalError(f"{name} ended with {code}: {last[0]}")
        now = trio.current_time()
        due, wait_s = self._again.get(name, (-STEADY_S, FIRST_RETRY_S / 2))
        wait_s = min(wait_s * 2, LONGEST_RETRY_S) if now - due < STEADY_S else FIRST_RETRY_S
        self._again[name] = now + wait_s, wait_s
        self.ended[name] = f"ended with {code}"
        self._say(f"{name} ended with {code}, starts again in {wait_s:.0f} s: {last[0]}")

    async def _stop_others(self, running: dict[str, LocalProxy] | dict[str, PlacedProcess], wanted: object) -> None:
        assert isinstance(wanted, dict)
        for name in [name for name, one in running.items() if wanted.get(name) != one]:
            del running[name]
            self._again.pop(name, None)
            if self.ended.pop(name, None) is None:
                await self._children.stop(name)
            self._say(f"{name} was ended, because the mesh has changed")

    async def _start_proxy(self, proxy: LocalProxy) -> None:
        account = proxy.namespace, proxy.account
        if account not in self._accounts:
            await self._plane.admit(*account, uses=TOKEN_USES)
            self._accounts.add(account)
        store = str(self._folder / "store")
        write_bootstrap(self._folder, proxy, control=self._plane.api, store=store)
        self._proxies[proxy.name] = proxy
        self._start(proxy.name)

    def _start(self, name: str) -> None:
        self.ended.pop(name, None)
        proxy, process = self._proxies.get(name), self._processes.get(name)
        try:
            if proxy is not None:
                file = self._folder / f"{name}.toml"
                self._children.start(name, weft_command("proxy", proxy.kind, "--bootstrap", str(file)))
            elif process is not None:
                folder = self._home / process.directory
                self._children.start(name, process.words, cwd=folder, environment=dict(process.environment))
        except LocalError as error:
            self.ended[name] = "cannot be started"
            self._again[name] = trio.current_time() + LONGEST_RETRY_S, LONGEST_RETRY_S
            self._say(str(error))

    async def _wait_ready(self, proxy: LocalProxy) -> None:
        with trio.move_on_after(READY_S):
            while proxy.name not in self.ended:
                reply = await read((proxy.address, READINESS), "/healthz/ready")
                if reply is not None and reply.status == 200:
                    return
                await trio.sleep(LOOK_S)
        self._say(f"the proxy of {proxy.name} is not ready; its log is {self.log(proxy.name)}")

    def _certify(self, placed: PlacedProxy) -> None:
        for slot, hosts in placed.credentials:
            covered = tuple(host for host in hosts if host != "*") or ("localhost",)
            if self._credentials.get(slot) != covered:
                self._credentials[slot] = covered
                write_certificate(self._folder / "credentials", slot, covered, now=dt.datetime.now(dt.UTC))
