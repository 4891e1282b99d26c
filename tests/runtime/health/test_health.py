"""Probes: each kind against a real application, the thresholds as a table, and the task that follows a slice's probe."""

from __future__ import annotations

import socket

import h11
import pytest
import trio
import trio.testing

from policies.probe import ExecProbe, GrpcProbe, HttpProbe, Probe, TcpProbe
from runtime.bootstrap import Bootstrap
from runtime.health.asking import ask
from runtime.health.prober import Prober
from runtime.health.streak import Streak
from snapshot.index import Selector
from tests.echo import Echo, running
from tests.h2_peer import Origin, OriginConnection, serving

HERE = Bootstrap(Selector(), "", "", "")


@pytest.mark.parametrize(
    ("answers", "verdicts"),
    [
        ("b", "b"),
        ("g", "b"),
        ("gg", "bg"),
        ("gbgg", "bbbg"),
        ("ggbb", "bggg"),
        ("ggbbb", "bgggb"),
        ("ggbbgbbb", "bggggggb"),
    ],
)
def test_so_many_answers_in_a_row_change_the_verdict(answers: str, verdicts: str) -> None:
    streak = Streak(successes=2, failures=3)
    found = []
    for answer in answers:
        before = streak.ready
        assert streak.observe(good=answer == "g") == (streak.ready != before)
        found.append("g" if streak.ready else "b")
    assert "".join(found) == verdicts


def status(code: int):  # type: ignore[no-untyped-def]
    def reply(request: h11.Request, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        return code, [], b""

    return reply


@pytest.mark.integration
@pytest.mark.parametrize(("code", "wrong"), [(200, ""), (302, ""), (404, "status 404"), (503, "status 503")])
async def test_an_http_probe_is_good_from_200_to_399(code: int, wrong: str) -> None:
    async with running(Echo("app", reply=status(code))) as (app,):
        moved = Bootstrap(Selector(), "", "", "", application_ports={"8080": app.port})
        assert await ask(Probe(HttpProbe(8080, "/healthz")), moved) == wrong


@pytest.mark.integration
async def test_an_http_probe_asks_for_its_path_with_its_headers() -> None:
    async with running(Echo("app")) as (app,):
        await ask(Probe(HttpProbe(app.port, "/healthz?deep", app.address, headers=(("x-probe", "1"),))), HERE)
        assert app.seen[0]["path"] == "/healthz?deep"
        assert app.seen[0]["headers"]["x-probe"] == ["1"]  # type: ignore[index]


@pytest.mark.integration
async def test_a_tcp_probe_is_good_where_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        assert await ask(Probe(TcpProbe(port)), HERE) == ""
    assert await ask(Probe(TcpProbe(port)), HERE) != ""


@pytest.mark.integration
@pytest.mark.parametrize(("answer", "good"), [(b"\x08\x01", True), (b"\x08\x02", False), (b"", False)])
async def test_a_grpc_probe_asks_the_health_service(answer: bytes, good: bool) -> None:
    asked: list[bytes] = []

    def script(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
        asked.append(body)
        assert head[":path"] == "/grpc.health.v1.Health/Check"
        connection.respond(stream, b"\0" + len(answer).to_bytes(4, "big") + answer)

    async with serving(Origin(script)) as origin:
        assert (await ask(Probe(GrpcProbe(origin.port, "shop"), timeout_ms=3000), HERE) == "") == good
    assert asked == [b"\0\0\0\0\x06\x0a\x04shop"]


@pytest.mark.integration
async def test_a_command_is_good_where_it_ends_with_0_and_is_ended_at_the_time_out() -> None:
    assert await ask(Probe(ExecProbe(("true",))), HERE) == ""
    assert await ask(Probe(ExecProbe(("false",))), HERE) == "exit code 1"
    assert await ask(Probe(ExecProbe(("no-such-command-here",))), HERE) != ""
    with trio.fail_after(3):
        assert await ask(Probe(ExecProbe(("sleep", "60")), timeout_ms=100), HERE) == "no answer within 100 ms"


class Application:
    """Answers as it is told, and remembers when it was asked."""

    def __init__(self) -> None:
        self.wrong = ""
        self.asked: list[float] = []

    async def ask(self, probe: Probe, bootstrap: Bootstrap) -> str:
        self.asked.append(trio.current_time())
        return self.wrong


async def test_the_verdict_follows_the_application(autojump_clock: trio.testing.MockClock) -> None:
    application, told = Application(), []
    prober = Prober(HERE, ask=application.ask)

    async def tell() -> None:
        told.append((trio.current_time(), prober.problem))

    assert prober.problem == "", "nothing asks yet"
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(prober.run, tell)
        prober.use(Probe(TcpProbe(1), initial_delay_ms=5_000, period_ms=2_000, failures=2))
        assert "not answered" in prober.problem
        await trio.sleep(6)
        application.wrong = "ill"
        await trio.sleep(6)
        prober.use(None)
        assert prober.problem == ""
        asked = len(application.asked)
        await trio.sleep(60)
        assert len(application.asked) == asked
        nursery.cancel_scope.cancel()
    assert [(at - begun, problem) for at, problem in told] == [
        (5, ""),
        (9, "the application's readiness probe fails: ill"),
    ]
