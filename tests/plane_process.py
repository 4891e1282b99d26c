"""A worker process with a fake data plane: accepts on what it was given and answers with the digest that it serves. Run as a program.

It can be told to misbehave by the mesh it runs: a slice whose first direct response says ``refuse`` cannot be prepared,
``refuse-in-one-worker`` not in the second that tries, ``die`` ends the process in prepare, ``die-after-swap`` right after its swap.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from runtime.bootstrap import Bootstrap
from runtime.telemetry import MetricsSnapshot
from runtime.worker import main
from snapshot.encode import decode_section
from snapshot.index import Slice
from snapshot.live import Credential, FetchedKeys, Registry, Resolved, Svid
from snapshot.prepared import PrepareError
from snapshot.section import Listener, RouteBlock


class FakePlane:
    """Serves one line per connection: the digest of the slice, and this process's id."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        self._bootstrap = bootstrap
        self._sockets: dict[str, socket.socket] = {}
        self._serving: dict[str, trio.CancelScope] = {}
        self._closed: frozenset[str] = frozenset()
        self._digest = ""
        self._nursery: trio.Nursery | None = None
        self._seen: dict[str, object] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def add_sockets(self, sockets: dict[str, socket.socket]) -> None:
        self._sockets.update(sockets)

    def drop_sockets(self, names: frozenset[str]) -> None:
        for name in names:
            if name in self._serving:
                self._serving.pop(name).cancel()
            self._sockets.pop(name).close()

    async def prepare(self, slice_: Slice) -> tuple[str, str, set[str]]:
        sections = [decode_section(slice_.blobs[ref.behaviour]) for ref in slice_.index.sections]
        body = next(one.routes[0].action.body for one in sections if isinstance(one, RouteBlock))  # type: ignore[union-attr]
        if body == "refuse":
            raise PrepareError("reference", "this slice refuses")
        if body == "refuse-in-one-worker":
            try:
                (Path(self._bootstrap.state) / "one-has-prepared").mkdir()
            except FileExistsError:
                raise PrepareError("reference", "the other worker was first") from None
        if body == "die":
            os._exit(3)
        addresses = (self._bootstrap.resolve(one.bind) for one in sections if isinstance(one, Listener))
        return slice_.snapshot, body, {f"{one[0]}:{one[1]}" for one in addresses if one}

    def swap(self, generation: tuple[str, str, set[str]]) -> None:
        self._digest, body, names = generation
        assert self._nursery is not None
        for name in names - self._serving.keys() - self._closed:
            self._serving[name] = trio.CancelScope()
            self._nursery.start_soon(self._serve, name, self._serving[name])
        self.drop_sockets(frozenset(self._serving) - names)
        if body == "die-after-swap":
            os._exit(4)

    def share_limits(self, borrow: object, workers: int) -> None:
        self._seen["workers"] = workers

    def set_registry(self, registry: Registry) -> None:
        self._seen["registry"] = registry.version

    def set_resolved(self, resolved: list[Resolved]) -> None:
        self._seen["resolved"] = msgspec.to_builtins(resolved)

    def set_svid(self, svid: Svid) -> None:
        self._seen["svid"] = svid.identity

    def set_credentials(self, credentials: list[Credential]) -> None:
        self._seen["credentials"] = [one.name for one in credentials]

    def set_keys(self, keys: Sequence[FetchedKeys]) -> None:
        self._seen["keys"] = len(keys)

    def set_leaving(self, leaving: bool) -> None:
        self._seen["leaving"] = leaving

    def close_listeners(self, names: frozenset[str]) -> None:
        self._seen["closed"] = sorted(names)
        self._closed |= names
        self.drop_sockets(names & self._sockets.keys())

    async def drain(self, deadline_s: float) -> None:
        self._seen["drain"] = deadline_s

    def pause_ms(self) -> float:
        return 0.0

    async def page(self, name: str) -> bytes:
        if name == "metrics":
            return msgspec.msgpack.encode(MetricsSnapshot())
        if name == "clusters":
            return b"[]"
        return json.dumps({"page": name, **self._seen}).encode()

    async def _serve(self, name: str, scope: trio.CancelScope) -> None:
        accepting = trio.socket.from_stdlib_socket(self._sockets[name])
        with scope:
            while True:
                accepted, _ = await accepting.accept()
                await accepted.send(f"{self._digest} {os.getpid()}\n".encode())
                accepted.close()


if __name__ == "__main__":
    main(FakePlane, int(sys.argv[1]))
