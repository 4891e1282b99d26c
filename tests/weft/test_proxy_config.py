"""``weft proxy-config``: pages in, aligned rows out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from policies.match import PathExact, PathPrefix
from policies.traffic import DirectResponse
from runtime.bootstrap import Bootstrap
from runtime.pages.clusters import ClusterStatus, HostStatus, as_json
from runtime.pages.config import config_dump
from snapshot.index import Selector
from tests.runtime.authority import Authority
from tests.slices import cluster, gateway_listener, host_sections, route, slice_of, table
from weft.commands.proxy_config import command
from weft.configured import rows

IDENTITY = "spiffe://cluster.local/ns/default/sa/default"
NAME = "outbound|9080|v1|reviews.shop.svc.cluster.local"


@pytest.fixture(scope="module")
def admin() -> Iterator[str]:
    """An admin port that answers what a proxy with one small slice would."""
    routes = [route(PathExact("/x"), NAME), route(PathPrefix("/"), action=DirectResponse(status=418))]
    slice_ = slice_of(
        gateway_listener(80), table(), *host_sections("a", ["a.test"], routes), cluster(NAME, ("127.0.0.1", 9))
    )
    svid = Authority().svid(IDENTITY)
    status = ClusterStatus(NAME, {}, [HostStatus("10.0.0.1", 9080, {"rq_active": 2})])
    pages = {
        "/config_dump": config_dump(slice_, Bootstrap(Selector(), "", "", "", port_map={"80": 8080}), svid, 0.0),
        "/clusters": as_json([status]),
        "/dns": {
            "names": [
                {
                    "names": ["a.shop.svc.cluster.local", "a.shop", "a"],
                    "addresses": ["10.96.0.1"],
                    "alias": "",
                    "source": "Service shop/a",
                },
                {"names": ["x.test"], "addresses": [], "alias": "www.x.test", "source": "Service shop/x"},
            ]
        },
    }

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(urlsplit(self.path).path)
            self.send_response(404 if page is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(page).encode())

        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"set {urlsplit(self.path).query}\n".encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


pytestmark = pytest.mark.integration


def test_columns_line_up_and_nothing_is_cut(admin: str) -> None:
    titles, row = run("clusters", admin).output.splitlines()
    assert titles.index("PORT") == row.index("9080")
    assert titles.index("DIRECTION") == row.index("outbound")
    assert row.startswith("reviews.shop.svc.cluster.local ")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (("--fqdn", "reviews"), 1),
        (("--fqdn", "ratings"), 0),
        (("--port", "9080", "--subset", "v1", "--direction", "outbound"), 1),
        (("--port", "80"), 0),
    ],
)
def test_filters_leave_what_fits(admin: str, filters: tuple[str, ...], found: int) -> None:
    assert len(run("clusters", admin, *filters).output.splitlines()) == 1 + found


def test_each_kind_of_resource_has_its_table(admin: str) -> None:
    assert "8080" in run("listeners", admin).output
    assert "Route: 80" in run("listeners", admin).output
    routes = run("routes", "--admin", admin).output.splitlines()
    assert [line.split()[3] for line in routes[1:]] == ["/x", "/*"], "the order in which they are asked"
    assert "status 418" in routes[2]
    assert "10.0.0.1:9080     HEALTHY     OK                2" in run("endpoints", admin).output
    secrets = run("secret", admin).output
    assert ("default" in secrets, "ROOTCA" in secrets, "ACTIVE     true" in secrets) == (True, True, True)
    assert json.loads(run("bootstrap", admin).output)["node"]["id"] == "tester.default"
    assert run("log", admin, "--level", "weft.proxy:debug").output == "set weft.proxy=debug\n"


def test_a_listener_is_found_by_what_it_speaks(admin: str) -> None:
    assert len(run("listeners", admin, "--type", "http").output.splitlines()) == 2
    assert len(run("listeners", admin, "--type", "TCP").output.splitlines()) == 1


def test_everything_is_shown_at_once_and_by_istioctls_names(admin: str) -> None:
    shown = run("all", admin).output
    for command_name in ("cluster", "l", "route", "ep", "secrets"):
        alone = run(command_name, admin).output
        assert alone.splitlines()[0] in shown
        assert alone.splitlines()[1] in shown
    assert json.loads(run("a", admin, "-o", "json").output)["configs"]


def test_resources_are_printed_whole_as_json_and_yaml(admin: str) -> None:
    (made,) = json.loads(run("clusters", admin, "-o", "json").output)
    assert made["name"] == NAME
    assert f"name: {NAME}" in run("clusters", admin, "-o", "yaml").output
    assert len(json.loads(run("routes", admin, "-o", "json").output)) == 1


def test_a_proxy_that_does_not_answer_is_told_in_one_sentence() -> None:
    done = run("clusters", "127.0.0.1:1")
    assert done.exit_code != 0
    assert "127.0.0.1:1 does not answer" in done.output
    assert "name one proxy's admin port" in run("clusters").output


PAGE = {"name": "a", "type": "A", "aliases": [], "addresses": [], "asked_on": "", "fails": False}


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"addresses": ["1.1.1.1", "fd00::1"]}, [("a", "A 1.1.1.1"), ("a", "AAAA fd00::1")]),
        ({"aliases": ["b", "c"], "addresses": ["1.1.1.1"]}, [("a", "CNAME b"), ("b", "CNAME c"), ("c", "A 1.1.1.1")]),
        ({"aliases": ["b"], "asked_on": "b"}, [("a", "CNAME b"), ("b", "asks the machine's resolvers")]),
        ({"type": "AAAA"}, [("a", "no AAAA")]),
        ({"fails": True}, [("a", "fails: aliases that lead nowhere")]),
    ],
)
def test_an_answer_is_shown_step_by_step(changes: dict[str, object], lines: list[tuple[str, str]]) -> None:
    assert [row.cells for row in rows.answer({**PAGE, **changes})] == lines


def test_names_are_listed_with_what_they_are_answered(admin: str) -> None:
    lines = run("dns", admin).output.splitlines()
    assert lines[0].split() == ["NAME", "ADDRESSES", "ALSO", "CALLED", "SOURCE"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["a.shop.svc.cluster.local", "10.96.0.1"],
        ["x.test", "www.x.test"],
    ]
    assert len(run("dns", admin, "--address", "10.96.0.1").output.splitlines()) == 2
    (found,) = json.loads(run("dns", admin, "--name", "a.shop", "-o", "json").output)
    assert found["addresses"] == ["10.96.0.1"]
