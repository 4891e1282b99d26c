"""TLS that ends or begins at a proxy, on both engines: who may come, which versions and ciphers, whom an upstream must be."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import trio

from runtime.tls.identity import certificate_der
from runtime.tls.naming import key_hash
from snapshot.live import Credential
from snapshot.section import Section, ServerTls, TlsUpstream
from tests.echo import Echo, running
from tests.runtime.authority import Authority
from tests.runtime.envoying import envoying
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration
engines = pytest.mark.parametrize("engine", ["trio", "envoy"])
GET = b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n"
REVOKED = 4711


@asynccontextmanager
async def serving(
    engine: str, folder: Path, sections: Sequence[Section], credentials: Sequence[Credential]
) -> AsyncIterator[int]:
    """A proxy of an engine with its credentials; the block gets its port."""
    if engine == "envoy":
        async with envoying(folder, *sections, credentials=credentials) as envoy:
            yield envoy.ports[80]
        return
    async with proxying(*sections) as proxy:
        proxy.proxy.set_credentials(list(credentials))
        yield proxy.ports[80]


def ending(port: int, tls: ServerTls) -> list[Section]:
    """A gateway at which TLS ends."""
    listener = gateway_listener(edge=True)
    chain = msgspec.structs.replace(listener.chains[0], tls=tls)
    hosts = host_sections("all", ["*"], [route(None, "a")])
    return [msgspec.structs.replace(listener, chains=(chain,)), table(), *hosts, cluster("a", ("127.0.0.1", port))]


async def answer(port: int, context: ssl.SSLContext) -> str:
    """The first line of the reply, or why there is none."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as raw:
        stream = trio.SSLStream(raw, context, server_hostname="a.test", https_compatible=True)
        try:
            await stream.send_all(GET)
            reply = await stream.receive_some()
        except trio.BrokenResourceError:
            return "refused"
    return reply.partition(b"\r\n")[0].decode() or "refused"


OK = "HTTP/1.1 200 OK"


@engines
@pytest.mark.parametrize(
    ("client", "shown", "expected"),
    [
        ("none", None, OK),
        ("optional", None, OK),
        ("optional", "good", OK),
        ("optional", "foreign", "refused"),
        ("optional", "revoked", "refused"),
        ("require", None, "refused"),
        ("require", "good", OK),
        ("require", "foreign", "refused"),
        ("require", "revoked", "refused"),
    ],
)
async def test_a_clients_certificate_is_asked_for_and_judged(
    engine: str, client: str, shown: str | None, expected: str, tmp_path: Path
) -> None:
    authority = Authority()
    edge = msgspec.structs.replace(authority.credential("default/edge", "a.test"), crl=authority.revoking(REVOKED))
    certificates = {
        "good": authority.credential("x", "client.test"),
        "revoked": authority.credential("x", "client.test", serial=REVOKED),
        "foreign": Authority("other").credential("x", "client.test"),
        None: None,
    }
    context = authority.client_context(certificates[shown])
    async with running(Echo("app")) as (origin,):
        sections = ending(origin.port, ServerTls(("default/edge",), client=client))
        async with serving(engine, tmp_path, sections, [edge]) as port:
            assert await answer(port, context) == expected


@engines
@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ({"names": ("client.test",)}, OK),
        ({"names": ("other.test", "client.test")}, OK),
        ({"names": ("other.test",)}, "refused"),
        ({"hashes": ("HASH",)}, OK),
        ({"hashes": ("0" * 64,)}, "refused"),
        ({"keys": ("KEY",)}, OK),
        ({"keys": ("A" * 43 + "=",)}, "refused"),
        ({"hashes": ("0" * 64,), "keys": ("KEY",)}, OK),
        ({"names": ("other.test",), "keys": ("KEY",)}, "refused"),
    ],
)
async def test_a_clients_certificate_must_be_one_of_those_that_are_listed(
    engine: str, listed: dict[str, tuple[str, ...]], expected: str, tmp_path: Path
) -> None:
    authority = Authority()
    shown = authority.credential("x", "client.test")
    der = certificate_der(shown.certificate_chain)
    real = {"HASH": hashlib.sha256(der).hexdigest(), "KEY": key_hash(der)}
    given = {name: tuple(real.get(one, one) for one in values) for name, values in listed.items()}
    tls = msgspec.structs.replace(ServerTls(("default/edge",), client="require"), **given)
    async with running(Echo("app")) as (origin,):
        edge = authority.credential("default/edge", "a.test")
        async with serving(engine, tmp_path, ending(origin.port, tls), [edge]) as port:
            assert await answer(port, authority.client_context(shown)) == expected


@engines
async def test_a_gateway_that_shows_a_named_certificate_does_not_say_who_it_is(engine: str, tmp_path: Path) -> None:
    authority = Authority()
    caller = "spiffe://cluster.local/ns/shop/sa/caller"
    edge = authority.credential("default/edge", "a.test")
    context = authority.client_context(authority.svid(caller))
    async with running(Echo("app")) as (origin,):
        sections = ending(origin.port, ServerTls(("default/edge",), client="require"))
        async with serving(engine, tmp_path, sections, [edge]) as port, httpx.AsyncClient(verify=context) as user:
            reply = await user.get(f"https://127.0.0.1:{port}/", extensions={"sni_hostname": "a.test"})
    (certificate,) = reply.json()["headers"]["x-forwarded-client-cert"]
    assert certificate.startswith("Hash=")
    assert certificate.endswith(f";URI={caller}")


@engines
@pytest.mark.parametrize(
    ("lowest", "highest", "offered", "expected"),
    [
        ("TLSv1_2", "TLSv1_3", ssl.TLSVersion.TLSv1_2, OK),
        ("TLSv1_3", "TLSv1_3", ssl.TLSVersion.TLSv1_2, "refused"),
        ("TLSv1_3", "TLSv1_3", ssl.TLSVersion.TLSv1_3, OK),
        ("TLSv1_2", "TLSv1_2", ssl.TLSVersion.TLSv1_3, "refused"),
    ],
)
async def test_only_the_versions_that_are_allowed_are_spoken(
    engine: str, lowest: str, highest: str, offered: ssl.TLSVersion, expected: str, tmp_path: Path
) -> None:
    authority = Authority()
    context = authority.client_context()
    context.minimum_version = context.maximum_version = offered
    async with running(Echo("app")) as (origin,):
        sections = ending(origin.port, ServerTls(("default/edge",), min_version=lowest, max_version=highest))
        async with serving(engine, tmp_path, sections, [authority.credential("default/edge", "a.test")]) as port:
            assert await answer(port, context) == expected


@engines
@pytest.mark.parametrize(
    ("offered", "expected"),
    [("ECDHE-ECDSA-AES256-GCM-SHA384", OK), ("ECDHE-ECDSA-AES128-GCM-SHA256", "refused")],
)
async def test_only_the_ciphers_that_are_listed_are_spoken(
    engine: str, offered: str, expected: str, tmp_path: Path
) -> None:
    authority = Authority()
    context = authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(offered)
    tls = ServerTls(("default/edge",), ciphers=("ECDHE-ECDSA-AES256-GCM-SHA384",))
    async with running(Echo("app")) as (origin,):
        sections = ending(origin.port, tls)
        async with serving(engine, tmp_path, sections, [authority.credential("default/edge", "a.test")]) as port:
            assert await answer(port, context) == expected


def beginning(port: int, tls: TlsUpstream) -> list[Section]:
    """A plain gateway whose upstream is spoken to by TLS."""
    hosts = host_sections("all", ["*"], [route(None, "a")])
    return [gateway_listener(), table(), *hosts, cluster("a", ("127.0.0.1", port), tls=tls)]


async def plainly(port: int) -> str:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(GET)
        return (await stream.receive_some()).partition(b"\r\n")[0].decode()


@asynccontextmanager
async def tls_origin(context: ssl.SSLContext) -> AsyncIterator[tuple[int, list[str | None]]]:
    """An origin behind TLS; the block gets its port and, as they come, the server names that were asked for."""
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def one(raw: trio.SocketStream) -> None:
        stream = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
        try:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, one, listeners)
        yield listeners[0].socket.getsockname()[1], names
        nursery.cancel_scope.cancel()


UNAVAILABLE = "HTTP/1.1 503 Service Unavailable"
CA = "default/ca"


@engines
@pytest.mark.parametrize(
    ("server", "tls", "expected"),
    [
        ("good", TlsUpstream("b.test", ca=CA), OK),
        ("good", TlsUpstream("b.test", names=("b.test", "other.test"), ca=CA), OK),
        ("good", TlsUpstream("b.test", names=("other.test",), ca=CA), UNAVAILABLE),
        ("good", TlsUpstream("other.test", ca=CA), UNAVAILABLE),
        ("revoked", TlsUpstream("b.test", ca=CA), UNAVAILABLE),
        ("foreign", TlsUpstream("b.test", ca=CA), UNAVAILABLE),
        ("foreign", TlsUpstream("b.test", skip_verify=True), OK),
        ("asking", TlsUpstream("b.test", ca=CA), UNAVAILABLE),
        ("asking", TlsUpstream("b.test", ca=CA, credential="default/own"), OK),
    ],
)
async def test_an_upstream_must_be_who_the_cluster_says(
    engine: str, server: str, tls: TlsUpstream, expected: str, tmp_path: Path
) -> None:
    authority, foreign = Authority(), Authority("other")
    issuer = foreign if server == "foreign" else authority
    context = issuer.server_context(issuer.credential("x", "b.test", serial=REVOKED if server == "revoked" else 0))
    if server == "asking":
        context.load_verify_locations(cadata=authority.bundle.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    trusted = Credential(CA, ca=authority.bundle, crl=authority.revoking(REVOKED))
    credentials = [trusted, authority.credential("default/own", "client.test")]
    async with tls_origin(context) as (origin, names):
        async with serving(engine, tmp_path, beginning(origin, tls), credentials) as port:
            assert await plainly(port) == expected
            assert set(names) == {tls.server_name}
