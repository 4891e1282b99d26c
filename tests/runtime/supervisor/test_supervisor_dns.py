"""The DNS server's part in a deployment: bound before the swap, answering after it, let go where nothing came of it."""

from __future__ import annotations

import socket

import pytest

from policies.source import SourceRef
from runtime.bootstrap import Bootstrap, Ports
from runtime.dns.answering import A
from runtime.supervisor.dns import DnsPart
from runtime.supervisor.facts import SliceFacts
from runtime.supervisor.sockets import BindError
from runtime.supervisor.tasks import Task
from runtime.telemetry import Instruments
from snapshot.index import Selector
from snapshot.section import Name, NameTable, Proxy, Workload

pytestmark = pytest.mark.integration

TABLE = NameTable("shop", (Name(("a.test",), SourceRef("ServiceEntry", "shop", "a"), ("10.0.0.1",)),))


def facts(*, serves: bool) -> SliceFacts:
    proxy = Proxy(Workload("app", "shop", ""), "cluster.local", serves_dns=serves)
    return SliceFacts(proxy, (), frozenset(), mesh=False, tables=(TABLE,) if serves else ())


class Part:
    def __init__(self, port: int = 0) -> None:
        self.held: dict[str, socket.socket] = {}
        self.started: list[str] = []
        bootstrap = Bootstrap(Selector(), "", "", "", ports=Ports(dns=port), resolv_conf="/nonexistent/resolv.conf")
        self.dns = DnsPart(bootstrap, Instruments(), self.held, self._start)

    def _start(self, name: str, task: Task) -> None:
        del task
        self.started.append(name)

    def close(self) -> None:
        for one in self.held.values():
            one.close()


def test_a_slice_that_asks_for_it_is_served_on_one_port_for_both_transports() -> None:
    part = Part()
    wanted = facts(serves=True)
    index = part.dns.prepare(wanted)
    assert len({one.getsockname() for one in part.held.values()}) == 1
    assert {one.type for one in part.held.values()} == {socket.SOCK_STREAM, socket.SOCK_DGRAM}
    assert (part.started, part.dns.server.answer("a.test", A).ask) == ([], "a.test")
    part.dns.use(index, wanted)
    assert part.dns.server.answer("a.test", A).addresses == ("10.0.0.1",)
    part.dns.use(part.dns.prepare(wanted), wanted)
    assert part.started == ["answering DNS"]
    without = facts(serves=False)
    part.dns.use(part.dns.prepare(without), without)
    assert (len(part.held), part.dns.server.answer("a.test", A).ask) == (2, "a.test")
    part.close()


def test_a_refused_slice_leaves_no_socket_behind() -> None:
    part = Part()
    part.dns.prepare(facts(serves=True))
    part.dns.abandon()
    assert part.held == {}


def test_no_port_is_bound_where_nobody_asks_or_the_bootstrap_opens_none() -> None:
    for part, serves in ((Part(), False), (Part(port=-1), True)):
        wanted = facts(serves=serves)
        part.dns.use(part.dns.prepare(wanted), wanted)
        assert (part.held, part.started, part.dns.serving) == ({}, [], False)


def test_a_taken_port_refuses_the_slice_and_says_which() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        part = Part(port=other.getsockname()[1])
        with pytest.raises(BindError, match=r"the DNS port 127\.0\.0\.1"):
            part.dns.prepare(facts(serves=True))
        part.dns.abandon()
    assert part.held == {}
