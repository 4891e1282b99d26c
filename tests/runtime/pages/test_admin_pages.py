"""What the admin pages make of a slice and of workers' answers: pure, by value."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from policies.head import Peer
from policies.match import PathExact, PathPrefix
from policies.traffic import DirectResponse
from runtime.admin import ACTIONS, ADMIN, pages
from runtime.bootstrap import Bootstrap
from runtime.pages.clusters import ClusterStatus, HostStatus, added, as_json, as_text
from runtime.pages.config import config_dump, section_page
from runtime.pages.connections import Connection, Connections
from runtime.pages.connections import added as all_connections
from runtime.pages.dumped import DumpQueryError
from runtime.pages.dumped import asked_for as dump_asked_for
from runtime.pages.explaining import ExplainError, explain
from runtime.pages.filters import FilterError
from runtime.pages.processes import LevelError, set_levels, wanted_levels
from runtime.pages.processes import as_text as levels_text
from runtime.pages.stats import StatQueryError, asked_for, families_asked_for, stats
from runtime.pages.stats import as_text as stats_text
from runtime.service import ServiceRequest
from runtime.telemetry import MetricsSnapshot
from runtime.telemetry.metrics import OwnSample
from snapshot.index import Selector
from snapshot.live import Credential
from tests.slices import cluster, gateway_listener, host_sections, route, slice_of, table

BOOTSTRAP = Bootstrap(Selector(), "", "", "", port_map={"80": 8080})


def worker(active: int) -> list[ClusterStatus]:
    host = HostStatus("10.0.0.1", 8080, {"rq_active": active}, locality="eu/eu-1")
    return [ClusterStatus("outbound|80||a", {"max_connections": 7}, [host])]


def test_the_counts_of_all_workers_are_added() -> None:
    (status,) = added([worker(2), worker(3)])
    assert [host.stats["rq_active"] for host in status.hosts] == [5]


def test_clusters_are_told_in_both_of_envoys_forms() -> None:
    text = as_text(worker(2)).splitlines()
    assert "outbound|80||a::default_priority::max_connections::7" in text
    assert "outbound|80||a::10.0.0.1:8080::rq_active::2" in text
    assert "outbound|80||a::10.0.0.1:8080::region::eu" in text
    (host,) = as_json(worker(2))["cluster_statuses"][0]["host_statuses"]
    assert host["address"] == {"socket_address": {"address": "10.0.0.1", "port_value": 8080}}
    assert {"type": "GAUGE", "value": "2", "name": "rq_active"} in host["stats"]
    assert host["health_status"] == {"eds_health_status": "HEALTHY"}


def test_the_configuration_is_told_as_envoys_resources() -> None:
    slice_ = slice_of(
        gateway_listener(80),
        table(),
        *host_sections("a", ["a.test"], [route(PathExact("/x"), "b")]),
        cluster("b", ("127.0.0.1", 9)),
    )
    dump = {one["@type"].rpartition(".")[2]: one for one in config_dump(slice_, BOOTSTRAP, None, 0.0)["configs"]}
    listener = dump["ListenersConfigDump"]["dynamic_listeners"][0]["active_state"]["listener"]
    assert listener["address"]["socket_address"]["port_value"] == 8080
    (made,) = dump["ClustersConfigDump"]["dynamic_active_clusters"]
    assert (made["cluster"]["name"], made["cluster"]["type"]) == ("b", "STATIC")
    (configured,) = dump["RoutesConfigDump"]["dynamic_route_configs"]
    (host,) = configured["route_config"]["virtual_hosts"]
    assert host["routes"][0]["match"] == {"path": "/x"}
    assert host["routes"][0]["route"]["cluster"] == "b"


def test_the_sections_are_told_whole() -> None:
    page = section_page(
        slice_of(gateway_listener(80), table(), *host_sections("a", ["a.test"], []), cluster("b", ("127.0.0.1", 9)))
    )
    assert {section["kind"] for section in page["sections"]} >= {"proxy", "listener", "table", "cluster"}  # type: ignore[attr-defined]


def test_an_explanation_names_what_decided_and_what_nearly_did() -> None:
    slice_ = slice_of(
        gateway_listener(80),
        table(),
        *host_sections(
            "a", ["a.test"], [route(PathExact("/x"), "b"), route(PathPrefix("/"), action=DirectResponse(status=418))]
        ),
        cluster("b", ("127.0.0.1", 9)),
    )
    told = explain(slice_, {"authority": "a.test", "path": "/y?q=1"})
    assert told["decision"]["reply"]["status"] == 418
    assert [one["missing"] for one in told["considered"]] == [["path = /x"], []]
    with pytest.raises(ExplainError, match="say authority=HOST"):
        explain(slice_, {})
    with pytest.raises(ExplainError, match="there are: "):
        explain(slice_, {"listener": "nothing", "authority": "a.test"})


SNAPSHOT = MetricsSnapshot(own=[OwnSample("weft_connections", ("downstream",), 3)])


def test_stats_are_filtered_as_envoy_filters_them() -> None:
    every = stats([SNAPSHOT], SNAPSHOT, worker(0), {"server.live": 1, "server.state": 0}, {})
    assert "weft_connections.side.downstream: 3\n" in stats_text(every)
    assert [one.name for one in asked_for(every, {"filter": "^server"}).numbers] == ["server.live", "server.state"]
    assert "server.state" not in stats_text(asked_for(every, {"usedonly": ""}))
    assert not asked_for(every, {"type": "Counters"}).numbers
    for query in ({"filter": "("}, {"filter": "x" * 2000}, {"type": "Sizes"}, {"histogram_buckets": "all"}):
        with pytest.raises((StatQueryError, FilterError)):
            asked_for(every, query)


def test_connections_of_all_workers_stand_in_one_list() -> None:
    one = Connection("127.0.0.1:2", "127.0.0.1:80", "l", "c", "TCP", "digest")
    found = all_connections([Connections(2, [one]), Connections(1, [])])
    assert (found.total, [(row.source, row.worker) for row in found.connections]) == (3, [("127.0.0.1:2", 0)])


def test_levels_are_set_for_one_logger_or_all() -> None:
    logger = logging.getLogger("weft.test-of-levels")
    before = logging.getLogger("weft").level
    try:
        set_levels(wanted_levels({"weft.test-of-levels": "error"}))
        assert "  weft.test-of-levels: error\n" in levels_text()
        set_levels(wanted_levels({"level": "warning"}))
        assert logger.getEffectiveLevel() == logging.WARNING
        for query in ({"level": "loud"}, {"nobody": "info"}):
            with pytest.raises(LevelError, match="there are"):
                wanted_levels(query)
    finally:
        logging.getLogger("weft").setLevel(before)


class Engineless:
    """A proxy whose engine has no pages of its own."""

    async def native(self, path: str, query: dict[str, str], *, method: str = "GET") -> None:
        del path, query, method


async def test_only_post_acts_and_never_for_another_site() -> None:
    handler = pages(ADMIN, Engineless(), ACTIONS)  # type: ignore[arg-type]

    async def ask(method: str, path: str, *headers: tuple[bytes, bytes]) -> int:
        over_the_socket = Peer("", 0, "", 0)
        request = ServiceRequest(method, path, {}, list(headers), b"", over_the_socket)
        return (await handler(request)).status

    assert await ask("GET", "/logging") == 200
    assert await ask("GET", "/quitquitquit") == 405
    assert await ask("POST", "/ready") == 405
    assert await ask("POST", "/logging", (b"origin", b"http://elsewhere.test")) == 403
    assert await ask("POST", "/logging") == 200
    assert await ask("GET", "/nothing") == 404


async def test_every_page_is_listed_with_what_it_is_for() -> None:
    handler = pages(ADMIN, None, ACTIONS)  # type: ignore[arg-type]
    listed = (await handler(ServiceRequest("GET", "/help", {}, [], b"", Peer("", 0, "", 0)))).body.decode()
    lines = dict(line.strip().split(": ", 1) for line in listed.splitlines()[1:])
    assert set(lines) == {*ADMIN, *(f"{path} (POST)" for path in ACTIONS)}
    assert all(len(text) > 10 for text in lines.values()), lines
    assert (
        lines["/quitquitquit (POST)"] == "Ends the proxy: what is in flight is finished first, at most the drain's time"
    )


def test_metrics_are_filtered_whole() -> None:
    text = b'# HELP a_total A.\n# TYPE a_total counter\na_total 0\n# TYPE b histogram\nb_bucket{le="1"} 0\nb_count 2\n'
    assert families_asked_for(text, {}) == text
    assert families_asked_for(text, {"filter": "^a"}).count(b"\n") == 3
    assert families_asked_for(text, {"usedonly": ""}).startswith(b"# TYPE b histogram\nb_bucket")
    with pytest.raises(FilterError, match="re2"):
        families_asked_for(text, {"filter": "["})


def test_what_one_worker_holds_against_an_endpoint_is_said_of_it() -> None:
    def told(*flags: str, **stats: int) -> list[ClusterStatus]:
        host = HostStatus("10.0.0.1", 80, dict(stats), flags=list(flags))
        return [ClusterStatus("a", {}, [host], {"upstream_rq_total": 2, "circuit_breakers.default.cx_open": 1})]

    (status,) = added([told(rq_total=2), told("failed_outlier_check", rq_total=3)])
    assert status.hosts[0].flags == ["failed_outlier_check"]
    assert status.hosts[0].stats == {"rq_total": 5}
    assert status.stats == {"upstream_rq_total": 4, "circuit_breakers.default.cx_open": 1}
    assert "a::10.0.0.1:80::health_flags::/failed_outlier_check" in as_text([status]).splitlines()
    (host,) = as_json([status])["cluster_statuses"][0]["host_statuses"]
    assert host["health_status"] == {"failed_outlier_check": True, "eds_health_status": "HEALTHY"}


def test_a_cold_endpoint_a_later_one_and_one_on_a_socket_are_told_as_such() -> None:
    hosts = [HostStatus("10.0.0.1", 80, warmth=40), HostStatus("10.0.0.2", 80, priority=1), HostStatus("/run/app", 0)]
    status = ClusterStatus("a", {}, hosts)
    lines = as_text([status]).splitlines()
    assert "a::10.0.0.1:80::warmup_percent::40" in lines
    assert "a::10.0.0.2:80::priority::1" in lines
    assert "a::/run/app::health_flags::healthy" in lines
    cold, later, local = as_json([status])["cluster_statuses"][0]["host_statuses"]
    assert cold["metadata"]["filter_metadata"]["weft"] == {"warmup_percent": 40}
    assert later["priority"] == 1
    assert local["address"] == {"pipe": {"path": "/run/app"}}


DUMP = {
    "configs": [
        {"@type": "x.BootstrapConfigDump", "bootstrap": {"node": {"id": "n", "cluster": "c"}}},
        {
            "@type": "x.ClustersConfigDump",
            "dynamic_active_clusters": [
                {"cluster": {"@type": "y.Cluster", "name": "a", "type": "EDS", "hosts": [{"x": 1}]}},
                {"cluster": {"@type": "y.Cluster", "name": "ab", "type": "STATIC"}},
            ],
        },
    ]
}


def test_a_dump_is_cut_down_to_what_is_asked_for() -> None:
    only = dump_asked_for(DUMP, {"resource": "dynamic_active_clusters", "mask": "cluster.name", "name_regex": "a"})
    assert only == {
        "configs": [{"@type": "x.ClustersConfigDump.DynamicCluster", "cluster": {"@type": "y.Cluster", "name": "a"}}]
    }
    assert dump_asked_for(DUMP, {"mask": "bootstrap.node.id"})["configs"] == [
        {"@type": "x.BootstrapConfigDump", "bootstrap": {"node": {"id": "n"}}}
    ]
    assert dump_asked_for(DUMP, {"resource": "dynamic_listeners"}) == {}
    assert dump_asked_for(DUMP, {}) == DUMP


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"resource": "nothing"}, 404, "nothing not found"),
        ({"resource": "bootstrap"}, 400, "not a repeated field"),
        ({"mask": "nothing"}, 400, "could not be successfully applied"),
        ({"resource": "dynamic_active_clusters", "mask": "cluster.hosts.x"}, 400, "could not be successfully used"),
        ({"name_regex": "("}, 400, "Error while parsing name_regex"),
    ],
)
def test_what_a_dump_has_not_is_refused_in_envoys_words(query: dict[str, str], status: int, said: str) -> None:
    with pytest.raises(DumpQueryError, match=said) as refused:
        dump_asked_for(DUMP, query)
    assert refused.value.status == status


def test_certificates_of_slots_are_dumped_without_their_keys() -> None:
    slice_ = slice_of(gateway_listener(80), table(), *host_sections("a", ["a.test"], []), cluster("b"))
    credential = Credential("shop/edge", b"CHAIN", b"the key", b"CA")
    dump = config_dump(slice_, BOOTSTRAP, None, 0.0, credentials=[credential], endpoints=worker(1))
    secrets = dump["configs"][-1]["dynamic_active_secrets"]
    assert [one["name"] for one in secrets] == ["shop/edge", "shop/edge-cacert"]
    assert base64.b64encode(b"the key").decode() not in json.dumps(dump)
    (endpoints,) = [one for one in dump["configs"] if one["@type"].endswith("EndpointsConfigDump")]
    (group,) = endpoints["dynamic_endpoint_configs"][0]["endpoint_config"]["endpoints"]
    assert group["locality"] == {"region": "eu", "zone": "eu-1"}
    assert group["lb_endpoints"][0]["health_status"] == "HEALTHY"
