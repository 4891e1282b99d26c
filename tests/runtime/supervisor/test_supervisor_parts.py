"""Sockets, facts and what runs: the parts of a supervisor that need no process."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from policies.source import SourceRef
from runtime.bootstrap import Bootstrap, Ports
from runtime.fetch.news import FetchProblem, VerifiedSlice
from runtime.supervisor.facts import read_facts
from runtime.supervisor.fleet import Outcome
from runtime.supervisor.pages import admin_host
from runtime.supervisor.readiness import why_not_ready
from runtime.supervisor.reports import registration_of
from runtime.supervisor.running import Running
from runtime.supervisor.sockets import BindError, Sockets, free_port, wanted_addresses
from runtime.supervisor.tasks import RESTART_S, keep_running
from snapshot.index import Selector, Slice
from snapshot.live import Svid
from snapshot.section import (
    AddressPort,
    Bind,
    Cluster,
    DnsEndpoints,
    FilterChain,
    GatewayPort,
    HttpChain,
    Listener,
    MeshTls,
    ProxyPort,
    ServiceName,
    ServicePort,
    WorkloadPort,
)
from snapshot.trust.failure import Reason
from snapshot.trust.release import Release
from tests.slices import cluster, slice_of

SOURCE = SourceRef("Test", "default", "made-by-hand")
BOOTSTRAP = Bootstrap(
    selector=Selector(namespace="default", labels=(("version", "v1"), ("app", "a"))),
    store="s",
    root="r",
    state="x",
    address="127.0.0.7",
    port_map={"80": 8080},
    services={"b.test:90": "127.0.0.8:9090"},
)


def listener(name: str, bind: Bind, *, mesh: bool = False) -> Listener:
    chain = FilterChain("c", SOURCE, HttpChain("80"), tls=MeshTls() if mesh else None)
    return Listener(name, SOURCE, "inbound", bind, "http", (chain,))


def test_a_listener_is_bound_where_the_bootstrap_gives_it_an_address() -> None:
    wanted = wanted_addresses(
        BOOTSTRAP,
        [
            listener("in", WorkloadPort(80)),
            listener("known", ServicePort("b.test", 90)),
            listener("unknown", ServicePort("c.test", 90)),
            listener("out", ProxyPort()),
        ],
    )
    assert wanted == {
        "127.0.0.7:8080": ("127.0.0.7", 8080),
        "127.0.0.8:9090": ("127.0.0.8", 9090),
        "127.0.0.7:15001": ("127.0.0.7", 15001),
    }


def test_two_listeners_at_one_address_are_refused_by_their_names() -> None:
    with pytest.raises(BindError, match=r"in and out both want 127\.0\.0\.7:15001"):
        wanted_addresses(BOOTSTRAP, [listener("in", WorkloadPort(15001)), listener("out", ProxyPort())])


@pytest.mark.integration
def test_every_worker_has_a_socket_of_its_own_at_the_same_address() -> None:
    port = free_port("127.0.0.1")
    name = f"127.0.0.1:{port}"
    sockets = Sockets(workers=3)
    assert sockets.bind({name: ("127.0.0.1", port)}) == [name]
    assert sockets.bind({name: ("127.0.0.1", port)}) == []
    bound = [sockets.of_worker(worker, [name])[name] for worker in range(3)]
    assert {one.getsockname() for one in bound} == {("127.0.0.1", port)}
    assert len({one.fileno() for one in bound}) == 3
    sockets.release([name])
    assert sockets.names() == frozenset()


@pytest.mark.integration
def test_a_unix_socket_is_one_queue_for_all_workers_and_goes_with_its_listener(tmp_path: Path) -> None:
    path = str(tmp_path / "mesh.sock")
    sockets = Sockets(workers=2)
    sockets.bind({f"{path}:0": (path, 0)})
    workers = [sockets.of_worker(number, [f"{path}:0"])[f"{path}:0"] for number in range(2)]
    assert [one.getsockname() for one in workers] == [path, path]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    sockets.release([f"{path}:0"])
    assert not Path(path).exists()


@pytest.mark.integration
def test_a_socket_file_that_nobody_serves_is_taken_over_and_one_that_is_served_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "mesh.sock")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(path)
    sockets = Sockets(workers=1)
    sockets.bind({f"{path}:0": (path, 0)})
    with pytest.raises(BindError, match="taken by another process"):
        Sockets(workers=1).bind({f"{path}:0": (path, 0)})
    sockets.release(sockets.names())


@pytest.mark.integration
def test_when_one_address_cannot_be_bound_none_is() -> None:
    port = free_port("127.0.0.1")
    sockets = Sockets(workers=1)
    with pytest.raises(BindError, match="not an address of this machine"):
        sockets.bind({f"127.0.0.1:{port}": ("127.0.0.1", port), "203.0.113.1:80": ("203.0.113.1", 80)})
    assert sockets.names() == frozenset()
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.integration
def test_an_address_that_shares_its_port_with_a_stranger_is_refused_also_where_the_kernel_would_share() -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(BindError, match="taken by another process"):
            Sockets(workers=1).bind({"x": ("127.0.0.1", port)})


def test_facts_are_what_the_supervisor_needs_of_a_slice() -> None:
    dns = Cluster("d", ServiceName("d", "d", "default"), DnsEndpoints((("d.test", 443), ("e.test", 443))), (SOURCE,))
    facts = read_facts(slice_of(dns, cluster("a", ("127.0.0.1", 1)), listener("in", WorkloadPort(9080))))
    assert facts.names == {("d.test", 443), ("e.test", 443)}
    assert facts.inbound_ports == (9080,)
    every, own = listener("every", AddressPort("0.0.0.0", 1)), listener("own", AddressPort("127.0.0.1", 2))
    assert read_facts(slice_of(every, own)).inbound_ports == (1,)
    assert not facts.mesh
    assert read_facts(slice_of(listener("in", WorkloadPort(1), mesh=True))).mesh


def test_a_workload_and_a_gateway_register_with_the_ports_that_they_really_serve() -> None:
    svid = Svid("spiffe://cluster.local/ns/default/sa/default", b"", b"", b"", 0.0, 1.0)
    facts = read_facts(slice_of(listener("a", WorkloadPort(80)), listener("b", WorkloadPort(9080))))
    registered = registration_of(BOOTSTRAP, facts, svid)
    assert registered is not None
    assert registered.ports == (("80", 8080), ("9080", 9080))
    assert registered.labels == (("app", "a"), ("version", "v1"))
    named = msgspec.structs.replace(BOOTSTRAP, selector=Selector(name="sidecar/default/a"))
    by_name = registration_of(named, facts, svid, (("app", "a"),))
    assert by_name is not None
    assert by_name.labels == (("app", "a"),)
    gateway = registration_of(BOOTSTRAP, read_facts(slice_of(listener("g", GatewayPort(80)))), svid)
    assert gateway is not None
    assert gateway.ports == (("80", 8080),)
    assert registration_of(BOOTSTRAP, read_facts(slice_of(listener("out", ProxyPort()))), svid) is None


@pytest.mark.parametrize(("address", "host"), [("127.20.0.3", "127.20.0.3"), ("10.0.0.3", "127.0.0.1")])
def test_admin_pages_are_on_loopback_whatever_the_proxys_address_is(address: str, host: str) -> None:
    assert admin_host(msgspec.structs.replace(BOOTSTRAP, address=address, ports=Ports())) == host


async def test_a_task_that_fails_unexpectedly_starts_again(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    starts: list[float] = []

    async def task() -> None:
        starts.append(trio.current_time())
        if len(starts) < 3:
            raise RuntimeError("a bug")

    await keep_running("testing", task)
    assert starts == [0.0, RESTART_S, 2 * RESTART_S]
    assert "testing failed because of a bug" in caplog.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"svid": None}, "no certificate yet: asking"),
        ({"svid": None, "identity_problem": "the token is used up"}, "the token is used up"),
        ({"svid": None, "joins": False}, ""),
        ({"svid": "spiffe://cluster.local/ns/x/sa/y"}, "the certificate is for spiffe://cluster.local/ns/x/sa/y"),
        ({"workers_up": 0}, "no worker is up"),
        ({"stopping": True}, "draining"),
        ({"facts": None}, "no snapshot serves yet"),
    ],
)
def test_a_proxy_is_ready_only_when_it_can_serve(change: dict[str, object], why: str) -> None:
    given: dict[str, object] = {"svid": "spiffe://cluster.local/ns/default/sa/default", "joins": True, "workers_up": 1}
    given |= {"identity_problem": "", "stopping": False, **change}
    identity = given.pop("svid")
    svid = Svid(str(identity), b"", b"", b"", 0.0, 1.0) if identity else None
    facts = given.pop("facts", read_facts(slice_of(listener("in", WorkloadPort(1), mesh=True))))
    found = why_not_ready(facts, svid, **given)  # type: ignore[arg-type]
    assert found == why if not why else why in found


def verified(slice_: Slice, *, version: int = 1, fetched_at: float = 1000.0) -> VerifiedSlice:
    release = Release(
        channel="stable", commit="c", snapshot=slice_.snapshot, tree="t", compiler="test", time=1, version=version
    )
    return VerifiedSlice(release, slice_, True, fetched_at, 2000.0)


def test_a_stores_problem_is_over_with_the_next_news_from_it_but_not_with_a_slice_from_the_disk() -> None:
    slice_ = slice_of(listener("in", WorkloadPort(80)))
    facts = read_facts(slice_)
    running = Running(clock=lambda: 1000.0)
    assert running.fetch_failed(FetchProblem(Reason.UNREACHABLE, "away"))
    assert not running.fetch_failed(FetchProblem(Reason.UNREACHABLE, "away"))
    running.took(verified(slice_, fetched_at=500.0), facts, took_ms=1.0, outcome=Outcome())
    assert running.problem is not None
    running.renewed(verified(slice_, fetched_at=500.0))
    assert running.problem is None
    assert running.instruments.value("weft_fetch_problem_total", "unreachable") == 2


def test_a_refused_slice_is_the_last_error_until_one_serves() -> None:
    slice_ = slice_of(listener("in", WorkloadPort(80)))
    running = Running(clock=lambda: 1000.0)
    assert running.refuse("bind", "port taken")
    assert not running.refuse("bind", "port taken")
    error = running.last_error()
    assert error is not None
    assert (error.reason, error.at) == ("bind", 1000.0)
    running.took(verified(slice_), read_facts(slice_), took_ms=1.0, outcome=Outcome())
    assert running.last_error() is None


def test_what_serves_is_fresh_until_the_stores_signatures_run_out() -> None:
    now = [1000.0]
    slice_ = slice_of(listener("in", WorkloadPort(80)))
    running = Running(clock=lambda: now[0])
    running.took(verified(slice_), read_facts(slice_), took_ms=1.0, outcome=Outcome())
    assert running.fresh()
    now[0] = 2000.0
    assert not running.fresh()
    assert running.measure(0).value("weft_snapshot_fresh") == 0
    assert running.measure(0).value("weft_snapshot_age_seconds") == 1000.0
