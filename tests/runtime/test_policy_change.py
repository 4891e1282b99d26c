"""What becomes of open connections when the policies over them change, by MeshConfig's onPolicyChange."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.match import Exact
from policies.source import SourceRef
from policies.traffic import Destination, DirectResponse
from runtime.policy_change import same_admission
from snapshot.section import (
    FilterChain,
    HttpChain,
    Listener,
    MeshTls,
    PolicySet,
    Proxy,
    Section,
    ServerTls,
    TcpChain,
)
from tests.compiler.compiled import compiled
from tests.runtime.proxying import Running, proxying
from tests.slices import SOURCE, WORKLOAD, cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration

MODES = ("keep", "revalidate", "close")


def rule(attribute: str, value: str) -> Rule:
    return Rule(SOURCE, operations=((Clause(attribute, (Exact(value),)),),))


def policies(*denied: Rule) -> PolicySet:
    """Denies what these rules match; a set of its own for each."""
    source = SourceRef("AuthorizationPolicy", "default", f"with-{len(denied)}-rules")
    return PolicySet("policies", (AuthorizationPolicy(source, Action.DENY, denied),))


EVERYBODY = rule("source.ip", "127.0.0.0/8")
NOBODY_HERE = rule("source.ip", "10.1.2.0/24")


def about(mode: str) -> Proxy:
    return Proxy(WORKLOAD, "cluster.local", on_policy_change=mode)


def relay(port: int, mode: str, *denied: Rule) -> list[Section]:
    chain = FilterChain("tcp", SOURCE, TcpChain((Destination("t"),), SOURCE, "policies"))
    listener = Listener("tcp", SOURCE, "gateway", gateway_listener().bind, "tcp", (chain,))
    return [about(mode), listener, cluster("t", ("127.0.0.1", port), protocol="tcp"), policies(*denied)]


def web(port: int, mode: str, *denied: Rule) -> list[Section]:
    return [
        about(mode),
        gateway_listener(policies="policies"),
        table(),
        *host_sections("all", ["*"], [route(None, "a")]),
        cluster("a", ("127.0.0.1", port)),
        policies(*denied),
    ]


@asynccontextmanager
async def echoing(greeting: bytes = b"") -> AsyncIterator[int]:
    """Sends back what comes, after a greeting to a request head where there is one."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            if greeting:
                received = b""
                while b"\r\n\r\n" not in received:
                    received += await stream.receive_some()
                await stream.send_all(greeting)
            async for data in stream:
                await stream.send_all(data)

    async def serve_one(stream: trio.SocketStream) -> None:
        try:
            await serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve_one, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def echoes(stream: trio.SocketStream) -> bool:
    """Whether what is sent comes back; False where the connection is closed instead."""
    with trio.fail_after(5):
        try:
            await stream.send_all(b"ping")
            return await stream.receive_some() == b"ping"
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False


async def settled(proxy: Running) -> None:
    """Waits until every connection has been moved to the serving snapshot."""
    done = trio.Event()
    await trio.testing.wait_all_tasks_blocked(0.02)
    proxy.proxy.lane.call(done.set)
    await done.wait()


@pytest.mark.parametrize("mode", MODES)
async def test_a_relay_that_the_new_policies_refuse_is_cut_off_unless_it_is_to_be_kept(mode: str) -> None:
    async with echoing() as port, proxying(*relay(port, mode)) as proxy:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            assert await echoes(stream)
            await proxy.swap(*relay(port, mode, EVERYBODY))
            await settled(proxy)
            assert await echoes(stream) == (mode == "keep")


@pytest.mark.parametrize("mode", MODES)
async def test_a_relay_that_the_new_policies_allow_goes_on_unless_all_are_to_be_closed(mode: str) -> None:
    async with echoing() as port, proxying(*relay(port, mode)) as proxy:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            assert await echoes(stream)
            await proxy.swap(*relay(port, mode, NOBODY_HERE))
            await settled(proxy)
            assert await echoes(stream) == (mode != "close")


@pytest.mark.parametrize("mode", MODES)
async def test_a_snapshot_that_leaves_the_policies_as_they_were_closes_nothing(mode: str) -> None:
    async with echoing() as port, proxying(*relay(port, mode, NOBODY_HERE)) as proxy:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            assert await echoes(stream)
            await proxy.swap(*relay(port, mode, NOBODY_HERE), cluster("another"))
            await settled(proxy)
            assert await echoes(stream)


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


@asynccontextmanager
async def tunnel(proxy: Running) -> AsyncIterator[trio.SocketStream]:
    async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
        await stream.send_all(b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        received = b""
        while b"\r\n\r\n" not in received:
            received += await stream.receive_some()
        assert received.startswith(b"HTTP/1.1 101")
        yield stream


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("path", "kept_by"), [("/chat", {"keep"}), ("/elsewhere", {"keep", "revalidate"})], ids=["refused", "allowed"]
)
async def test_a_websocket_is_asked_again_with_its_request(mode: str, path: str, kept_by: set[str]) -> None:
    async with echoing(SWITCHING) as port, proxying(*web(port, mode)) as proxy, tunnel(proxy) as stream:
        assert await echoes(stream)
        await proxy.swap(*web(port, mode, rule("request.path", path)))
        await settled(proxy)
        assert await echoes(stream) == (mode in kept_by)


async def reply_on(stream: trio.SocketStream) -> bytes:
    await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    with trio.fail_after(5):
        return await stream.receive_some()


def answering(status: int, mode: str, *chains: FilterChain) -> list[Section]:
    listener = Listener("in", SOURCE, "inbound", gateway_listener().bind, "http", chains)
    return [
        about(mode),
        listener,
        table(),
        *host_sections("all", ["*"], [route(action=DirectResponse(status))]),
    ]


PLAIN = FilterChain("plain", SOURCE, HttpChain("80"))
MESH = FilterChain("mtls", SOURCE, HttpChain("80"), tls=MeshTls())
EDGE = FilterChain("plain", SOURCE, HttpChain("80", edge=True))


@pytest.mark.parametrize(("mode", "status"), [("keep", b"204"), ("revalidate", b"403"), ("close", b"403")])
async def test_plain_text_gets_no_request_in_once_mutual_tls_is_asked_for(mode: str, status: bytes) -> None:
    async with proxying(*answering(204, mode, PLAIN, MESH)) as proxy:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            assert (await reply_on(stream)).startswith(b"HTTP/1.1 204")
            await proxy.swap(*answering(206, mode, MESH))
            assert (await reply_on(stream)).startswith(b"HTTP/1.1 " + status)


async def test_a_request_on_a_connection_that_is_about_to_close_is_decided_by_the_new_snapshot() -> None:
    async with proxying(*answering(204, "revalidate", PLAIN)) as proxy:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            assert (await reply_on(stream)).startswith(b"HTTP/1.1 204")
            await proxy.swap(*answering(206, "revalidate", EDGE))
            assert (await reply_on(stream)).startswith(b"HTTP/1.1 206")


def test_the_mesh_config_says_what_happens() -> None:
    mesh = compiled(
        "apiVersion: weft/v1\nkind: MeshConfig\nmetadata: {name: m}\nspec: {onPolicyChange: close}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\nspec: {containers: [{name: a, image: a}]}\n",
    )
    assert mesh.slice("sidecar/shop/p").proxy.on_policy_change == "close"


def test_tls_that_asks_clients_for_the_same_proof_admits_the_same() -> None:
    assert same_admission(ServerTls(("a/b",)), ServerTls(("a/c",), min_version="TLSv1_3"))
    assert not same_admission(ServerTls(("a/b",)), ServerTls(("a/b",), client="require"))
    assert not same_admission(None, MeshTls())
