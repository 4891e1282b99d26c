"""Flow control end to end: large bodies leave no trace in memory, and one slow reader slows nobody else on its connection."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from benchmarks import slow_reader
from benchmarks.streaming import LIMIT_MIB, TARGETS, stream
from snapshot.section import Section
from tests.h2_peer import Client, Origin, OriginConnection, connected, serving
from tests.runtime.envoying import envoying
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration
MIB = 256
SLOW = 2 << 20
OTHERS = 40
HELD = 262_144
"""How many bytes of a body that is not read may have left the origin: four windows of 64 KiB, of which the client's is one."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_a_large_body_passes_whole_and_memory_stays(target: object, http2: bool, tmp_path: Path) -> None:
    bodies = await trio.to_thread.run_sync(lambda: stream(target, http2=http2, mib=MIB >> http2, folder=tmp_path))  # type: ignore[arg-type]
    assert [one.direction for one in bodies] == ["up", "down"]
    for one in bodies:
        assert one.whole, one
        assert one.grew_mib < LIMIT_MIB, one


class SlowOrSmall:
    """An origin's script: a large body to ``/slow``, a small one to all else."""

    def __init__(self) -> None:
        self._slow: tuple[OriginConnection, int] | None = None

    def __call__(self, connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
        del body
        if head[":path"] == "/slow":
            self._slow = connection, stream
        connection.respond(stream, b"x" * SLOW if head[":path"] == "/slow" else b"y" * 20_000)

    @property
    def sent(self) -> int:
        """How much of the large body has left."""
        assert self._slow is not None
        connection, stream = self._slow
        return SLOW - len(connection.waiting[stream])


class Choosy(Client):
    """Gives flow control back for every stream but one, and for the connection always: only that stream's reader is slow."""

    slow = 0

    def acknowledge(self, size: int, stream: int) -> None:
        if stream == self.slow:
            self.h2.increment_flow_control_window(size)
        else:
            self.h2.acknowledge_received_data(size, stream)


def sections(port: int) -> list[Section]:
    hosts = host_sections("all", ["*"], [route(None, "a")])
    return [gateway_listener(), table(), *hosts, cluster("a", ("127.0.0.1", port), protocol="http2")]


async def others_beside_a_slow_one(port: int, origin: SlowOrSmall) -> int:
    """How many streams of the same connection end while one stands still; the slow one gets the rest of its body afterwards."""
    async with connected(port, kind=Choosy) as client:
        assert isinstance(client, Choosy)
        client.slow = slow = await client.request("/slow")
        while len(client.answers[slow].body) < 65_535:
            await client.step()
        done = 0
        for number in range(OTHERS):
            done += len((await client.get(f"/{number}")).body) == 20_000
        assert len(client.answers[slow].body) == 65_535
        assert not client.answers[slow].ended
        assert origin.sent <= HELD
        client.slow = 0
        client.h2.increment_flow_control_window(SLOW, slow)
        await client.flush()
        assert len((await client.answer(slow)).body) == SLOW
        return done


@pytest.mark.parametrize("engine", ["trio", "envoy"])
async def test_a_slow_reader_of_one_stream_stops_no_other_of_its_connection(engine: str, tmp_path: Path) -> None:
    script = SlowOrSmall()
    async with serving(Origin(script)) as origin:
        started = envoying(tmp_path, *sections(origin.port)) if engine == "envoy" else proxying(*sections(origin.port))
        async with started as proxy:
            with trio.fail_after(10):
                assert await others_beside_a_slow_one(proxy.ports[80], script) == OTHERS
            assert origin.connections == 1


@pytest.mark.parametrize("target", slow_reader.TARGETS, ids=lambda target: target.name)
async def test_the_slow_readers_benchmark_measures_what_it_says(target: object, tmp_path: Path) -> None:
    seen = await trio.to_thread.run_sync(
        lambda: slow_reader.measure(target, tmp_path, rounds=2, requests=50)  # type: ignore[arg-type]
    )
    assert seen.slow_kib >= 2 * 63
    assert seen.grew_mib < LIMIT_MIB
    assert seen.ratio > 0
