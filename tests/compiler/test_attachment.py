"""Which listeners a route binds to, and with which hosts."""

from __future__ import annotations

import pytest

from compiler.attachment import Standing, bind
from tests.compiler.status.meshes import CLASS, WEB, gateway, listener, mesh_of, route

LISTENERS = (
    listener("any"),
    listener("wild", 81, rest="hostname: '*.example.org'"),
    listener("one", 82, rest="hostname: a.example.org"),
)


@pytest.mark.parametrize(
    ("hosts", "bound"),
    [
        ("", {"any": ("*",), "wild": ("*.example.org",), "one": ("a.example.org",)}),
        ("a.example.org", {"any": ("a.example.org",), "wild": ("a.example.org",), "one": ("a.example.org",)}),
        ("'*.org'", {"any": ("*.org",), "wild": ("*.example.org",), "one": ("a.example.org",)}),
        ("b.example.org, c.com", {"any": ("b.example.org", "c.com"), "wild": ("b.example.org",)}),
        ("example.org", {"any": ("example.org",)}),
    ],
)
def test_a_route_binds_where_hosts_meet_with_what_both_have_in_common(
    hosts: str, bound: dict[str, tuple[str, ...]]
) -> None:
    mesh = mesh_of(CLASS, WEB, gateway(*LISTENERS), route(hosts=hosts))
    subject = mesh.api_routes[0]
    found = bind(Standing(mesh), subject, subject.parents[0])
    assert found is not None
    assert {item.place.listener.name: item.hosts for item in found.bindings} == bound


def test_routes_without_hostnames_bind_with_every_host() -> None:
    mesh = mesh_of(CLASS, WEB, gateway(listener("tcp", 9000, "TCP")), route("TCPRoute"))
    subject = mesh.api_routes[0]
    found = bind(Standing(mesh), subject, subject.parents[0])
    assert found is not None
    assert [item.hosts for item in found.bindings] == [("*",)]


def test_a_parent_outside_of_the_tree_is_nobodys_to_answer_for() -> None:
    mesh = mesh_of(CLASS, WEB, route(parent="name: elsewhere"))
    assert bind(Standing(mesh), mesh.api_routes[0], mesh.api_routes[0].parents[0]) is None
