"""The parts of ``weft dev`` without a process: who runs where, what is counted, what is shown."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console
from rich.table import Table

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from compiler.worktree import WorkTree
from snapshot.index import Snapshot
from weft.dev.board import Board, Row
from weft.dev.devfile import DevFile, ProcessSpec
from weft.dev.placement import Placer
from weft.dev.screen import PlainScreen, flow_table, proxy_table
from weft.local.views import Problem, ProxyView, Running

MESH = Path(__file__).parents[3] / "examples" / "bookshop" / "mesh"
METRIC = (
    'istio_requests_total{{reporter="{reporter}",source_workload="web",destination_service_name="cart",'
    'destination_version="v1",response_code="{code}"}} {value}\n'
)


def bookshop() -> Snapshot:
    snapshot = compile_tree(WorkTree(MESH)).snapshot
    assert snapshot is not None
    return snapshot


def placer(*, first_port: int = 0, **processes: ProcessSpec) -> Placer:
    return Placer(DevFile(process=processes), first_port=first_port)


def test_a_named_workload_gets_a_sidecar_and_its_process_is_told_where_to_listen() -> None:
    cart = ProcessSpec(
        command="run --at {host}:{port} --via {proxy}", workload="bookshop/ratings", environment={"SELF": "{host}"}
    )
    placement = placer(stars=cart).place(bookshop())
    proxy = placement.proxies["stars"].proxy
    assert (proxy.slice, proxy.account, proxy.address) == ("sidecar/bookshop/ratings", "ratings", "127.30.0.2")
    process = placement.processes["app-stars"]
    assert process.words == ("run", "--at", "127.31.0.2:9080", "--via", "127.30.0.2:15001")
    environment = dict(process.environment)
    assert environment["http_proxy"] == "http://127.30.0.2:15001"
    assert (environment["HOST"], environment["PORT"], environment["SELF"]) == ("127.31.0.2", "9080", "127.31.0.2")
    assert placement.trust_domain == "bookshop.example"


def test_every_gateway_runs_with_credentials_for_its_slots_and_nothing_that_is_not_named() -> None:
    placement = placer().place(bookshop())
    assert sorted(placement.proxies) == ["egress-egressgateway", "ingress-ingressgateway", "ingress-partners"]
    ingress = placement.proxies["ingress-ingressgateway"]
    assert ingress.credentials == (("gateways/bookshop-certificate", ("bookshop.example",)),)
    assert ingress.ports == (8080, 8443)


def test_ports_that_only_root_may_bind_are_moved_up() -> None:
    placement = placer(first_port=8081).place(bookshop())
    assert placement.proxies["ingress-ingressgateway"].ports == (16080, 8443)
    assert placement.proxies["ingress-ingressgateway"].proxy.port_map == ((8080, 16080),)


def test_a_process_may_listen_elsewhere_than_the_mesh_says() -> None:
    spec = ProcessSpec(command="x {port}", workload="bookshop/ratings", ports={"9080": 3000}, application="127.0.0.1")
    placement = placer(stars=spec).place(bookshop())
    assert placement.processes["app-stars"].words == ("x", "3000")
    assert placement.proxies["stars"].proxy.application_ports == ((9080, 3000),)


def test_a_workload_that_the_mesh_has_not_is_told_and_one_without_a_workload_just_runs() -> None:
    specs = {"gone": ProcessSpec(command="x", workload="bookshop/gone"), "db": ProcessSpec(command="db {host}")}
    placement = placer(**specs).place(bookshop())
    assert placement.missing == ("bookshop/gone",)
    (advice,) = placement.advice
    assert advice.startswith("the mesh has no workload bookshop/gone, so its process is not started; it has ")
    assert "bookshop/" in advice.partition("it has ")[2]
    assert placement.processes["db"].words == ("db", "{host}")
    assert "gone" not in placement.proxies


def test_a_mesh_and_a_file_of_nothing_are_told_apart_from_a_mesh_that_runs() -> None:
    empty = compile_tree(MemoryTree({})).snapshot
    assert empty is not None
    (advice,) = placer().place(empty).advice
    assert advice.startswith("nothing runs: weft-dev.toml names no process")


def test_who_stays_keeps_the_address() -> None:
    snapshot = bookshop()
    one = placer(a=ProcessSpec(command="x", workload="bookshop/reviews-v3"))
    assert one.place(snapshot) == one.place(snapshot)


def board() -> Board:
    made = Board()
    running = Running(version=3, commit="", digest="d" * 64, since_s=0.0, fresh=True)
    made.rows["web"] = Row("web", "sidecar", "127.30.0.2:80", 4, view=ProxyView(running))
    made.rows["edge"] = Row(
        "edge", "ingress", "127.30.1.2:80", 2, view=ProxyView(running, refused=Problem("bind", "no"))
    )
    return made


def test_rates_are_differences_of_two_looks_and_a_sidecar_counts_what_it_answers() -> None:
    made = board()
    made.count("web", METRIC.format(reporter="destination", code=200, value=10), 0.0)
    later = METRIC.format(reporter="destination", code=200, value=30) + METRIC.format(
        reporter="destination", code=503, value=4
    )
    made.count("web", later + METRIC.format(reporter="source", code=200, value=100), 2.0)
    assert (made.rows["web"].rate_per_s, made.rows["web"].failed_per_s) == (12.0, 2.0)
    assert made.flows[("web", "cart", "v1")].rate_per_s == 50.0
    # The proxy was started again: its counters begin anew, and nothing is negative.
    made.count("web", METRIC.format(reporter="destination", code=200, value=1), 2.0)
    assert made.rows["web"].rate_per_s == 0.0


def test_the_tables_say_what_serves_what_refuses_and_what_ended() -> None:
    made = board()
    made.rows["late"] = Row("late", "sidecar", "127.30.0.3:80", 0)
    made.rows["dead"] = Row("dead", "sidecar", "127.30.0.4:80", 0, problem="ended with 1")
    made.count("web", "", 0.0)
    made.count("web", METRIC.format(reporter="source", code=200, value=3), 1.0)
    shown = [rendered(proxy_table(made)), rendered(flow_table(made))]
    ends = {line.split()[0]: line.split("  ")[-1].strip() for line in shown[0].splitlines()}
    assert (ends["web"], ends["edge"]) == ("serving", "refused: bind")
    assert (ends["late"], ends["dead"]) == ("starting", "ended with 1")
    assert shown[1].splitlines()[1].split() == ["web", "cart", "v1", "3.0", "0.0"]


def test_on_eighty_columns_the_tables_lose_the_least_wanted_columns_and_no_letter() -> None:
    made = board()
    made.rows["recommendations"] = Row("recommendations", "sidecar", "127.30.0.9:9080", 4, problem="ended with 1")
    shown = rendered(proxy_table(made, narrow=True), width=80)
    assert shown.splitlines()[0].split() == ["WORKLOAD", "ADDRESS", "VERSION", "REQ/S", "5XX/S", "STATE"]
    assert "…" not in shown
    assert re.search(r"^recommendations +127\.30\.0\.9:9080 .* ended with 1$", shown, re.MULTILINE)


def rendered(table: Table, *, width: int = 140) -> str:
    written = io.StringIO()
    Console(width=width, file=written).print(table)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines() if line.strip())


def test_followed_logs_are_shown_line_by_line_and_cannot_steer_the_terminal(tmp_path: Path) -> None:
    lines: list[str] = []
    screen = PlainScreen(lines.append, followed=frozenset({"app"}))
    log = tmp_path / "app.log"
    assert screen._follow("app", log, 0) == 0
    log.write_bytes(b"one\nt\x1b[2Jwo\nhal")
    end = screen._follow("app", log, 0)
    log.write_bytes(b"one\nt\x1b[2Jwo\nhalf\n")
    screen._follow("app", log, end)
    assert lines == ["app | one", "app | t [2Jwo", "app | half"]
