"""Mutual TLS between two data planes, and who is refused."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack

import httpx
import pytest
import trio

from policies.traffic import Destination
from runtime.tls.contexts import MaterialError
from snapshot.live import Svid
from snapshot.section import (
    FilterChain,
    HttpChain,
    Listener,
    MeshTls,
    MeshUpstream,
    Proxy,
    Section,
    ServerTls,
    TcpChain,
    Workload,
    WorkloadPort,
)
from tests.echo import Echo, running
from tests.runtime.authority import Authority, identity
from tests.runtime.proxying import Running, proxying
from tests.slices import SOURCE, cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration

SNI = "outbound_.80_._.b.default.svc.cluster.local"


def about(account: str, domain: str = "cluster.local") -> Proxy:
    workload = Workload(name=account, namespace="default", identity=identity(account, domain=domain))
    return Proxy(workload=workload, trust_domain=domain)


def client_side(server_port: int, *identities: str) -> list[Section]:
    """A plain listener whose requests go to the server by mesh mutual TLS."""
    tls = MeshUpstream(identities, SNI)
    return [
        about("client"),
        gateway_listener(),
        table(),
        *host_sections("all", ["*"], [route(None, "b")]),
        cluster("b", ("127.0.0.1", server_port), tls=tls),
    ]


def server_side(origin: Echo, *, permissive: bool = False, domain: str = "cluster.local") -> list[Section]:
    """An inbound port, STRICT or PERMISSIVE, in front of an origin."""
    chains = [FilterChain(name="mesh", source=SOURCE, network=HttpChain(routes="80"), tls=MeshTls())]
    if permissive:
        chains.append(FilterChain(name="plain", source=SOURCE, network=HttpChain(routes="80")))
    listener = Listener("inbound", SOURCE, "inbound", WorkloadPort(8080), "http", tuple(chains))
    return [
        about("server", domain),
        listener,
        table(),
        *host_sections("all", ["*"], [route(None, "app")]),
        cluster("app", (origin.address, origin.port)),
    ]


async def pair(
    stack: AsyncExitStack,
    *identities: str,
    permissive: bool = False,
    server_authority: Authority | None = None,
    client_svid: Svid | None = None,
) -> tuple[Running, Running]:
    authority = Authority()
    origin = Echo("app")
    await stack.enter_async_context(running(origin))
    server = await stack.enter_async_context(proxying(*server_side(origin, permissive=permissive), ports=(8080,)))
    server.proxy.set_svid((server_authority or authority).svid(identity("server")))
    client = await stack.enter_async_context(proxying(*client_side(server.ports[8080], *identities)))
    client.proxy.set_svid(client_svid or authority.svid(identity("client")))
    return client, server


async def test_a_request_passes_and_the_origin_learns_who_called() -> None:
    async with AsyncExitStack() as stack:
        client, _ = await pair(stack, identity("server"))
        async with httpx.AsyncClient() as user:
            for _ in range(3):
                reply = await user.get(client.url())
                assert reply.status_code == 200
        certificate = reply.json()["headers"]["x-forwarded-client-cert"][0]
        assert f"URI={identity('client')}" in certificate
        assert f"By={identity('server')}" in certificate


async def test_a_large_body_passes_both_ways() -> None:
    async with AsyncExitStack() as stack:
        client, _ = await pair(stack, identity("server"))
        async with httpx.AsyncClient() as user:
            reply = await user.post(client.url(), content=b"x" * 1_000_000)
        assert len(reply.json()["body"]) == 1_000_000


async def test_an_upstream_of_another_service_account_is_refused() -> None:
    async with AsyncExitStack() as stack:
        client, _ = await pair(stack, identity("other"))
        reply = await client.get()
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert client.proxy.plane.instruments.value("weft_handshake_failed_total", "upstream", "upstream_identity") > 0


async def test_a_cluster_that_lists_no_identity_accepts_none() -> None:
    async with AsyncExitStack() as stack:
        client, _ = await pair(stack)
        assert (await client.get()).startswith(b"HTTP/1.1 503 ")


async def test_an_upstream_of_another_authority_is_refused() -> None:
    async with AsyncExitStack() as stack:
        client, _ = await pair(stack, identity("server"), server_authority=Authority("other"))
        assert (await client.get()).startswith(b"HTTP/1.1 503 ")


async def test_a_client_of_another_trust_domain_is_refused() -> None:
    async with AsyncExitStack() as stack:
        client, server = await pair(stack, identity("server"))
        authority = Authority()
        server.proxy.set_svid(authority.svid(identity("server")))
        client.proxy.set_svid(authority.svid(identity("client", domain="elsewhere.example")))
        assert (await client.get()).startswith(b"HTTP/1.1 503 ")
        assert server.proxy.plane.instruments.value("weft_handshake_failed_total", "downstream", "trust_domain") > 0


async def cut_off(server: Running) -> bool:
    """True where the server ends a plain connection without a byte."""
    try:
        return await server.get(port=8080) == b""
    except (OSError, trio.BrokenResourceError):
        return True


async def test_plain_text_to_a_strict_port_is_refused_and_to_a_permissive_one_served() -> None:
    async with AsyncExitStack() as stack:
        _, strict = await pair(stack, identity("server"))
        assert await cut_off(strict)
        client, permissive = await pair(stack, identity("server"), permissive=True)
        assert (await permissive.get(port=8080)).startswith(b"HTTP/1.1 200 ")
        assert (await client.get()).startswith(b"HTTP/1.1 200 ")


async def test_permissive_turned_strict_ends_open_plain_connections_after_their_reply() -> None:
    async with AsyncExitStack() as stack:
        origin = Echo("app")
        await stack.enter_async_context(running(origin))
        server = await stack.enter_async_context(proxying(*server_side(origin, permissive=True), ports=(8080,)))
        stream = await trio.open_tcp_stream("127.0.0.1", server.ports[8080])
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await server.swap(*server_side(origin))
        assert await stream.receive_some() == b""
        await stream.aclose()


async def test_rotation_loses_no_connection() -> None:
    async with AsyncExitStack() as stack:
        authority = Authority()
        origin = Echo("app")
        await stack.enter_async_context(running(origin))
        server = await stack.enter_async_context(proxying(*server_side(origin), ports=(8080,)))
        server.proxy.set_svid(authority.svid(identity("server")))
        client = await stack.enter_async_context(proxying(*client_side(server.ports[8080], identity("server"))))
        client.proxy.set_svid(authority.svid(identity("client")))
        async with httpx.AsyncClient() as user:
            for _ in range(3):
                assert (await user.get(client.url())).status_code == 200
                server.proxy.set_svid(authority.svid(identity("server")))
                client.proxy.set_svid(authority.svid(identity("client")))
        assert client.proxy.plane.instruments.value("weft_connections_total", "upstream") == 1


async def test_a_swap_that_changes_nothing_of_a_connection_keeps_it() -> None:
    async with AsyncExitStack() as stack:
        client, server = await pair(stack, identity("server"))
        assert (await client.get()).startswith(b"HTTP/1.1 200 ")
        await client.swap(*client_side(server.ports[8080], identity("server")), table("81"))
        assert (await client.get()).startswith(b"HTTP/1.1 200 ")
        assert client.proxy.plane.instruments.value("weft_connections_total", "upstream") == 1


def edge(origin: Echo) -> list[Section]:
    """TLS by SNI at a gateway, two certificates, and one name that passes through undecrypted."""

    def chain(name: str, host: str) -> FilterChain:
        tls = ServerTls(credentials=(f"default/{name}",))
        return FilterChain(name=name, source=SOURCE, network=HttpChain("80", edge=True), server_names=(host,), tls=tls)

    through = TcpChain((Destination("tls"),), SOURCE)
    listener = Listener(
        "https",
        SOURCE,
        "gateway",
        WorkloadPort(443),
        "http",
        (
            chain("one", "one.test"),
            chain("wild", "*.wild.test"),
            FilterChain("through", SOURCE, through, server_names=("through.test",), passthrough=True),
        ),
    )
    return [
        about("gateway"),
        listener,
        table(),
        *host_sections("all", ["*"], [route(None, "app")]),
        cluster("app", (origin.address, origin.port)),
        cluster("tls", ("127.0.0.1", 1), protocol="tcp"),
    ]


async def test_the_certificate_is_chosen_by_server_name_and_unknown_names_are_refused() -> None:
    authority = Authority()
    context = ssl.create_default_context(cadata=authority.bundle.decode())
    async with running(Echo("app")) as (origin,), proxying(*edge(origin), ports=(443,)) as proxy:
        proxy.proxy.set_credentials(
            [authority.credential("default/one", "one.test"), authority.credential("default/wild", "*.wild.test")]
        )
        for host, works in (("one.test", True), ("a.wild.test", True), ("two.test", False), ("through.test", False)):
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[443])
            tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
            try:
                await tls.send_all(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
                reply = await tls.receive_some()
            except (trio.BrokenResourceError, OSError):
                reply = b""
            assert bytes(reply).startswith(b"HTTP/1.1 200 ") == works, host
            await trio.aclose_forcefully(tls)


async def test_a_broken_credential_leaves_the_slot_with_its_last_good_one() -> None:
    authority = Authority()
    good = authority.credential("default/one", "one.test")
    async with running(Echo("app")) as (origin,), proxying(*edge(origin), ports=(443,)) as proxy:
        material = proxy.proxy.plane.generation.material
        proxy.proxy.set_credentials([good])
        chain, _ = authority.issue()
        broken = type(good)("default/one", chain, good.private_key, good.ca)
        assert [type(one) for one in material.set_credentials([broken])] == [MaterialError]
        assert material.names == {"default/one"}
        material.server(ServerTls(credentials=("default/one",)), http=True, http2=False)


async def test_a_kept_alive_connection_ends_with_the_certificate_that_its_client_showed() -> None:
    authority = Authority()
    async with running(Echo("app")) as (origin,), proxying(*server_side(origin), ports=(8080,)) as server:
        server.proxy.set_svid(authority.svid(identity("server")))
        shown = authority.svid(identity("client"), lives_s=2.0)
        raw = await trio.open_tcp_stream("127.0.0.1", server.ports[8080])
        stream = trio.SSLStream(raw, authority.client_context(shown), https_compatible=True)
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        with trio.fail_after(6):
            assert await stream.receive_some() == b""
        assert server.proxy.plane.instruments.value("weft_certificate_ended_total") == 1
        await trio.aclose_forcefully(stream)
