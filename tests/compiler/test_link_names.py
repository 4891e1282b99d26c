"""What a sidecar's DNS server is given: which hosts it knows by which names, with which addresses, and where those lead."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from compiler.link.allocation import SLOTS, allocate
from snapshot.encode import decode_section
from snapshot.prepared import PreparedSlice
from snapshot.section import Listener, Name, NameTable, Proxy
from tests.compiler.compiled import compilation, compiled
from tests.proxies import slice_named

SETTINGS = "apiVersion: weft/v1\nkind: MeshConfig\nmetadata: {{name: m}}\nspec: {{defaultConfig: {{proxyMetadata: {{{metadata}}}}}}}\n"
ON = SETTINGS.format(metadata='ISTIO_META_DNS_CAPTURE: "true", ISTIO_META_DNS_AUTO_ALLOCATE: "true"')
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}, annotations: {{{annotations}}}}}
spec: {{containers: [{{name: a, image: a}}]}}
"""
APP = POD.format(name="app", annotations="")
MACHINE = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vm, namespace: shop}
spec: {metadata: {labels: {app: vm}}, template: {serviceAccount: vm}}
"""


def service(name: str, spec: str, namespace: str = "shop", annotations: str = "") -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}, annotations: {{{annotations}}}}}\n"
        f"spec: {{{spec}, ports: [{{name: http, port: 80}}]}}\n"
    )


def entry(
    name: str, host: str, more: str = "resolution: DNS", namespace: str = "shop", metadata: str = "", status: str = ""
) -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}{metadata}}}\n"
        f"spec:\n  hosts: ['{host}']\n  ports: [{{number: 5432, name: tcp-db, protocol: TCP}}]\n  {more}\n{status}"
    )


class Sidecar(msgspec.Struct):
    """What the data plane of a sidecar prepares, and the names that its supervisor reads beside."""

    prepared: PreparedSlice
    tables: tuple[NameTable, ...]

    @property
    def proxy(self) -> Proxy:
        return self.prepared.proxy

    @property
    def listeners(self) -> dict[str, Listener]:
        return self.prepared.listeners

    @property
    def names(self) -> dict[str, Name]:
        return {one.names[0]: one for table in self.tables for one in table.entries}


def names(found: Sidecar) -> dict[str, Name]:
    return found.names


def sidecar(*texts: str, name: str = "app") -> Sidecar:
    mesh = compiled(*texts)
    slice_ = slice_named(mesh.snapshot, f"sidecar/shop/{name}")
    sections = [decode_section(slice_.blobs[ref.behaviour]) for ref in slice_.index.sections]
    tables = tuple(one for one in sections if isinstance(one, NameTable))
    return Sidecar(mesh.slice(f"sidecar/shop/{name}"), tables)


def test_without_a_word_a_proxy_leaves_dns_alone() -> None:
    prepared = sidecar(APP, service("a", "clusterIP: 10.96.0.1"), entry("db", "db.test"))
    assert (prepared.proxy.serves_dns, names(prepared)) == (False, {})
    assert [one.addresses for one in prepared.listeners.values() if one.name == "db.test:5432"] == [()]


@pytest.mark.parametrize(
    ("metadata", "annotation", "serves", "allocates"),
    [
        ('ISTIO_META_DNS_CAPTURE: "true"', "", True, True),
        ('ISTIO_META_DNS_CAPTURE: "1", ISTIO_META_DNS_AUTO_ALLOCATE: "false"', "", True, False),
        ('ISTIO_META_DNS_CAPTURE: "no"', "", False, False),
        ('ISTIO_META_DNS_AUTO_ALLOCATE: "true"', "", False, False),
        ('ISTIO_META_DNS_CAPTURE: "true"', 'ISTIO_META_DNS_CAPTURE: "false"', False, False),
        ("", 'ISTIO_META_DNS_CAPTURE: "True"', True, True),
    ],
)
def test_the_mesh_or_the_pod_itself_asks_for_it(metadata: str, annotation: str, serves: bool, allocates: bool) -> None:
    said = f"proxy.istio.io/config: '{{proxyMetadata: {{{annotation}}}}}'" if annotation else ""
    prepared = sidecar(
        SETTINGS.format(metadata=metadata), POD.format(name="app", annotations=said), entry("db", "db.test")
    )
    assert prepared.proxy.serves_dns is serves
    assert ("db.test" in names(prepared)) is allocates


def test_services_have_their_cluster_ips_and_all_names_that_their_clients_call_them_by() -> None:
    found = names(
        sidecar(
            ON,
            APP,
            service("a", "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1']"),
            service("b", "clusterIP: 10.96.0.2", "other"),
        )
    )
    own, other = found["a.shop.svc.cluster.local"], found["b.other.svc.cluster.local"]
    assert own.names == ("a.shop.svc.cluster.local", "a.shop.svc", "a.shop", "a")
    assert own.addresses == ("10.96.0.1", "fd00::1")
    assert other.names == ("b.other.svc.cluster.local", "b.other.svc", "b.other")


def test_headless_services_mean_their_endpoints_and_external_names_another_name() -> None:
    prepared = sidecar(
        ON,
        APP,
        service("h", "clusterIP: None, selector: {app: h}"),
        service("x", "type: ExternalName, externalName: WWW.Outside.test"),
        service("unknown", "selector: {app: h}"),
    )
    found = names(prepared)
    assert found["h.shop.svc.cluster.local"].cluster == "outbound|80||h.shop.svc.cluster.local"
    assert found["h.shop.svc.cluster.local"].cluster in prepared.prepared.clusters
    assert found["x.shop.svc.cluster.local"].alias == "www.outside.test"
    # Which cluster IP Kubernetes chose is not in Git; its own DNS knows it.
    assert "unknown.shop.svc.cluster.local" not in found


def test_entries_have_their_addresses_or_allocated_ones_that_listeners_take() -> None:
    prepared = sidecar(
        ON,
        APP,
        entry(
            "own",
            "own.test",
            "addresses: [192.0.2.1, 192.0.2.0/24]\n  resolution: STATIC\n  endpoints: [{address: 10.0.0.1}]",
        ),
        entry("one", "one.test", "resolution: STATIC\n  endpoints: [{address: 10.0.0.1}]"),
        entry("two", "two.test"),
        entry("none", "none.test", "resolution: NONE"),
        entry("wide", "*.wide.test", "addresses: [192.0.2.9]\n  resolution: NONE"),
        entry("wider", "*.wider.test", "resolution: STATIC\n  endpoints: [{address: 10.0.0.1}]"),
        entry("not", "not.test", metadata=", labels: {networking.istio.io/enable-autoallocate-ip: 'false'}"),
        entry(
            "noted",
            "noted.test",
            status="status: {addresses: [{value: 240.240.7.7, host: noted.test}, {value: 240.240.8.8, host: x}]}",
        ),
    )
    found = names(prepared)
    assert found["own.test"].addresses == ("192.0.2.1",)
    assert found["*.wide.test"].addresses == ("192.0.2.9",)
    assert found["noted.test"].addresses == ("240.240.7.7",)
    assert not {"none.test", "*.wider.test", "not.test"} & found.keys()
    one, two = found["one.test"].addresses, found["two.test"].addresses
    assert len({*one, *two}) == 4
    listeners = {name: prepared.listeners[f"{name}:5432"].addresses for name in ("one.test", "two.test", "*.wide.test")}
    assert listeners == {"one.test": one, "two.test": two, "*.wide.test": ("192.0.2.9",)}


def test_addresses_are_those_that_the_kernel_tells() -> None:
    prepared = sidecar(
        APP, entry("six", "six.test", "addresses: ['2001:DB8:0::1', '2001:DB8::/32']\n  resolution: NONE")
    )
    assert prepared.listeners["six.test:5432"].addresses == ("2001:db8::1", "2001:db8::/32")


def test_a_machine_outside_of_kubernetes_has_addresses_for_services_too() -> None:
    texts = (
        ON,
        APP,
        MACHINE,
        service("a", "selector: {app: app}"),
        service("h", "clusterIP: None, selector: {app: app}"),
    )
    found = names(sidecar(*texts, name="vm"))
    (four, six) = found["a.shop.svc.cluster.local"].addresses
    assert ipaddress.ip_address(four) in ipaddress.ip_network("240.240.0.0/16")
    assert ipaddress.ip_address(six) in ipaddress.ip_network("2001:2::/48")
    assert found["h.shop.svc.cluster.local"].cluster
    assert "a.shop.svc.cluster.local" not in names(sidecar(*texts))


def test_hosts_that_are_not_exported_or_that_a_sidecar_keeps_out_are_not_known() -> None:
    limits = (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: shop}\n"
        "spec: {egress: [{hosts: ['./own.test', 'other/*']}]}\n"
    )
    texts = (
        ON,
        APP,
        entry("own", "own.test"),
        entry("kept", "kept.test"),
        entry("seen", "seen.test", namespace="other"),
        entry("secret", "secret.test", "resolution: DNS\n  exportTo: ['.']", namespace="other"),
    )
    assert sorted(names(sidecar(*texts))) == ["kept.test", "own.test", "seen.test"]
    assert sorted(names(sidecar(*texts, limits))) == ["own.test", "seen.test"]


def test_requests_to_an_allocated_address_find_its_host() -> None:
    text = entry("web", "web.test").replace("tcp-db, protocol: TCP", "http, protocol: HTTP")
    prepared = sidecar(ON, APP, text)
    four, six = names(prepared)["web.test"].addresses
    assert any({four, f"[{six}]"} <= {*host.section.domains} for host in prepared.prepared.hosts.values())


def test_an_address_follows_from_its_host_whatever_else_is_there() -> None:
    alone = allocate(["shop/db.test"])["shop/db.test"]
    assert allocate([f"shop/{number}.test" for number in range(50)] + ["shop/db.test"])["shop/db.test"] == alone
    assert allocate(["shop/db.test", "shop/db.test"]) == {"shop/db.test": alone}


def test_of_two_hosts_with_one_place_the_first_keeps_it() -> None:
    by_place: dict[str, str] = {}
    for number in range(SLOTS):
        key = f"n/{number}"
        other = by_place.setdefault(allocate([key])[key][0], key)
        if other != key:
            break
    assert allocate([other, key])[other] == allocate([other])[other]
    assert allocate([other, key])[key] != allocate([key])[key]


def test_every_address_is_one_hosts_and_can_be_a_hosts() -> None:
    found = allocate(f"n/{number}" for number in range(5000))
    fours = [ipaddress.IPv4Address(four) for four, _ in found.values()]
    sixes = [ipaddress.IPv6Address(six) for _, six in found.values()]
    assert len({*fours}) == len({*sixes}) == len(found) == 5000
    assert all(one in ipaddress.ip_network("240.240.0.0/16") and one.packed[3] not in (0, 255) for one in fours)
    assert all(one in ipaddress.ip_network("2001:2::/48") for one in sixes)


@pytest.mark.parametrize(
    ("metadata", "warned"),
    [
        ("", True),
        ('ISTIO_META_DNS_CAPTURE: "true"', False),
        ('ISTIO_META_DNS_CAPTURE: "true", ISTIO_META_DNS_AUTO_ALLOCATE: "false"', True),
        ('ISTIO_META_DNS_AUTO_ALLOCATE: "true"', True),
    ],
)
def test_tcp_ports_without_addresses_are_warned_of_where_none_are_allocated(metadata: str, warned: bool) -> None:
    found = compilation(SETTINGS.format(metadata=metadata), APP, entry("db", "db.test"))
    assert any(item.code == "IST0134" for item in found.diagnostics) is warned


@pytest.mark.parametrize(
    ("rules", "annotation", "serves"),
    [
        ([("shop", "", "true")], "", True),
        ([("istio-system", "", "true"), ("shop", "", "false")], "", False),
        ([("istio-system", "", "true"), ("shop", "{app: app}", "false")], "", False),
        ([("istio-system", "", "false")], "true", True),
        ([("shop", "{app: app}", "true")], "false", True),
        ([("shop", "{app: other}", "true"), ("pay", "", "true")], "", False),
    ],
)
def test_the_nearest_proxy_config_says_whether_dns_is_answered(
    rules: list[tuple[str, str, str]], annotation: str, serves: bool
) -> None:
    texts = [
        f"apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {{name: p{number}, namespace: {namespace}}}\n"
        f"spec:\n  environmentVariables: {{ISTIO_META_DNS_CAPTURE: '{said}'}}\n"
        + (f"  selector: {{matchLabels: {labels}}}\n" if labels else "")
        for number, (namespace, labels, said) in enumerate(rules)
    ]
    said = f"proxy.istio.io/config: 'proxyMetadata: {{ISTIO_META_DNS_CAPTURE: \"{annotation}\"}}'" if annotation else ""
    prepared = sidecar(*texts, POD.format(name="app", annotations=said))
    assert prepared.proxy.serves_dns is serves


def test_many_names_are_in_tables_of_bounded_size_of_which_a_new_host_changes_one() -> None:
    texts = [
        entry(f"e{number}", f"h{number}.test", "addresses: [192.0.2.1]\n  resolution: DNS") for number in range(300)
    ]
    before, after = (sidecar(ON, APP, "---\n".join(texts[:count])).tables for count in (290, 291))
    assert len(before) == len(after) == 4
    assert max(len(table.entries) for table in after) < 200
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
    assert not any(isinstance(one, NameTable) for one in sidecar(ON, APP, texts[0]).prepared.sections.values())
