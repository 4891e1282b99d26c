"""gRPC by grpcio through two hops of mutual TLS, each of either engine: every shape of streaming, statuses, deadlines, cancellation."""

from __future__ import annotations

import queue
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trio

from snapshot.live import Svid
from snapshot.section import (
    FilterChain,
    HttpChain,
    Listener,
    MeshTls,
    MeshUpstream,
    Proxy,
    Section,
    Workload,
    WorkloadPort,
)
from tests.grpc_peer import Caller, Shapes, serving
from tests.runtime.authority import Authority, identity
from tests.runtime.envoying import envoying
from tests.runtime.proxying import proxying
from tests.slices import SOURCE, cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration
engines = pytest.mark.parametrize("engines", [("trio", "trio"), ("envoy", "trio"), ("trio", "envoy")], ids="-".join)
TIMEOUT_S = 10.0


def about(account: str) -> Proxy:
    workload = Workload(name=account, namespace="default", identity=identity(account))
    return Proxy(workload=workload, trust_domain="cluster.local")


def client_side(port: int) -> list[Section]:
    tls = MeshUpstream((identity("server"),), "outbound_.80_._.b.default.svc.cluster.local")
    hosts = host_sections("all", ["*"], [route(None, "b")])
    return [
        about("client"),
        gateway_listener(),
        table(),
        *hosts,
        cluster("b", ("127.0.0.1", port), tls=tls, protocol="http2"),
    ]


def server_side(port: int) -> list[Section]:
    chain = FilterChain(name="mesh", source=SOURCE, network=HttpChain(routes="80"), tls=MeshTls())
    listener = Listener("inbound", SOURCE, "inbound", WorkloadPort(80), "http", (chain,))
    hosts = host_sections("all", ["*"], [route(None, "app")])
    return [about("server"), listener, table(), *hosts, cluster("app", ("127.0.0.1", port), protocol="http2")]


async def hop(stack: AsyncExitStack, engine: str, folder: Path, sections: list[Section], svid: Svid) -> int:
    """Starts a proxy; returns the port on which it listens."""
    if engine == "envoy":
        return (await stack.enter_async_context(envoying(folder, *sections, svid=svid))).ports[80]
    proxy = await stack.enter_async_context(proxying(*sections))
    proxy.proxy.set_svid(svid)
    return proxy.ports[80]


@asynccontextmanager
async def calling(engines: tuple[str, str], folder: Path) -> AsyncIterator[tuple[Caller, Shapes]]:
    """A caller before two hops and the server behind them."""
    authority = Authority()
    async with AsyncExitStack() as stack:
        port, shapes = stack.enter_context(serving())
        port = await hop(stack, engines[1], folder, server_side(port), authority.svid(identity("server")))
        port = await hop(stack, engines[0], folder, client_side(port), authority.svid(identity("client")))
        yield stack.enter_context(Caller(port)), shapes


def unary(caller: Caller) -> None:
    reply, call = caller.unary("Unary").with_call(b"m" * 100_000, timeout=TIMEOUT_S)
    assert reply == b"m" * 100_000
    assert dict(call.initial_metadata())["x-first"] == "1"
    assert dict(call.trailing_metadata())["x-last"] == "2"


def many_down(caller: Caller) -> None:
    assert [int(part) for part in caller.down("Down")(b"500", timeout=TIMEOUT_S)] == list(range(500))


def many_up(caller: Caller) -> None:
    assert caller.up("Up")(iter([b"x" * 10_000] * 100), timeout=TIMEOUT_S) == b"1000000"


def conversation(caller: Caller) -> None:
    """Each message is only sent once the one before was answered: nothing on the way may wait for more."""
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call = caller.both("Both")(iter(said.get, None), timeout=TIMEOUT_S)
    for number in range(20):
        said.put(b"%d" % number)
        assert next(call) == b"re: %d" % number
    said.put(None)
    assert list(call) == []
    assert dict(call.trailing_metadata())["x-last"] == "2"


def failure(caller: Caller) -> None:
    call = caller.down("Fail")(b"first", timeout=TIMEOUT_S)
    assert next(call) == b"first"
    with pytest.raises(grpc.RpcError):
        next(call)
    assert (call.code(), call.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not like this")


def unknown_method(caller: Caller) -> None:
    with pytest.raises(grpc.RpcError) as error:
        caller.unary("Nothing")(b"", timeout=TIMEOUT_S)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


@engines
async def test_every_shape_of_call_passes_both_hops(engines: tuple[str, str], tmp_path: Path) -> None:
    async with calling(engines, tmp_path) as (caller, _):
        for call in (unary, many_down, many_up, conversation, failure, unknown_method):
            await trio.to_thread.run_sync(call, caller)


@engines
async def test_a_client_that_gives_up_is_heard_of_by_the_server(engines: tuple[str, str], tmp_path: Path) -> None:
    async with calling(engines, tmp_path) as (caller, shapes):

        def give_up() -> bool:
            with pytest.raises(grpc.RpcError) as error:
                caller.unary("Wait")(b"", timeout=0.3)
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return shapes.cancelled.wait(5)

        assert await trio.to_thread.run_sync(give_up)


async def test_a_server_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    authority = Authority()
    async with AsyncExitStack() as stack:
        with serving() as (gone, _):
            pass
        port = await hop(stack, "trio", tmp_path, server_side(gone), authority.svid(identity("server")))
        port = await hop(stack, "trio", tmp_path, client_side(port), authority.svid(identity("client")))
        caller = stack.enter_context(Caller(port))

        def call() -> None:
            with pytest.raises(grpc.RpcError) as error:
                caller.unary("Unary")(b"", timeout=TIMEOUT_S)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE

        await trio.to_thread.run_sync(call)
