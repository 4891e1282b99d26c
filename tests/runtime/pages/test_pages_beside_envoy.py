"""Our admin pages beside a real Envoy's, after the same requests to the same slice: the same keys, the same shapes, the same counts."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from policies.balancing import OutlierDetection
from policies.match import PathExact
from policies.traffic import Retry
from runtime.bootstrap import Bootstrap, Ports
from runtime.envoy.binary import require_envoy
from runtime.supervisor.supervisor import Supervisor
from snapshot.index import Selector
from snapshot.section import Cluster, Route, Section
from snapshot.store_directory import DirectoryStore
from tests import grpc_peer
from tests.echo import Echo, running
from tests.ports import free_port
from tests.runtime.envoy_export import exported
from tests.slices import (
    cluster,
    gateway_listener,
    host_sections,
    prepared_of,
    route,
    slice_of,
    snapshot_of,
    table,
)
from tests.stores import release_mesh, signing_keys

pytestmark = pytest.mark.integration

EJECTING = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)


class Pages(msgspec.Struct):
    """One engine that serves: where requests go, and where its pages are."""

    traffic: str
    admin: str
    name: str

    async def text(self, path: str) -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            reply = await client.get(f"{self.admin}{path}")
            assert reply.status_code == 200, reply.text
            return reply.text

    async def json(self, path: str) -> Any:
        return json.loads(await self.text(path))

    async def status(self, path: str) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{self.admin}{path}")).status_code


# --- what is asked -----------------------------------------------------------------------------------------------------------


async def silent(stream: trio.SocketStream) -> None:
    """An origin that never answers."""
    with suppress(trio.BrokenResourceError):
        async with stream:
            async for _ in stream:
                pass


async def rude(stream: trio.SocketStream) -> None:
    """An origin that hangs up on whoever asks."""
    await stream.receive_some(65536)
    await stream.aclose()


def failing(status: int) -> Echo:
    return Echo("failing", reply=lambda _head, _body: (status, [], b""))


@asynccontextmanager
async def origins() -> AsyncIterator[list[Section]]:
    """Origins of every temper behind a gateway, one route to each."""
    good, broken, busy = Echo("good"), failing(500), failing(503)
    with grpc_peer.serving() as (grpc_port, _):
        async with running(good, broken, busy), trio.open_nursery() as nursery:
            slow = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
            cut = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
            nursery.start_soon(trio.serve_listeners, silent, [slow])
            nursery.start_soon(trio.serve_listeners, rude, [cut])
            yield sections(
                [
                    (route(PathExact("/broken"), "broken"), cluster("broken", ("127.0.0.1", broken.port))),
                    (
                        route(PathExact("/dead"), "dead"),
                        cluster("dead", ("127.0.0.1", 9), outlier=EJECTING),
                    ),
                    (
                        with_fields(route(PathExact("/busy"), "busy"), retry=Retry(attempts=1, on=("5xx",))),
                        cluster("busy", ("127.0.0.1", busy.port)),
                    ),
                    (
                        with_fields(route(PathExact("/slow"), "slow"), timeout_ms=150),
                        cluster("slow", ("127.0.0.1", slow.socket.getsockname()[1])),
                    ),
                    (
                        with_fields(
                            route(PathExact("/tries"), "tries"),
                            retry=Retry(attempts=1, on=("5xx",), per_try_timeout_ms=150),
                        ),
                        cluster("tries", ("127.0.0.1", slow.socket.getsockname()[1])),
                    ),
                    (route(PathExact("/cut"), "cut"), cluster("cut", ("127.0.0.1", cut.socket.getsockname()[1]))),
                    (
                        route(PathExact("/good"), "good"),
                        cluster("good", ("127.0.0.1", good.port)),
                    ),
                    (route(None, "calls"), cluster("calls", ("127.0.0.1", grpc_port), protocol="http2")),
                ]
            )
            nursery.cancel_scope.cancel()


def sections(ways: list[tuple[Route, Cluster]]) -> list[Section]:
    return [
        gateway_listener(80),
        table(),
        *host_sections("all", ["*"], [way for way, _ in ways]),
        *(made for _, made in ways),
    ]


def with_fields(made: Route, **fields: object) -> Route:
    return msgspec.structs.replace(made, **fields)


ASKED = ("/dead", "/good", "/good", "/good", "/broken", "/broken", "/busy", "/slow", "/tries", "/cut", "/dead")
"""Envoy ejects an endpoint a moment after it failed, so who meets an ejected one comes much later."""


async def ask_everything(pages: Pages) -> list[int]:
    """One client's requests, one after the other, and some gRPC calls."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        statuses = [(await client.get(f"{pages.traffic}{path}")).status_code for path in ASKED]
    await trio.to_thread.run_sync(_call, int(pages.traffic.rpartition(":")[2]))
    return statuses


def _call(port: int) -> None:
    with grpc_peer.Caller(port) as caller:
        for _ in range(2):
            assert caller.unary("Unary")(b"hello", timeout=5) == b"hello"
        for method in ("Fail", "Nothing"):
            with pytest.raises(Exception, match="StatusCode"):
                list(caller.down(method)(b"x", timeout=5))


# --- who answers -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def ours(folder: Path, made: list[Section]) -> AsyncIterator[Pages]:
    """``weft proxy`` itself, with a real worker."""
    store = DirectoryStore(folder / "store")
    (folder / "root.json").write_bytes(signing_keys().root)
    port = free_port("127.0.0.1")
    release_mesh(store, snapshot_of({"test": slice_sections(made)}))
    bootstrap = Bootstrap(
        selector=Selector(name="test"),
        store=str(folder / "store"),
        root=str(folder / "root.json"),
        state=str(folder / "state"),
        port_map={"80": port},
        ports=Ports(admin=0, outbound=0, metrics=-1, merged_metrics=-1, readiness=-1),
        poll_s=0.05,
    )
    supervisor = Supervisor(bootstrap)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        with trio.fail_after(20):
            await supervisor.wait_ready()
        host, admin = supervisor.pages["admin"]
        yield Pages(f"http://127.0.0.1:{port}", f"http://{host}:{admin}", "weft")
        supervisor.stop()
        nursery.cancel_scope.cancel()


def slice_sections(made: list[Section]) -> list[Section]:
    from snapshot.encode import decode_section

    slice_ = slice_of(*made)
    return [decode_section(slice_.blobs[ref.behaviour]) for ref in slice_.index.sections]


@contextmanager
def _started(folder: Path, file: Path) -> Iterator[None]:
    command = [str(require_envoy()), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def theirs(folder: Path, made: list[Section]) -> AsyncIterator[Pages]:
    """A real Envoy on the same slice."""
    port, admin = free_port("127.0.0.1"), free_port("127.0.0.1")
    own = Ports(admin=-1, outbound=-1, metrics=-1, merged_metrics=-1, readiness=-1)
    bootstrap = Bootstrap(Selector(), "", "", "", port_map={"80": port}, ports=own)
    file = exported(prepared_of(*made), folder, bootstrap=bootstrap, admin=("127.0.0.1", admin))
    with _started(folder, file):
        pages = Pages(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "envoy")
        with trio.fail_after(30):
            while True:
                try:
                    if await pages.status("/ready") == 200:
                        break
                except httpx.HTTPError:
                    await trio.sleep(0.05)
        yield pages


@asynccontextmanager
async def both(folder: Path) -> AsyncIterator[tuple[Pages, Pages]]:
    """Both engines after the same requests, which they answered alike."""
    for name in ("ours", "theirs"):
        (folder / name).mkdir()
    async with origins() as made, ours(folder / "ours", made) as weft, theirs(folder / "theirs", made) as envoy:
        assert await ask_everything(weft) == await ask_everything(envoy)
        yield weft, envoy


# --- /clusters ---------------------------------------------------------------------------------------------------------------


def hosts(page: Any) -> dict[str, dict[str, Any]]:
    """The one endpoint of each cluster: its health, and its numbers by name."""
    found = {}
    for status in page["cluster_statuses"]:
        (host,) = status["host_statuses"]
        numbers = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"]}
        found[status["name"]] = {"health": host["health_status"], **numbers}
    return found


def shape(value: Any) -> Any:
    """The keys of plain data and the types of what they lead to; of a list its first element."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


OURS_ALONE = {"added_via_api"}
"""Envoy had its clusters from a file here, ours come as over xDS."""


def clusters_differ(weft: Any, envoy: Any) -> list[str]:
    """What is not alike on the two pages."""
    ours = {one["name"]: {k: v for k, v in one.items() if k not in OURS_ALONE} for one in weft["cluster_statuses"]}
    theirs = {one["name"]: one for one in envoy["cluster_statuses"]}
    for one in theirs.values():
        # weft has one priority, Envoy shows two.
        one["circuit_breakers"]["thresholds"] = one["circuit_breakers"]["thresholds"][:1]
    assert ours.keys() == theirs.keys()
    return [name for name in ours if shape(ours[name]) != shape(theirs[name])]


def facts(page: str) -> dict[str, str]:
    """The lines of the text form, by all but their value."""
    lines = (line.rpartition("::") for line in page.splitlines() if "::high_priority::" not in line)
    return {name: value for name, _, value in lines if not name.endswith("added_via_api")}


async def test_endpoints_have_envoys_counts_flags_and_lines(tmp_path: Path) -> None:
    async with both(tmp_path) as (weft, envoy):
        ours, theirs = await weft.json("/clusters?format=json"), await envoy.json("/clusters?format=json")
        assert hosts(ours) == hosts(theirs)
        assert hosts(ours)["dead"]["health"] == {"failed_outlier_check": True, "eds_health_status": "HEALTHY"}
        assert clusters_differ(ours, theirs) == []
        assert facts(await weft.text("/clusters")) == facts(await envoy.text("/clusters"))
        only = await weft.text("/clusters?filter=^go")
        assert {line.split("::")[0] for line in only.splitlines()} == {"good"}


# --- /stats ------------------------------------------------------------------------------------------------------------------

VARIES = re.compile(r"server\.(memory_\w+|uptime|state|total_connections)|cluster\.\w+\.version")
"""Numbers of two processes that nothing makes equal."""


def numbers(text: str) -> dict[str, str]:
    """The counters and gauges of the text form; Envoy's listener has a name with another port."""
    lines = (line.split(": ", 1) for line in text.splitlines() if "P0(" not in line and "No recorded" not in line)
    return {re.sub(r"127\.0\.0\.1_\d+", "ADDRESS", name): value for name, value in lines}


async def test_what_envoy_counts_too_has_its_name_and_its_value(tmp_path: Path) -> None:
    async with both(tmp_path) as (weft, envoy):
        ours, theirs = numbers(await weft.text("/stats")), numbers(await envoy.text("/stats"))
        shared = {name for name in ours.keys() & theirs.keys() if not VARIES.fullmatch(name)}
        assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
        assert len(shared) > 90
        used = numbers(await envoy.text("/stats?usedonly&filter=^cluster[.]"))
        missing = {name.split(".", 2)[2] for name, value in used.items() if value != "0" and name not in ours}
        assert missing <= NOT_COUNTED


NOT_COUNTED = {
    "default.total_match_count",
    "http2.nghttp2_upstream_connections",
    "retry.upstream_rq_503",
    "retry.upstream_rq_504",
    "retry.upstream_rq_5xx",
    "retry.upstream_rq_completed",
    "external.upstream_rq_200",
    "external.upstream_rq_2xx",
    "external.upstream_rq_500",
    "external.upstream_rq_503",
    "external.upstream_rq_504",
    "external.upstream_rq_5xx",
    "external.upstream_rq_completed",
    "membership_change",
    "outlier_detection.ejections_consecutive_5xx",
    "outlier_detection.ejections_detected_consecutive_5xx",
    "outlier_detection.ejections_total",
    "upstream_cx_destroy",
    "upstream_cx_destroy_local",
    "upstream_cx_destroy_local_with_active_rq",
    "upstream_cx_destroy_remote",
    "upstream_cx_destroy_remote_with_active_rq",
    "upstream_cx_destroy_with_active_rq",
    "upstream_cx_rx_bytes_buffered",
    "upstream_cx_rx_bytes_total",
    "upstream_cx_tx_bytes_buffered",
    "upstream_cx_tx_bytes_total",
    "upstream_rq_pending_failure_eject",
    "upstream_rq_retry_backoff_exponential",
    "upstream_rq_tx_reset",
    "upstream_rq_rx_reset",
}
"""What Envoy counts of a cluster in this test and weft does not; docs/reference/admin.md says so."""


async def test_histograms_have_envoys_forms(tmp_path: Path) -> None:
    async with both(tmp_path) as (weft, envoy):
        for form in ("cumulative", "disjoint", "summary", "none"):
            query = f"/stats?type=Histograms&filter=downstream_rq_time&histogram_buckets={form}"
            (ours,) = (await weft.text(query)).splitlines()
            theirs = next(line for line in (await envoy.text(query)).splitlines() if not line.startswith("http.admin"))
            assert ours.partition(":")[0] == theirs.partition(":")[0] == "http.http|http.downstream_rq_time"
            if "No recorded" not in theirs:
                assert re.sub(r"[\d.]+e?\+?\d*", "0", ours) == re.sub(r"[\d.]+e?\+?\d*", "0", theirs)
            told = [(await pages.json(f"{query}&format=json"))["stats"][-1] for pages in (weft, envoy)]
            assert shape(told[0]).keys() == shape(told[1]).keys()
        for wrong in ("type=Sizes", "filter=(", "format=html5", "histogram_buckets=all"):
            assert await weft.status(f"/stats?{wrong}") == await envoy.status(f"/stats?{wrong}") == 400


# --- the others --------------------------------------------------------------------------------------------------------------


def lacking(ours: Any, theirs: Any, at: str = "") -> set[str]:
    """Where a page of ours has not what Envoy's has, or has it in another type."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return {lack for name, one in theirs.items() for lack in lacking(ours.get(name), one, f"{at}.{name}")}
    if isinstance(theirs, list) and isinstance(ours, list):
        return lacking(ours[0], theirs[0], at) if ours and theirs else set()
    return set() if type(ours) is type(theirs) else {at}


@pytest.mark.parametrize("path", ["/listeners?format=json", "/certs", "/memory"])
async def test_a_page_has_what_envoys_has(path: str, tmp_path: Path) -> None:
    async with both(tmp_path) as (weft, envoy):
        assert lacking(await weft.json(path), await envoy.json(path)) == set()


async def test_the_server_says_what_envoys_says_but_for_its_command_line(tmp_path: Path) -> None:
    async with both(tmp_path) as (weft, envoy):
        ours, theirs = await weft.json("/server_info"), await envoy.json("/server_info")
        for of_envoys_program in ("command_line_options", "node", "hot_restart_initializing"):
            del theirs[of_envoys_program]
        assert lacking(ours, theirs) == set()
        assert ours["state"] == theirs["state"] == "LIVE"
        assert (await weft.text("/ready"), await weft.status("/ready")) == (await envoy.text("/ready"), 200)


def dumped(page: Any, kind: str) -> dict[str, Any]:
    """The resources of one kind by name, wherever the dump keeps them."""
    found = {}
    for config in page["configs"]:
        for items in (value for value in config.values() if isinstance(value, list)):
            for item in items:
                inside = item.get("active_state", item).get(kind)
                if inside is not None:
                    found[inside["name"]] = inside
    return found


def routes(page: Any) -> dict[str, Any]:
    """Each path with the clusters that it leads to."""
    tables = dumped(page, "route_config") or {
        "80": dumped(page, "listener")["http"]["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
    }
    (host,) = tables["80"]["virtual_hosts"]
    found = {}
    for one in host["routes"]:
        action = one["route"]
        weighted = action.get("weighted_clusters", {}).get("clusters", [{"name": action.get("cluster")}])
        found[json.dumps(one["match"], sort_keys=True)] = [cluster["name"] for cluster in weighted]
    return found


async def test_the_configuration_is_told_in_envoys_words(tmp_path: Path) -> None:
    async with both(tmp_path) as (weft, envoy):
        ours, theirs = await weft.json("/config_dump?include_eds"), await envoy.json("/config_dump?include_eds")
        kinds = [[config["@type"] for config in page["configs"]] for page in (ours, theirs)]
        assert set(kinds[1]) - set(kinds[0]) <= {"type.googleapis.com/envoy.admin.v3.ScopedRoutesConfigDump"}
        clusters = dumped(ours, "cluster"), dumped(theirs, "cluster")
        assert clusters[0].keys() == clusters[1].keys()
        for name, made in clusters[0].items():
            shared = made.keys() & clusters[1][name].keys()
            assert shared >= {"@type", "name", "type", "lb_policy", "connect_timeout"}
            assert {key: made[key] for key in shared} == {key: clusters[1][name][key] for key in shared}
        assert routes(ours) == routes(theirs)
        ports = [dumped(page, "listener")["http"]["address"]["socket_address"].keys() for page in (ours, theirs)]
        assert ports[0] == ports[1]


DUMPS = (
    "",
    "name_regex=go.*",
    "name_regex=(",
    "resource=nothing",
    "resource=bootstrap",
    "mask=nothing",
    "mask=bootstrap.node.id",
)


async def test_parameters_of_the_dump_are_answered_as_envoy_does(tmp_path: Path) -> None:
    async with both(tmp_path) as (weft, envoy):
        for query in DUMPS:
            path = f"/config_dump?{query}"
            assert (query, await weft.status(path)) == (query, await envoy.status(path))
        masked = "/config_dump?mask=bootstrap.node.id"
        assert await weft.json(masked) == await envoy.json(masked)
        named = [dumped(await pages.json("/config_dump?name_regex=go.*"), "cluster") for pages in (weft, envoy)]
        assert list(named[0]) == list(named[1]) == ["good"]
        one = "mask=cluster.name,cluster.type&name_regex=good"
        ours = await weft.json(f"/config_dump?resource=dynamic_active_clusters&{one}")
        theirs = await envoy.json(f"/config_dump?resource=static_clusters&{one}")
        assert ours["configs"][0]["cluster"] == theirs["configs"][0]["cluster"]
        assert [page["configs"][0]["@type"].rpartition(".")[2] for page in (ours, theirs)] == [
            "DynamicCluster",
            "StaticCluster",
        ]
