"""What the proxies say that they run, read from their admin pages, and how long each publication took to get there."""

from __future__ import annotations

from typing import TypeVar

import trio

from weft.demo.pipeline import Publication
from weft.demo.plan import BY_NAME, PROXIES, DemoError
from weft.local.children import Children
from weft.local.views import ADMIN, LOOK_S, READINESS, ProxyView, look_at, read_page, wait_ready

LIVE_S = 20.0

T = TypeVar("T")


class Observer:
    """Looks at every proxy again and again. ``views`` holds what each said last, None for one that did not answer."""

    def __init__(self, children: Children) -> None:
        self.views: dict[str, ProxyView | None] = {proxy.name: None for proxy in PROXIES}
        self.propagation_ms: list[float] = []
        self._children = children

    async def watch(self) -> None:
        """Keeps ``views`` up to date; runs until cancelled."""
        while True:
            await self.look()
            await trio.sleep(4 * LOOK_S)

    async def look(self) -> None:
        """Reads all proxies once, one after the other: this is cheap and must not be a load of its own."""
        for proxy in PROXIES:
            self.views[proxy.name] = await look_at((proxy.address, ADMIN))

    async def wait_ready(self, *names: str) -> None:
        """Waits until these proxies say that they are ready; raises LocalError for one that ended or takes too long."""
        for name in names:
            await wait_ready((BY_NAME[name].address, READINESS), "/healthz/ready", self._children, name=name)

    async def wait_live(self, published: Publication) -> list[float]:
        """Waits until every proxy serves this publication; returns how many milliseconds after it became visible each did."""
        with trio.move_on_after(LIVE_S):
            while not all(self._serves(name, published) for name in self.views):
                await self.look()
                await trio.sleep(LOOK_S / 2)
            times = [self._since(name) - published.visible_at for name in self.views]
            took = [max(0.0, seconds * 1000) for seconds in times]
            self.propagation_ms += took
            return took
        self._children.require_alive()
        late = [f"{name}: {self.views[name]}" for name in self.views if not self._serves(name, published)]
        raise DemoError(f"version {published.version} is not live everywhere after {LIVE_S:.0f} s:\n" + "\n".join(late))

    async def wait_content(self) -> None:
        """Waits until no proxy has anything to say against the store any more; raises DemoError."""
        with trio.move_on_after(LIVE_S):
            while any(view is None or view.problem is not None for view in self.views.values()):
                await trio.sleep(LOOK_S)
                await self.look()
            return
        told = [f"{name}: {view.problem if view else 'no answer'}" for name, view in self.views.items()]
        raise DemoError(f"the proxies did not find back to the store within {LIVE_S:.0f} s:\n" + "\n".join(told))

    def digests(self) -> dict[str, str]:
        """What each proxy serves; "" where it does not say."""
        return {name: view.running.digest if view and view.running else "" for name, view in self.views.items()}

    def _serves(self, name: str, published: Publication) -> bool:
        view = self.views[name]
        return bool(view and view.running and view.running.version == published.version)

    def _since(self, name: str) -> float:
        view = self.views[name]
        assert view is not None
        assert view.running is not None
        return view.running.since_s

    async def page(self, name: str, path: str, shape: type[T]) -> T:
        """An admin page of one proxy as a type; raises DemoError where it does not answer."""
        found = await read_page((BY_NAME[name].address, ADMIN), path, shape)
        if found is None:
            raise DemoError(f"{name} does not answer {path}")
        return found
