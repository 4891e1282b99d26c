"""The application's metrics on the merged page, as its pod's annotations ask."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import trio

from compiler.resources.scraping import scraped_at
from runtime.bootstrap import Bootstrap, Ports
from runtime.supervisor.scraping import FAILED, application_metrics
from runtime.supervisor.supervisor import Supervisor
from runtime.telemetry import Instruments
from snapshot.index import Selector
from snapshot.section import Proxy, Scrape
from snapshot.store_directory import DirectoryStore
from tests.compiler.compiled import compiled
from tests.slices import WORKLOAD, snapshot_of
from tests.stores import release_mesh, sections, signing_keys

SCRAPED = (("prometheus.io/scrape", "true"),)


@pytest.mark.parametrize(
    ("annotations", "found"),
    [
        ((), None),
        (SCRAPED, (80, "/metrics")),
        ((*SCRAPED, ("prometheus.io/port", "9102"), ("prometheus.io/path", "stats")), (9102, "/stats")),
        ((("prometheus.io/scrape", "false"), ("prometheus.io/port", "9102")), None),
        ((*SCRAPED, ("prometheus.istio.io/merge-metrics", "false")), None),
        ((*SCRAPED, ("prometheus.io/port", "15020")), None),
        ((*SCRAPED, ("prometheus.io/port", "none")), None),
    ],
)
def test_annotations_say_where_an_application_shows_its_metrics(
    annotations: tuple[tuple[str, str], ...], found: tuple[int, str] | None
) -> None:
    assert scraped_at(annotations) == found


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: shop}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata:
      labels: {app: app}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9102"}
    spec: {containers: [{name: a, image: a}]}
"""
APART = "apiVersion: weft/v1\nkind: MeshConfig\nmetadata: {name: m}\nspec: {enablePrometheusMerge: false}\n"


def test_a_slice_says_it_unless_the_mesh_keeps_metrics_apart() -> None:
    assert compiled(DEPLOYMENT).slice("sidecar/shop/app").proxy.scrape == Scrape(9102)
    assert compiled(DEPLOYMENT, APART).slice("sidecar/shop/app").proxy.scrape is None


@contextmanager
def application(body: bytes, status: int = 200) -> Iterator[int]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.integration
async def test_a_page_that_cannot_be_shown_is_counted_by_its_reason() -> None:
    bootstrap, instruments = Bootstrap(Selector(), "", "", ""), Instruments()

    async def read(port: int, path: str = "/metrics") -> bytes:
        return await application_metrics(bootstrap, Scrape(port, path), instruments, max_bytes=1000)

    with application(b"one 1\n# EOF") as port:
        assert await read(port) == b"one 1\n"
        assert await read(port, "/elsewhere") == b""
    assert await read(port) == b""
    with application(b"x 1\n" * 500) as port:
        assert await read(port) == b""
    counted = [instruments.value(FAILED, reason) for reason in ("status", "unreachable", "too_large")]
    assert counted == [1, 1, 1]


@pytest.mark.integration
async def test_the_merged_page_has_both_and_the_proxys_own_page_only_its_own(tmp_path: Path) -> None:
    with application(b"orders_total 7\n") as port:
        about = Proxy(WORKLOAD, "cluster.local", scrape=Scrape(9102))
        made = [about if isinstance(one, Proxy) else one for one in sections("hello")]
        release_mesh(DirectoryStore(tmp_path / "store"), snapshot_of({"test": made}))
        (tmp_path / "root.json").write_bytes(signing_keys().root)
        bootstrap = Bootstrap(
            Selector(name="test"),
            str(tmp_path / "store"),
            str(tmp_path / "root.json"),
            str(tmp_path / "state"),
            application_ports={"9102": port},
            ports=Ports(admin=-1, outbound=-1, metrics=0, merged_metrics=0, readiness=-1),
        )
        supervisor = Supervisor(msgspec.structs.replace(bootstrap))
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            with trio.fail_after(20):
                await supervisor.wait_ready()
            async with httpx.AsyncClient(trust_env=False) as client:
                host, number = supervisor.pages["merged metrics"]
                merged = (await client.get(f"http://{host}:{number}/stats/prometheus")).text
                host, number = supervisor.pages["metrics"]
                own = (await client.get(f"http://{host}:{number}/stats/prometheus")).text
            supervisor.stop()
    assert merged.endswith("\norders_total 7\n")
    assert "weft_snapshot_info{" in merged
    assert "orders_total" not in own
