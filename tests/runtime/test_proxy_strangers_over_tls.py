"""More clients and origins that nobody here wrote: grpcio, Node and curl through an ingress over TLS, by ALPN, and Node's servers behind it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from cryptography import x509

from policies.match import PathPrefix
from snapshot.live import Credential
from snapshot.section import GatewayPort, Listener, Section, ServerTls
from tests import grpc_peer
from tests.runtime.authority import Authority
from tests.runtime.proxying import Running, proxying
from tests.runtime.test_proxy_strangers import SCRIPTS, SLOT, require, run
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration


class Ingress(msgspec.Struct):
    """A gateway, plain on 80 and TLS on 443; ``root`` is the file of the authority that its clients trust, ``bundle`` its content."""

    running: Running
    root: Path
    bundle: bytes

    def url(self, port: int, path: str) -> str:
        scheme, host = ("https", "localhost") if port == 443 else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.running.ports[port]}{path}"


@asynccontextmanager
async def ingress(folder: Path, **ways: tuple[int, str]) -> AsyncIterator[Ingress]:
    """A gateway before origins by name: each has a port and a protocol, and takes ``/NAME`` and what is below it, ``all`` the rest."""
    authority = Authority()
    plain = gateway_listener(80)
    chain = msgspec.structs.replace(plain.chains[0], name="https", tls=ServerTls((SLOT,)))
    secure = Listener("https", plain.source, "gateway", GatewayPort(443), "http", (chain,))
    routes = [route(None if name == "all" else PathPrefix(f"/{name}"), name) for name in sorted(ways, reverse=True)]
    routes.sort(key=lambda one: one.match.path is None)
    clusters = [cluster(name, ("127.0.0.1", port), protocol=protocol) for name, (port, protocol) in ways.items()]
    sections: list[Section] = [plain, secure, table(), *host_sections("all", ["*"], routes), *clusters]
    async with proxying(*sections, ports=(80, 443)) as proxy:
        chain_pem, key = authority.issue(x509.DNSName("localhost"))
        proxy.proxy.set_credentials([Credential(SLOT, chain_pem, key)])
        (folder / "root.pem").write_bytes(authority.bundle)
        yield Ingress(proxy, folder / "root.pem", authority.bundle)


@asynccontextmanager
async def node_origin() -> AsyncIterator[tuple[int, int]]:
    """Node's servers: the ports of HTTP/1.1 and of HTTP/2."""
    command = [require("node"), str(SCRIPTS / "origin.mjs")]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        with trio.fail_after(20):
            said = b""
            while not said.endswith(b"\n"):
                said += await process.stdout.receive_some()
        old, young = map(int, said.split())
        yield old, young
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def before_node(folder: Path) -> AsyncIterator[Ingress]:
    async with node_origin() as (old, young), ingress(folder, h1=(old, "http1"), all=(young, "http2")) as made:
        yield made


# --- Node's servers behind the ingress ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/h1", "/h2"])
@pytest.mark.parametrize(("port", "version"), [(80, "--http1.1"), (443, "--http1.1"), (443, "--http2")])
async def test_node_gets_whole_uploads_and_its_trailers_arrive(
    path: str, port: int, version: str, tmp_path: Path
) -> None:
    (tmp_path / "body").write_bytes(b"n" * 1_000_000)
    async with before_node(tmp_path) as gateway:
        more = ("-sS", "--cacert", gateway.root, "--data-binary", f"@{tmp_path / 'body'}", "-H", "te: trailers")
        reply = await run(require("curl"), version, *more, "-D", tmp_path / "head", gateway.url(port, path))
        seen = json.loads(reply)
        assert (seen["version"], seen["method"], seen["length"]) == (path[1:], "POST", 1_000_000)
        assert "x-sum: 1000000" in (tmp_path / "head").read_text().lower()


async def test_node_is_asked_by_one_connection_again_and_again(tmp_path: Path) -> None:
    async with before_node(tmp_path) as gateway:
        for path in ("/h1", "/h2"):
            urls = [gateway.url(443, path)] * 5
            shown = ("-sS", "--http1.1", "--cacert", gateway.root, "-w", "\n%{num_connects}\n")
            lines = (await run(require("curl"), *shown, *urls)).splitlines()
            assert [json.loads(line)["connections"] for line in lines[::2]] == [1] * 5, "upstream"
            assert lines[1::2] == ["1", "0", "0", "0", "0"], "downstream"


async def test_a_body_of_unknown_length_comes_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"n" * 300_000)
    async with before_node(tmp_path) as gateway:
        for version in ("--http1.1", "--http2"):
            more = ("-sS", "--cacert", gateway.root, "-H", "content-length:", "-H", "transfer-encoding: chunked")
            upload = ("-X", "POST", "-T", tmp_path / "body")
            reply = await run(require("curl"), version, *more, *upload, gateway.url(443, "/h1"))
            assert json.loads(reply)["length"] == 300_000


async def test_who_waits_for_100_is_invited_before_node(tmp_path: Path) -> None:
    async with before_node(tmp_path) as gateway:
        for path in ("/h1", "/h2"):
            begun = trio.current_time()
            asked = ("-sS", "--http1.1", "--cacert", gateway.root, "-H", "expect: 100-continue", "-d", "hello")
            reply = await run(require("curl"), *asked, "--expect100-timeout", "20", gateway.url(443, path))
            assert json.loads(reply)["length"] == 5
            assert trio.current_time() - begun < 10


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_curl_goes_to_a_new_connection_when_it_is_asked_to_leave_the_old(version: str, tmp_path: Path) -> None:
    async with before_node(tmp_path) as gateway:
        gateway.running.proxy.set_leaving(True)
        shown = (
            "-sS",
            version,
            "--cacert",
            gateway.root,
            "-o",
            tmp_path / "body",
            "-w",
            "%{http_code} %{num_connects}\n",
        )
        said = await run(require("curl"), *shown, gateway.url(443, "/h2"), *_again(gateway, tmp_path, 3))
        lines = [line.split() for line in said.splitlines()]
        assert [status for status, _ in lines] == ["200"] * 4
        assert sum(int(connects) for _, connects in lines) > 1


def _again(gateway: Ingress, folder: Path, times: int) -> list[str]:
    """More requests of the same call of curl, each with a place for its body."""
    return [word for _ in range(times) for word in ("-o", str(folder / "body"), gateway.url(443, "/h2"))]


async def test_javas_client_loses_nothing_when_it_is_asked_to_leave_with_each_reply(tmp_path: Path) -> None:
    java = require("java")
    require("javac")
    async with before_node(tmp_path) as gateway:
        gateway.running.proxy.set_leaving(True)
        command = ("-XX:TieredStopAtLevel=1", SCRIPTS / "Leaving.java", gateway.url(443, "/h2"), gateway.root)
        assert (await run(java, *command)).strip() == str([200] * 8)


# --- Node as a client --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["h1", "h2"])
async def test_node_uploads_on_many_streams_and_finishes_one_when_asked_to_leave(path: str, tmp_path: Path) -> None:
    script = [require("node"), str(SCRIPTS / "asking.mjs")]
    async with node_origin() as (old, young):
        way = (old, "http1") if path == "h1" else (young, "http2")
        async with ingress(tmp_path, all=way) as gateway:
            command = [*script, str(gateway.running.ports[443]), str(gateway.root)]
            process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
            assert process.stdout is not None
            said = b""
            with trio.fail_after(30):
                async for piece in process.stdout:
                    said += piece
                    if b"under" in piece:
                        gateway.running.proxy.set_leaving(True)
                assert await process.wait() == 0
            first, _, last = map(json.loads, said.splitlines())
            assert first == {"alpn": "h2", "statuses": [200], "lengths": [524_288], "trailers": 20}
            assert last == {"goaway": 0, "status": 200, "length": 262_144}


# --- grpcio ------------------------------------------------------------------------------------------------------------------


async def test_grpc_comes_over_tls_by_alpn_in_every_shape_of_streaming(tmp_path: Path) -> None:
    with grpc_peer.serving() as (port, _):
        async with ingress(tmp_path, all=(port, "http2")) as gateway:

            def call() -> list[object]:
                with grpc_peer.Caller(gateway.running.ports[443], root=gateway.bundle) as caller:
                    reply, told = caller.unary("Unary").with_call(b"x" * 200_000, timeout=10)
                    return [
                        len(reply),
                        dict(told.trailing_metadata())["x-last"],
                        list(caller.down("Down")(b"3", timeout=10)),
                        caller.up("Up")(iter([b"ab", b"cde"]), timeout=10),
                        list(caller.both("Both")(iter([b"1", b"2"]), timeout=10)),
                    ]

            found = await trio.to_thread.run_sync(call)
            assert found == [200_000, "2", [b"0", b"1", b"2"], b"5", [b"re: 1", b"re: 2"]]


async def test_a_grpc_channel_is_asked_to_leave_and_loses_no_call(tmp_path: Path) -> None:
    with grpc_peer.serving() as (port, shapes):
        async with ingress(tmp_path, all=(port, "http2")) as gateway, trio.open_nursery() as nursery:
            with grpc_peer.Caller(gateway.running.ports[443], root=gateway.bundle, retries=True) as caller:
                answers: list[bytes] = []

                def wait() -> None:
                    answers.append(caller.unary("Wait")(b"waited", timeout=15))

                nursery.start_soon(trio.to_thread.run_sync, wait)
                with trio.fail_after(10):
                    while gateway.running.proxy.plane.pools.active == 0:  # noqa: ASYNC110  the call is in a thread
                        await trio.sleep(0.01)
                gateway.running.proxy.set_leaving(True)
                for number in range(5):
                    message = b"%d" % number
                    answer = await trio.to_thread.run_sync(lambda: caller.unary("Unary")(message, timeout=10))  # noqa: B023
                    assert answer == message
                shapes.cancelled.set()
                with trio.fail_after(15):
                    while not answers:  # noqa: ASYNC110
                        await trio.sleep(0.01)
                assert answers == [b"waited"]
