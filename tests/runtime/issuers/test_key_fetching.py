"""Key sets fetched from a server on loopback, and every way in which that must fail."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from policies.tokens import KeySource
from runtime.issuers.fetching import KeyFetchError, KeySetFetcher
from tests.runtime.authority import Authority
from tests.tokens import Issuer

pytestmark = pytest.mark.integration

ISSUER = Issuer()
HOSTS = ("issuer.test", "other.test", "127.0.0.1")


def reply(body: str | bytes, status: str = "200 OK", *lines: str) -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(raw)}", "connection: close", *lines])
    return f"{head}\r\n\r\n".encode() + raw


class Server:
    """Answers by path. ``seen`` are the heads that came."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {"/keys": reply(ISSUER.jwks)}
        self.seen: list[bytes] = []
        self.port = 0

    def url(self, path: str = "/keys", host: str = "issuer.test", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def handle(self, stream: trio.abc.Stream) -> None:
        async with stream:
            try:
                head = await stream.receive_some(65536)
                self.seen.append(bytes(head))
                page = self.pages.get(head.split(b" ")[1].decode())
                if page is None:
                    await trio.sleep_forever()
                else:
                    await stream.send_all(page)
            except (trio.BrokenResourceError, ssl.SSLError, IndexError):
                pass


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()

    async def handle(stream: trio.SocketStream) -> None:
        secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True) if context else stream
        await server.handle(secured)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


async def look_up(host: str, port: int) -> list[str]:
    del host, port
    return ["127.0.0.1"]


async def fetched(url: str, *, hosts: tuple[str, ...] = HOSTS, timeout_ms: int = 2000, issuer: str = "") -> bytes:
    source = KeySource(issuer=issuer, timeout_ms=timeout_ms) if issuer else KeySource(uri=url, timeout_ms=timeout_ms)
    return await KeySetFetcher(hosts, authority="", look_up=look_up).fetch(source)


async def refusal(url: str, **fields: object) -> str:
    with pytest.raises(KeyFetchError) as caught:
        await fetched(url, **fields)  # type: ignore[arg-type]
    return str(caught.value)


async def test_a_key_set_is_fetched_from_the_host_by_its_name() -> None:
    async with serving() as server:
        assert json.loads(await fetched(server.url("/keys"))) == json.loads(ISSUER.jwks)
        assert f"host: issuer.test:{server.port}".encode() in server.seen[0].lower()


async def test_an_issuers_configuration_says_where_its_keys_are() -> None:
    async with serving() as server:
        issuer = server.url("/realm")
        page = "/realm/.well-known/openid-configuration"
        server.pages[page] = reply(json.dumps({"issuer": issuer, "jwks_uri": server.url("/keys"), "more": 1}))
        assert await fetched("", issuer=issuer) == ISSUER.jwks.encode()
        server.pages[page] = reply(json.dumps({"issuer": "https://who.test", "jwks_uri": server.url("/keys")}))
        assert "is that of 'https://who.test'" in await refusal("", issuer=issuer)
        server.pages[page] = reply("[]")
        assert "is none" in await refusal("", issuer=issuer)


async def test_a_host_that_is_private_is_asked_only_where_it_is_listed() -> None:
    async with serving() as server:
        assert "not public" in await refusal(server.url(), hosts=())
        assert "not public" in await refusal(server.url(host="127.0.0.1"), hosts=())
        assert "not public" in await refusal(server.url(host="[::ffff:127.0.0.1]"), hosts=())
        assert "jwks_hosts" in await refusal(server.url(), hosts=("other.test",))
        assert server.seen == []


async def test_a_redirection_is_followed_to_hosts_that_may_be_asked() -> None:
    async with serving() as server:
        server.pages["/moved"] = reply("", "302 Found", f"location: {server.url('/keys', 'other.test')}")
        server.pages["/beside"] = reply("", "307 Temporary Redirect", "location: keys")
        assert await fetched(server.url("/moved")) == ISSUER.jwks.encode()
        assert await fetched(server.url("/beside")) == ISSUER.jwks.encode()
        asked = len(server.seen)
        server.pages["/in"] = reply("", "302 Found", f"location: {server.url('/keys', 'secret.internal')}")
        assert "secret.internal is not among" in await refusal(server.url("/in"))
        server.pages["/file"] = reply("", "302 Found", "location: file:///etc/passwd")
        assert "not a URL with http" in await refusal(server.url("/file"))
        assert len(server.seen) == asked + 2
        server.pages["/round"] = reply("", "302 Found", f"location: {server.url('/round')}")
        assert "more than 3 redirections" in await refusal(server.url("/round"))


async def test_what_is_no_key_set_is_refused() -> None:
    async with serving() as server:
        pages = {
            "not JSON": reply("<html>"),
            "no list of `keys`": reply("{}"),
            "no public key": reply('{"keys": []}'),
            "answers 404": reply("", "404 Not Found"),
            "more than 1048576 bytes": reply(b" " * (1 << 20) + b" "),
            "encodes": reply(b"x", "200 OK", "content-encoding: gzip"),
        }
        for number, (why, page) in enumerate(pages.items()):
            server.pages[f"/{number}"] = page
            assert why in await refusal(server.url(f"/{number}"))


async def test_a_server_that_says_nothing_is_waited_for_no_longer_than_the_rule_says() -> None:
    async with serving() as server:
        assert "nothing came within 0.1 s" in await refusal(server.url("/silent"), timeout_ms=100)


async def test_behind_tls_the_certificate_must_be_the_hosts(tmp_path: Path) -> None:
    authority = Authority()
    held = authority.credential("issuer", "issuer.test")
    (tmp_path / "ca.pem").write_bytes(authority.bundle)
    (tmp_path / "pair.pem").write_bytes(held.certificate_chain + held.private_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    fetcher = KeySetFetcher(HOSTS, authority=str(tmp_path / "ca.pem"), look_up=look_up)
    async with serving(context) as server:
        url = server.url(scheme="https")
        assert await fetcher.fetch(KeySource(uri=url)) == ISSUER.jwks.encode()
        with pytest.raises(KeyFetchError, match="certificate"):
            await fetcher.fetch(KeySource(uri=server.url(host="other.test", scheme="https")))
        assert "certificate" in await refusal(url)
        server.pages["/out"] = reply("", "302 Found", f"location: {server.url('/keys')}")
        with pytest.raises(KeyFetchError, match="out of TLS"):
            await fetcher.fetch(KeySource(uri=server.url("/out", scheme="https")))
