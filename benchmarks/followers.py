"""A process of proxies' fetchers, each with its own connection, memory and state: what ``benchmarks.watchers`` starts a few of.

Arguments: store URL, CA file, root file, a folder, then the names of slices. Prints ``<slice> <release> <monotonic seconds>`` for every
verified slice, at the moment at which a supervisor would hand it to its workers.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import trio

from runtime.bootstrap import Bootstrap
from runtime.fetch import FetchProblem, News, follow
from snapshot.index import Selector


async def _follow(store: str, ca: str, root: str, folder: Path, names: list[str]) -> None:
    async with trio.open_nursery() as nursery:
        for name in names:
            state = str(folder / name.replace("/", "-"))
            bootstrap = Bootstrap(selector=Selector(name=name), store=store, control_ca=ca, root=root, state=state)
            send, receive = trio.open_memory_channel[News](16)
            nursery.start_soon(follow, bootstrap, send)
            nursery.start_soon(_tell, name, receive)


async def _tell(name: str, receive: trio.MemoryReceiveChannel[News]) -> None:
    async for news in receive:
        if isinstance(news, FetchProblem):
            print(f"{name}: {news.message}", file=sys.stderr, flush=True)
            continue
        print(name, news.release.version, time.monotonic(), flush=True)


def main(store: str, ca: str, root: str, folder: str, *names: str) -> None:
    """Follows until it is ended; problems go to the standard error stream."""
    trio.run(_follow, store, ca, root, Path(folder), list(names))


if __name__ == "__main__":
    main(*sys.argv[1:])
