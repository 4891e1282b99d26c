"""``weft dev`` from top to bottom: a save becomes a build, a release, a placement, and is live; or a mistake that stays on the screen.

Whatever was live last goes on serving through every mistake. At the end, however it comes, no process, socket or file is left.
"""

from __future__ import annotations

import time
from pathlib import Path

import trio

from snapshot.store import StoreError
from snapshot.trust.release import Release
from weft.dev.board import Board, Row
from weft.dev.builder import Build, Builder
from weft.dev.devfile import DevFile
from weft.dev.keeper import Keeper
from weft.dev.placement import Placement, Placer
from weft.dev.screen import Screen
from weft.dev.watching import Saves
from weft.local.addresses import require_free
from weft.local.children import Children
from weft.local.plane import LocalPlane
from weft.local.views import ADMIN, ProxyView, look_at, read

LIVE_S = 20.0
SWEEP_S = 0.02
OBSERVE_S = 1.0
API, MONITORING = 15012, 15014


class Session:
    """Owns one session below ``folder``, a new and empty one. ``run`` serves until cancelled; raises LocalError."""

    def __init__(self, file: DevFile, home: Path, folder: Path, screen: Screen, *, first_port: int) -> None:
        for name in ("logs", "tokens", "state", "credentials"):
            (folder / name).mkdir(mode=0o700)
        self.board = Board()
        self._file = file
        self._home = home
        self._folder = folder
        self._screen = screen
        self._children = Children(folder / "logs", outlive=False)
        self._placer = Placer(file, first_port=first_port)
        self._saves = Saves((home / file.mesh).resolve())
        self._builder = Builder(home / file.mesh, folder, allow_partial=file.allow_partial)
        self._keeper: Keeper | None = None
        self._digest = ""
        self._findings = ""
        self._version = 0

    async def run(self) -> None:
        """Builds what is there, then at each save."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._saves.watch)
                nursery.start_soon(self._screen.run, self.board, self._log_of)
                await self._change(time.time(), [], nursery)
                while True:
                    await self._change(*await self._saves.take(), nursery)
        finally:
            await self._children.stop_all()

    def _log_of(self) -> dict[str, Path]:
        keeper = self._keeper
        return {name: keeper.log(name) for name in keeper.names()} if keeper is not None else {}

    async def _change(self, saved_at: float, files: list[str], nursery: trio.Nursery) -> None:
        """Everything that one save leads to."""
        build = await trio.to_thread.run_sync(self._builder.build)
        if build.snapshot is None:
            self._refuse(build)
            return
        self.board.mistakes = ""
        if build.findings != self._findings:
            self._screen.quote(build.findings)
        self._findings = build.findings
        if build.snapshot.digest == self._digest:
            self.board.change = f"{_named(files)}: nothing changes"
            self._screen.say(f"same: {self.board.change}")
            return
        placement = self._placer.place(build.snapshot)
        try:
            release = await trio.to_thread.run_sync(self._builder.publish, build.snapshot)
        except StoreError as error:
            self._screen.say(f"broken: the release cannot be written: {error}")
            return
        self._digest, self._version = build.snapshot.digest, release.version
        await self._place(placement, nursery)
        await self._tell_live(release, placement, saved_at, _named(files))

    def _refuse(self, build: Build) -> None:
        serving = f"version {self._version} goes on serving" if self._version else "nothing serves yet"
        self.board.mistakes = self._findings = build.findings
        self.board.change = f"broken: {build.summary}; {serving}"
        self._screen.quote(build.findings)
        self._screen.say(self.board.change)

    async def _place(self, placement: Placement, nursery: trio.Nursery) -> None:
        if self._keeper is None:
            self._keeper = await self._start(placement, nursery)
        for sentence in placement.advice:
            self._screen.say(sentence)
        self.board.keep(set(placement.proxies))
        for name, placed in placement.proxies.items():
            proxy = placed.proxy
            addresses = f"{proxy.address}:{','.join(map(str, placed.ports))}"
            row = self.board.rows.setdefault(name, Row(name, proxy.kind, addresses, placed.hosts))
            row.addresses, row.hosts = addresses, placed.hosts
        await self._keeper.follow(placement)

    async def _start(self, placement: Placement, nursery: trio.Nursery) -> Keeper:
        host = f"{self._file.network}.2.1"
        plane = LocalPlane(self._folder, (host, API), (host, MONITORING), placement.trust_domain)
        require_free(
            (plane.api, plane.monitoring), f"another `network` than {self._file.network} in weft-dev.toml may be free"
        )
        await plane.start(self._children)
        await plane.write_bundle()
        keeper = Keeper(self._folder, self._home, plane, self._children, self._screen.say)
        nursery.start_soon(keeper.watch)
        nursery.start_soon(self._observe, keeper)
        return keeper

    async def _tell_live(self, release: Release, placement: Placement, saved_at: float, what: str) -> None:
        """Waits until every proxy serves the release, one refuses it, or something newer was saved."""
        waiting = {name: (placed.proxy.address, ADMIN) for name, placed in placement.proxies.items()}
        live_at = saved_at
        with trio.move_on_after(LIVE_S):
            while waiting and not self._saves.pending:
                for name, address in list(waiting.items()):
                    view = await look_at(address)
                    if view is not None and view.running is not None and view.running.version >= release.version:
                        live_at = max(live_at, view.running.since_s)
                        del waiting[name]
                    elif view is not None and _refused(view, release.version):
                        self._screen.say(f"{name} refuses {view.refused.message if view.refused else ''}")
                        del waiting[name]
                if waiting:
                    await trio.sleep(SWEEP_S)
        if waiting:
            why = (
                "overtaken by the next save"
                if self._saves.pending
                else f"not live on {', '.join(waiting)} after {LIVE_S:g} s"
            )
            self.board.change = f"{what}: version {release.version} {why}"
        else:
            took_ms = (live_at - saved_at) * 1000
            clock = time.strftime("%H:%M:%S", time.localtime(live_at))
            took = f"{took_ms:.0f} ms after the save" if what else f"{took_ms / 1000:.1f} s after the start"
            self.board.change = f"{what or 'everything'}: version {release.version} live at {clock}, {took}"
        self._screen.say(f"live: {self.board.change}")

    async def _observe(self, keeper: Keeper) -> None:
        """Keeps the board up to date."""
        before: dict[str, float] = {}
        while True:
            for name, row in list(self.board.rows.items()):
                address = row.addresses.partition(":")[0], ADMIN
                row.view = await look_at(address)
                row.problem = keeper.ended.get(name, "") or keeper.ended.get(f"app-{name}", "")
                reply = await read(address, "/stats/prometheus")
                now = trio.current_time()
                if reply is not None:
                    self.board.count(name, reply.body.decode(errors="replace"), now - before.get(name, now))
                    before[name] = now
            await trio.sleep(OBSERVE_S)


def _refused(view: ProxyView, version: int) -> bool:
    return view.refused is not None and view.refused.message.startswith(f"version {version}:")


def _named(files: list[str]) -> str:
    """The files of a save, in words; "" for the first build."""
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
