"""Which filter chain a connection takes, as a table."""

from __future__ import annotations

import pytest

from policies.traffic import Destination
from runtime.choosing import choose_plain, choose_tls, is_undecided, same_binding
from runtime.tls.hello import Hello
from snapshot.section import FilterChain, HttpChain, MeshTls, ServerTls, TcpChain
from tests.slices import SOURCE

HTTP = HttpChain(routes="80")
TCP = TcpChain((Destination("t"),), SOURCE)


def chain(name: str, *hosts: str, tls: MeshTls | ServerTls | None = None, passthrough: bool = False) -> FilterChain:
    return FilterChain(name, SOURCE, TCP if passthrough else HTTP, hosts, tls, passthrough)


SERVER = ServerTls(credentials=("a/b",))
EDGE = [
    chain("exact", "a.example.com", tls=SERVER),
    chain("wild", "*.example.com", tls=SERVER),
    chain("wilder", "*.com", tls=SERVER),
    chain("through", "through.test", passthrough=True),
    chain("plain"),
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.example.com", "exact"),
        ("b.example.com", "wild"),
        ("c.b.example.com", "wild"),
        ("example.com", "wilder"),
        ("through.test", "through"),
        ("other.test", None),
        ("", None),
    ],
)
def test_the_most_specific_server_name_wins(name: str, expected: str | None) -> None:
    found = choose_tls(EDGE, Hello(name))
    assert (found.name if found else None) == expected


def test_a_chain_without_names_is_the_last_resort() -> None:
    found = choose_tls([*EDGE, chain("any", tls=SERVER)], Hello("other.test"))
    assert found is not None
    assert found.name == "any"


@pytest.mark.parametrize(
    ("alpn", "expected"), [(("istio",), "mesh"), (("istio-http/1.1", "istio"), "mesh"), (("h2",), "own"), ((), "own")]
)
def test_a_permissive_port_tells_the_mesh_from_the_applications_own_tls(alpn: tuple[str, ...], expected: str) -> None:
    found = choose_tls([chain("mesh", tls=MeshTls()), chain("own", tls=SERVER)], Hello("", alpn))
    assert found is not None
    assert found.name == expected


UNDECLARED = [FilterChain(name, SOURCE, network, tls=MeshTls()) for name, network in (("http", HTTP), ("tcp", TCP))]


@pytest.mark.parametrize(
    ("alpn", "first", "expected"),
    [
        (("istio-http/1.1", "istio", "http/1.1"), b"", "http"),
        (("istio-h2", "istio", "h2"), b"\x00\x01", "http"),
        (("istio-peer-exchange", "istio"), b"GET ", "tcp"),
        (("h2",), b"", "http"),
        ((), b"", "http"),
        ((), b"GET ", "http"),
        ((), b"\x00", "tcp"),
        (("redis",), b"PING", "tcp"),
    ],
)
def test_behind_the_same_tls_the_clients_protocols_choose_and_else_what_it_says(
    alpn: tuple[str, ...], first: bytes, expected: str
) -> None:
    found = choose_tls(UNDECLARED, Hello("", alpn), first)
    assert found is not None
    assert found.name == expected


@pytest.mark.parametrize(("alpn", "undecided"), [((), True), (("redis",), True), (("istio",), False), (("h2",), False)])
def test_only_silence_about_the_protocol_leaves_the_choice_open(alpn: tuple[str, ...], *, undecided: bool) -> None:
    assert is_undecided(UNDECLARED, Hello("", alpn)) is undecided
    assert not is_undecided([chain("mesh", tls=MeshTls())], Hello("", alpn))


def test_a_strict_port_has_no_chain_for_plain_text() -> None:
    assert choose_plain([chain("mesh", tls=MeshTls())], b"GET ") is None


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"GET ", "http"),
        (b"PRI ", "http"),
        (b"ACL ", "http"),
        (b"PROP", "http"),
        (b"HELO", "tcp"),
        (b"\x00\x01\x02\x03", "tcp"),
    ],
)
def test_plain_bytes_are_sniffed_where_both_chains_are_there(first: bytes, expected: str) -> None:
    found = choose_plain([FilterChain("http", SOURCE, HTTP), FilterChain("tcp", SOURCE, TCP)], first)
    assert found is not None
    assert found.name == expected


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (chain("a"), FilterChain("a", SOURCE, HttpChain(routes="81", policies="p")), True),
        (chain("a"), chain("a", tls=MeshTls()), False),
        (chain("a", tls=SERVER), chain("a", tls=ServerTls(credentials=("c/d",))), False),
        (FilterChain("a", SOURCE, TCP), chain("a"), False),
        (FilterChain("a", SOURCE, TCP), FilterChain("a", SOURCE, TcpChain((), SOURCE)), False),
    ],
)
def test_a_connection_survives_what_is_bound_per_request(old: FilterChain, new: FilterChain, same: bool) -> None:
    assert same_binding(old, new) is same
