"""The demonstration from top to bottom: bring the mesh up, tell the story under load, sum up, leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from weft.demo.generator import Generator
from weft.demo.load import Report
from weft.demo.mesh import DemoMesh
from weft.demo.plan import BY_NAME, CONTROL_MONITORING, INGRESS, PARTNERS, PROXIES, DemoError
from weft.demo.screen import Screen
from weft.demo.story import Story, percentile
from weft.local.children import STOP_S
from weft.local.http_client import BadReplyError, HttpClient
from weft.local.views import ADMIN

STEADY_S = 20.0
SHOW_S = 0.2


class Told(msgspec.Struct, frozen=True):
    """What is left of a demonstration: the load's last count, and how long each proxy took to serve each publication, in milliseconds."""

    report: Report
    propagation_ms: list[float]


async def demonstrate(folder: Path, screen: Screen, *, keep: bool) -> Told:
    """Runs it all in ``folder``, which is emptied first. Raises DemoError; whatever happens, processes are ended unless ``keep``."""
    mesh = DemoMesh(folder, screen, keep=keep)
    kept = False
    begun = trio.current_time()
    try:
        screen.title("a mesh on this machine, from nothing")
        first = await mesh.bring_up()
        async with trio.open_nursery() as nursery:
            await _steady()
            load = await Generator.start(nursery, folder / "logs" / "load.log")
            nursery.start_soon(mesh.observer.watch)
            nursery.start_soon(_show, screen, load, mesh)
            report = await Story(mesh, load, screen, begun=begun).tell(first)
            nursery.cancel_scope.cancel()
        _judge(report)
        if keep:
            mesh.remember()
            kept = True
        return Told(report, mesh.observer.propagation_ms)
    finally:
        if not kept:
            await mesh.children.stop_all()


async def _steady() -> None:
    """Waits until every way through the mesh answers once: endpoints travel to the proxies a moment after those are ready."""
    ways = ((INGRESS, "bookshop.example", "/"), (INGRESS, "bookshop.example", "/books/1/publisher"))
    last = ""
    with trio.move_on_after(STEADY_S):
        for address, host, path in (*ways, (PARTNERS, "partners.bookshop.example", "/api/v1/books")):
            while True:
                client = HttpClient(address)
                try:
                    reply = await client.get(host, path)
                    last = f"{path} is answered {reply.status}: {reply.body[:300].decode(errors='replace')}"
                    if reply.status == 200:
                        break
                except (OSError, trio.BrokenResourceError, trio.TooSlowError, BadReplyError) as error:
                    last = f"{path}: {error or type(error).__name__}"
                finally:
                    await client.close()
                await trio.sleep(0.1)
        return
    raise DemoError(f"the bookshop does not answer after {STEADY_S:.0f} s: {last}")


async def _show(screen: Screen, load: Generator, mesh: DemoMesh) -> None:
    while True:
        screen.show(load.report, mesh.observer.views)
        await trio.sleep(SHOW_S)


def _judge(report: Report) -> None:
    if report.failed:
        told = "\n".join(f"  {failure}" for failure in report.failures)
        raise DemoError(f"{report.failed} of {report.sent:,} requests failed:\n{told}")


def summary(told: Told) -> list[str]:
    """The closing lines."""
    report, propagation_ms = told.report, told.propagation_ms
    codes = ", ".join(f"{name}: {count:,}" for name, count in report.codes.items())
    return [
        f"requests sent: {report.sent:,}",
        f"failed: {report.failed}",
        f"  by kind and status: {codes}",
        f"  latency p50 {report.p50_ms:.1f} ms, p99 {report.p99_ms:.1f} ms",
        f"  replies whose hops each name exactly one snapshot: {report.stamped - report.mixed:,} of {report.stamped:,}",
        (
            f"published -> live: p50 {percentile(propagation_ms, 0.5):.0f} ms, p99 {percentile(propagation_ms, 0.99):.0f} ms, "
            f"longest {max(propagation_ms, default=0):.0f} ms, over {len(propagation_ms)} changes of a proxy"
        ),
    ]


def addresses() -> list[str]:
    """Where to look while it is left running."""
    lines = [
        "curl -H 'host: bookshop.example' http://{}:{}/".format(*INGRESS),
        f"curl -k --resolve bookshop.example:8443:{INGRESS[0]} https://bookshop.example:8443/books/1",
        "curl -H 'host: partners.bookshop.example' http://{}:{}/api/v1/books".format(*PARTNERS),
        f"curl -x http://{BY_NAME['storefront'].address}:15001 http://catalogue:9080/books",
        "curl http://{}:{}/metrics".format(*CONTROL_MONITORING),
    ]
    return lines + [f"curl http://{proxy.address}:{ADMIN}/snapshot     # {proxy.name}" for proxy in PROXIES]


def stop(folder: Path) -> int:
    """Ends what a demonstration with ``keep`` left running, and waits for its end; returns how many processes it ended."""
    record = folder / "running.json"
    if not record.exists():
        return 0
    leaders = [pid for pid in json.loads(record.read_text()) if _is_ours(pid)]
    for pid in leaders:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline and any(_is_ours(pid) for pid in leaders):
        time.sleep(0.05)
    for pid in leaders:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    record.unlink()
    return len(leaders)


def _is_ours(pid: int) -> bool:
    """Whether this process still runs and is one that a demonstration starts: numbers are used again."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"\0weft\0" in command or b"bookshop/app.py" in command
