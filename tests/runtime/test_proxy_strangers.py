"""Clients that nobody here wrote, through a whole data plane: curl, nghttp, Node's HTTP/2 and Java's HttpClient."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from cryptography import x509

from policies.match import PathExact
from snapshot.live import Credential
from snapshot.section import GatewayPort, Listener, Section, ServerTls
from tests import h2_peer, websocket_peer
from tests.echo import Echo, running
from tests.runtime.authority import Authority
from tests.runtime.proxying import Running, proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration
SCRIPTS = Path(__file__).parent / "strangers"
SLOT = "default/edge"


def require(program: str) -> str:
    """Where a program is; skips (or, where all is required, fails) without it."""
    path = shutil.which(program)
    if path is None:
        if os.environ.get("WEFT_REQUIRE_ALL") == "1":
            pytest.fail(f"{program} is not installed; .ci/run names its package")
        pytest.skip(f"{program} is not installed")
    return path


async def run(*command: str | Path) -> str:
    """What a program prints; fails with its errors where it does not end well."""
    with trio.fail_after(60):
        done = await trio.run_process(
            [str(part) for part in command], capture_stdout=True, capture_stderr=True, check=False
        )
    assert done.returncode == 0, done.stderr.decode()[-2000:] + done.stdout.decode()[-500:]
    return done.stdout.decode()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Running, Authority]]:
    """A gateway, plain on 80 and TLS on 443, before an HTTP/1 origin, an HTTP/2 origin on /h2 and a WebSocket origin on /ws."""
    authority = Authority()
    async with AsyncExitStack() as stack:
        (old,) = await stack.enter_async_context(running(Echo("app")))
        new = await stack.enter_async_context(h2_peer.serving(h2_peer.Origin()))
        socket = await stack.enter_async_context(websocket_peer.serving(websocket_peer.Origin()))
        plain = gateway_listener(80)
        chain = msgspec.structs.replace(plain.chains[0], name="https", tls=ServerTls((SLOT,)))
        secure = Listener("https", plain.source, "gateway", GatewayPort(443), "http", (chain,))
        routes = [route(PathExact("/h2"), "new"), route(PathExact("/ws"), "socket"), route(None, "old")]
        sections: list[Section] = [
            plain,
            secure,
            table(),
            *host_sections("all", ["*"], routes),
            cluster("old", ("127.0.0.1", old.port)),
            cluster("new", ("127.0.0.1", new.port), protocol="http2"),
            cluster("socket", ("127.0.0.1", socket.port)),
        ]
        proxy = await stack.enter_async_context(proxying(*sections, ports=(80, 443)))
        chain_pem, key = authority.issue(x509.DNSName("localhost"))
        proxy.proxy.set_credentials([Credential(SLOT, chain_pem, key)])
        yield proxy, authority


@pytest.mark.parametrize(
    ("version", "scheme", "said"),
    [("--http1.1", "http", "1.1"), ("--http2-prior-knowledge", "http", "2"), ("--http2", "https", "2")],
)
@pytest.mark.parametrize("path", ["/h1", "/h2"])
async def test_curl_sends_and_gets_bodies_by_every_version(
    version: str, scheme: str, said: str, path: str, tmp_path: Path
) -> None:
    curl = require("curl")
    (tmp_path / "body").write_bytes(b"c" * 500_000)
    async with serving() as (proxy, authority):
        (tmp_path / "root.pem").write_bytes(authority.bundle)
        url = f"{scheme}://localhost:{proxy.ports[80 if scheme == 'http' else 443]}{path}"
        more = ("-sS", "-4", "--cacert", tmp_path / "root.pem", "--data-binary", f"@{tmp_path / 'body'}")
        reply = await run(curl, version, *more, "-w", "\n%{http_version} %{http_code}", url)
        body, _, status = reply.rpartition("\n")
        assert status == f"{said} 200"
        assert json.loads(body)["body"] == "c" * 500_000


async def test_curl_that_waits_for_100_is_invited_at_once() -> None:
    curl = require("curl")
    async with serving() as (proxy, _):
        url = f"http://localhost:{proxy.ports[80]}/h1"
        begun = trio.current_time()
        reply = await run(curl, "-sSv", "-4", "-H", "expect: 100-continue", "--expect100-timeout", "20", "-d", "x", url)
        assert json.loads(reply)["body"] == "x"
        assert trio.current_time() - begun < 10


async def test_nghttp_sends_many_streams_with_bodies_and_trailers(tmp_path: Path) -> None:
    nghttp = require("nghttp")
    (tmp_path / "body").write_bytes(b"n" * 100_000)
    async with serving() as (proxy, _):
        url = f"http://127.0.0.1:{proxy.ports[80]}/h2"
        said = await run(nghttp, "-d", tmp_path / "body", "--trailer", "x-sum: 5", url)
        seen = json.loads(said)
        assert (len(seen["body"]), seen["trailers"]) == (100_000, [["x-sum", "5"]])
        counted = await run(nghttp, "-n", "-s", "-m", "20", "-d", tmp_path / "body", url)
        assert len(re.findall(r"^ .* 200 +\d+K? /h2$", counted, re.MULTILINE)) == 20, counted


async def test_node_talks_websocket_over_http2() -> None:
    node = require("node")
    async with serving() as (proxy, _):
        seen = json.loads(await run(node, SCRIPTS / "websocket.mjs", str(proxy.ports[80])))
        assert seen == {"offered": True, "status": 200, "echo": "from node"}


async def test_javas_client_speaks_http2_over_tls_waits_for_100_and_talks_websocket(tmp_path: Path) -> None:
    java = require("java")
    require("javac")
    async with serving() as (proxy, authority):
        root = tmp_path / "root.pem"
        root.write_bytes(authority.bundle)
        ports = (str(proxy.ports[443]), str(proxy.ports[80]))
        said = await run(java, "-XX:TieredStopAtLevel=1", SCRIPTS / "Asking.java", *ports, root)
        assert said.splitlines() == ["HTTP_2 200 true", "HTTP_1_1 200 true", "WebSocket from java"]
