"""What the registry and DNS make of a cluster, as tables."""

from __future__ import annotations

import msgspec
import pytest

from runtime.bootstrap import Bootstrap
from runtime.endpoints import LiveData, endpoints_of
from snapshot.index import Selector
from snapshot.live import RegisteredWorkload, Registry, Resolved
from snapshot.section import (
    ApplicationEndpoint,
    Cluster,
    DnsEndpoints,
    Endpoint,
    EndpointSource,
    MeshUpstream,
    OriginalDestination,
    RegisteredEndpoints,
    ServiceName,
    StaticEndpoints,
)

ID = "spiffe://cluster.local/ns/shop/sa/reviews"
OTHER = "spiffe://cluster.local/ns/shop/sa/other"


def live(*workloads: RegisteredWorkload) -> LiveData:
    data = LiveData(Bootstrap(Selector(), "", "", "", application="127.21.0.1", application_ports={"80": 8080}))
    data.with_registry(Registry(1, workloads))
    return data


def cluster(source: EndpointSource, *identities: str) -> Cluster:
    tls = MeshUpstream(identities, "sni") if identities else None
    return Cluster(name="c", service=ServiceName("c", "c", "shop"), endpoints=source, sources=(), tls=tls)


def workload(name: str, *, identity: str = ID, version: str = "v1", **fields: object) -> RegisteredWorkload:
    return RegisteredWorkload(
        "shop", name, f"10.0.0.{name}", (("app", "reviews"), ("version", version)), identity, **fields
    )  # type: ignore[arg-type]


SLOT = RegisteredEndpoints("shop", (("app", "reviews"),), port=9080)


@pytest.mark.parametrize(
    ("source", "identities", "expected"),
    [
        (SLOT, (), ["10.0.0.1:9080", "10.0.0.2:9080", "10.0.0.3:9080"]),
        (SLOT, (ID,), ["10.0.0.1:9080", "10.0.0.2:9080"]),
        (RegisteredEndpoints("shop", (("version", "v2"),), port=9080), (), ["10.0.0.2:9080"]),
        (RegisteredEndpoints("elsewhere", (), port=9080), (), []),
        (RegisteredEndpoints("shop", (("version", "v2"),), port_name="web"), (), ["10.0.0.2:19080"]),
        (ApplicationEndpoint(80), (), ["127.21.0.1:8080"]),
        (ApplicationEndpoint(81), (), ["127.21.0.1:81"]),
        (OriginalDestination(), (), []),
        (StaticEndpoints((Endpoint("1.1.1.1", 1), Endpoint("2.2.2.2", 2, weight=0))), (), ["1.1.1.1:1"]),
    ],
)
def test_endpoints_by_source(source: EndpointSource, identities: tuple[str, ...], expected: list[str]) -> None:
    workloads = (
        workload("1"),
        workload("2", version="v2", ports=(("web", 19080),)),
        workload("3", identity=OTHER),
    )
    found = endpoints_of(cluster(source, *identities), live(*workloads))
    assert [f"{one.address}:{one.port}" for one in found] == expected


def test_a_name_that_does_not_resolve_any_more_keeps_its_last_addresses() -> None:
    data = live()
    names = cluster(DnsEndpoints((("a.example", 80),)))
    assert endpoints_of(names, data) == ()
    data.with_names([Resolved("a.example", 80, ("1.2.3.4", "1.2.3.5"))])
    assert [one.address for one in endpoints_of(names, data)] == ["1.2.3.4", "1.2.3.5"]
    data.with_names([Resolved("a.example", 80, ())])
    assert [one.address for one in endpoints_of(names, data)] == ["1.2.3.4", "1.2.3.5"]


def test_a_logical_name_is_one_endpoint_whatever_it_resolves_to() -> None:
    data = live()
    names = cluster(DnsEndpoints((("a.example", 80), ("b.example", 81)), logical=True))
    data.with_names([Resolved("a.example", 80, ("1.2.3.9", "1.2.3.4")), Resolved("b.example", 81, ())])
    assert endpoints_of(names, data) == (Endpoint("1.2.3.9", 80, others=("1.2.3.4",)),)


def test_the_order_in_which_a_name_resolves_is_no_change_to_its_endpoints() -> None:
    data = live()
    names = cluster(DnsEndpoints((("a.example", 80),)))
    data.with_names([Resolved("a.example", 80, ("1.2.3.5", "1.2.3.4"))])
    before = endpoints_of(names, data)
    data.with_names([Resolved("a.example", 80, ("1.2.3.4", "1.2.3.5"))])
    assert endpoints_of(names, data) == before


def test_an_endpoint_set_that_turns_empty_is_removed_or_held_as_the_mesh_says() -> None:
    data = live(workload("1"))
    removed, held = cluster(SLOT), msgspec.structs.replace(cluster(SLOT), holds=True)
    before = endpoints_of(held, data)
    assert len(before) == 1
    data.with_registry(Registry(2, ()))
    assert endpoints_of(removed, data) == ()
    assert endpoints_of(held, data) == before
    data.with_registry(Registry(3, (workload("2", version="v2"),)))
    assert [one.address for one in endpoints_of(held, data)] == ["10.0.0.2"], "a set that is not empty is what it is"


def test_what_is_held_under_other_identities_is_not_used() -> None:
    data = live(workload("1"))
    held = msgspec.structs.replace(cluster(SLOT, ID), holds=True)
    assert len(endpoints_of(held, data)) == 1
    data.with_registry(Registry(2, ()))
    assert endpoints_of(msgspec.structs.replace(cluster(SLOT, OTHER), holds=True), data) == ()


def test_of_a_machine_that_git_lists_and_that_is_registered_the_registration_holds() -> None:
    listed = (Endpoint("10.0.0.1", 9080), Endpoint("10.0.0.9", 9080), Endpoint("10.0.0.1", 81))
    source = RegisteredEndpoints("shop", (("app", "reviews"),), port=9080, static=listed)
    found = endpoints_of(cluster(source), live(workload("1")))
    assert [(one.address, one.port, one.mesh) for one in found] == [
        ("10.0.0.9", 9080, False),
        ("10.0.0.1", 81, False),
        ("10.0.0.1", 9080, True),
    ]
    assert endpoints_of(cluster(source), live()) == listed


def test_a_cluster_for_the_mesh_alone_leaves_out_who_speaks_no_mesh_tls() -> None:
    found = StaticEndpoints((Endpoint("10.0.0.1", 1, mesh=True), Endpoint("10.0.0.2", 1)))
    section = Cluster("c", ServiceName("", "", ""), found, (), mesh_only=True)
    assert [one.address for one in endpoints_of(section, LiveData(Bootstrap(Selector(), "", "", "")))] == ["10.0.0.1"]
