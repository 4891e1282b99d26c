"""A broken resource that is published with the rest fails for those whom it is about, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.compiler_cache import CompilerCache
from compiler.diagnostic import Severity
from compiler.memory import Memory
from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.section import MeshTls, StaticEndpoints, TcpChain
from tests.compiler.compiled import CompiledMesh, ask, clusters, compilation, compiled, request

SHOP = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: tcp, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: a}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, template: {metadata: {labels: {app: cart}}, spec: {containers: [{name: a, image: a}]}}}
"""
ISTIO, SECURITY, API = "networking.istio.io/v1", "security.istio.io/v1", "gateway.networking.k8s.io/v1"
CART = "outbound|80||cart.shop.svc.cluster.local"


def resource(api_version: str, kind: str, spec: str, name: str = "r", namespace: str = "shop") -> str:
    return (
        f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )


def partly(*texts: str) -> CompiledMesh:
    """The mesh with a broken resource: refused as a whole, published in part."""
    strict = compilation(SHOP, *texts)
    assert strict.snapshot is None
    assert any(item.severity is Severity.ERROR and item.code == "IST0106" for item in strict.diagnostics)
    return compiled(SHOP, *texts, allow_partial=True)


def reply(mesh: CompiledMesh, url: str, host: str, *, name: str = "sidecar/shop/cart", **at: str) -> int | str:
    """The status of a local reply, or the first cluster."""
    decision = ask(mesh.slice(name), request(url, host=host), **at)
    return decision.reply.status if decision.reply else clusters(decision)[0][0]


def test_a_virtual_service_answers_503_for_its_hosts_and_closes_their_connections() -> None:
    mesh = partly(
        resource(ISTIO, "VirtualService", "{hosts: [web], http: [{timout: 1s, route: [{destination: {host: web}}]}]}")
    )
    assert reply(mesh, "/", "web") == 503
    assert reply(mesh, "/", "cart") == CART
    listener = mesh.slice("sidecar/shop/cart").listeners["web.shop.svc.cluster.local:9000"]
    assert [clusters_of(item.network) for item in listener.chains] == [[""]]


def clusters_of(network: object) -> list[str]:
    assert isinstance(network, TcpChain)
    return [destination.cluster for destination in network.destinations]


def test_a_virtual_service_keeps_what_its_matches_take() -> None:
    http = "{match: [{uri: {prefix: /a}}], route: [{destination: {host: web}, wait: 1}]}"
    mesh = partly(resource(ISTIO, "VirtualService", f"{{hosts: [web], http: [{http}]}}"))
    assert reply(mesh, "/a", "web") == 503
    assert reply(mesh, "/b", "web") == 404


def test_a_destination_rule_leaves_its_host_without_endpoints() -> None:
    mesh = partly(
        resource(ISTIO, "DestinationRule", "{host: web, trafficPolicy: {tls: {mode: SIMPEL}}, subsets: [{name: v1}]}")
    )
    prepared = mesh.slice("sidecar/shop/cart")
    assert prepared.clusters["outbound|80||web.shop.svc.cluster.local"].endpoints == StaticEndpoints(())
    assert prepared.clusters[CART].endpoints != StaticEndpoints(())


def test_a_service_entry_leaves_its_hosts_without_endpoints_and_not_to_pass_through() -> None:
    spec = "{hosts: [api.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DSN}"
    prepared = partly(resource(ISTIO, "ServiceEntry", spec)).slice("sidecar/shop/cart")
    assert prepared.clusters["outbound|80||api.example"].endpoints == StaticEndpoints(())


GATEWAY = "{selector: {istio: in}, servers: [%s]}"
PLAIN = "{port: {number: 80, name: http, protocol: HTTP}, hosts: [%s]}"
TCP = "{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}"
EVERY = resource(
    ISTIO, "VirtualService", "{hosts: ['*'], gateways: [all], http: [{route: [{destination: {host: cart}}]}]}", "every"
)


def test_a_gateway_answers_503_for_its_hosts_also_where_another_serves_them() -> None:
    broken = resource(
        ISTIO,
        "Gateway",
        GATEWAY % f"{PLAIN % 'a.example'}, {TCP}".replace("hosts: ['*']}", "hosts: ['*'], bnd: x}"),
        "one",
    )
    mesh = partly(broken, resource(ISTIO, "Gateway", GATEWAY % (PLAIN % "'*'"), "all"), EVERY)
    gateway = {"name": "gateway/istio=in", "listener": "gateway:80"}
    assert reply(mesh, "/", "a.example", **gateway) == 503
    assert reply(mesh, "/", "b.example", **gateway) == CART
    assert [clusters_of(item.network) for item in mesh.slice("gateway/istio=in").listeners["gateway:9000"].chains] == [
        [""]
    ]


def test_an_authorization_policy_denies_whom_it_selects() -> None:
    spec = "{selector: {matchLabels: {app: web}}, action: ALLOW, rules: [{form: []}]}"
    mesh = partly(resource(SECURITY, "AuthorizationPolicy", spec))
    assert denies(mesh, "sidecar/shop/web")
    assert not denies(mesh, "sidecar/shop/cart")


def test_an_authorization_policy_whose_selector_cannot_be_read_denies_its_namespace() -> None:
    mesh = partly(
        resource(SECURITY, "AuthorizationPolicy", "{selector: {matchLabels: [web]}, action: ALLOW, rules: [{}]}")
    )
    assert denies(mesh, "sidecar/shop/web")
    assert denies(mesh, "sidecar/shop/cart")


def denies(mesh: CompiledMesh, name: str) -> bool:
    decision = ask(mesh.slice(name), request("/", host="x"), listener="inbound|80", chain="plain-http")
    return decision.reply is not None and decision.reply.status == 403


def test_a_sidecar_lets_nothing_out_of_the_workloads_that_it_selects() -> None:
    spec = "{workloadSelector: {labels: {app: cart}}, egress: [{hosts: [web]}]}"
    mesh = partly(resource(ISTIO, "Sidecar", spec))
    assert reply(mesh, "/", "web") == 502
    assert reply(mesh, "/", "elsewhere.example") == 502
    assert reply(mesh, "/", "cart", name="sidecar/shop/web") == CART


def test_a_peer_authentication_asks_for_mutual_tls() -> None:
    spec = "{selector: {matchLabels: {app: web}}, mtls: {mode: PERMISIVE}, portLevelMtls: {80: {mode: DISABLE}}}"
    mesh = partly(resource(SECURITY, "PeerAuthentication", spec))
    for name, strict in (("web", True), ("cart", False)):
        chains = mesh.slice(f"sidecar/shop/{name}").listeners["inbound|80"].chains
        assert all(isinstance(chain.tls, MeshTls) for chain in chains) is strict


HTTP_ROUTE = """\
  parentRefs: [{name: public}]
  hostnames: [a.example]
  rules:
  - matches: [{path: {type: PathPrefix, value: /a}}]
    backendRefs: [{name: web, prt: 80}]
"""
API_GATEWAY = resource(
    API, "Gateway", "{gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}", "public"
)
OTHER_ROUTE = resource(
    API, "HTTPRoute", "{parentRefs: [{name: public}], rules: [{backendRefs: [{name: cart, port: 80}]}]}", "other"
)


def test_an_http_route_answers_500_for_what_its_matches_take() -> None:
    mesh = partly(API_GATEWAY, OTHER_ROUTE, resource(API, "HTTPRoute", f"\n{HTTP_ROUTE}"))
    name = next(name for name in mesh.names if name.startswith("gateway/"))
    listener = next(iter(mesh.slice(name).listeners))
    at = {"name": name, "listener": listener}
    assert reply(mesh, "/a", "a.example", **at) == 500
    assert reply(mesh, "/a", "b.example", **at) == CART


UNREADABLE = {
    "hosts under another name": resource(
        ISTIO, "VirtualService", "{host: [web], http: [{route: [{destination: {host: web}}]}]}"
    ),
    "gateways of the wrong shape": resource(
        ISTIO, "VirtualService", "{hosts: [web], gateways: mesh, http: [{route: [{destination: {host: web}}]}]}"
    ),
    "a match that others share": resource(
        ISTIO,
        "VirtualService",
        "{hosts: [web], gateways: [g], http: [{match: [{url: {prefix: /a}}], route: [{destination: {host: web}}]}]}",
    ),
    "no host": resource(ISTIO, "DestinationRule", "{hots: web}"),
    "ports without a number": resource(
        ISTIO, "ServiceEntry", "{hosts: [a.example], ports: [{name: http}], resolution: DNS}"
    ),
    "a server's hosts": resource(ISTIO, "Gateway", GATEWAY % PLAIN.replace("hosts: [%s]", "host: [a]")),
    "a misspelt selector": resource(
        SECURITY, "PeerAuthentication", "{selectr: {matchLabels: {app: web}}, mtls: {mode: STRICT}}"
    ),
    "hostnames under another name": resource(
        API, "HTTPRoute", "{parentRefs: [{name: public}], hostname: [a], rules: [{}]}"
    ),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_about_nobody_knows_whom_closes_its_namespace(text: str) -> None:
    mesh = compiled(SHOP, text, allow_partial=True)
    assert denies(mesh, "sidecar/shop/cart")
    assert reply(mesh, "/", "web") == 502


def test_a_mistake_in_one_namespace_does_not_hide_those_of_others() -> None:
    broken = resource(ISTIO, "VirtualService", "{hosts: [web], http: [{timout: 1s}]}", namespace="a")
    unsound = resource(ISTIO, "VirtualService", "{hosts: [cart], http: [{route: [{destination: {host: gone}}]}]}")
    found = [
        (item.code, item.resource and item.resource.namespace)
        for item in compilation(SHOP, broken, unsound).diagnostics
    ]
    assert ("IST0106", "a") in found
    assert ("IST0101", "shop") in found


def test_a_stand_in_is_told_of_only_by_the_mistakes_that_it_stands_for() -> None:
    spec = "{hosts: [gone.example], http: [{route: [{destination: {host: gone}, weigth: 1}]}]}"
    found = compilation(SHOP, resource(ISTIO, "VirtualService", spec), allow_partial=True).diagnostics
    assert {item.code for item in found} == {"IST0106"}


# --- kinds of Kubernetes --------------------------------------------------------------------------------------------------------


def test_a_service_that_cannot_be_read_answers_503_on_every_port_and_its_workload_goes_on() -> None:
    broken = "apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: shop}\nspec: {selector: [x], ports: [{port: 80, name: http}]}\n"
    mesh = partly(broken)
    assert reply(mesh, "/", "pay") == "outbound|80||pay.shop.svc.cluster.local"
    assert mesh.slice("sidecar/shop/cart").clusters[
        "outbound|80||pay.shop.svc.cluster.local"
    ].endpoints == StaticEndpoints(())
    assert reply(mesh, "/", "pay:9000") == 503
    assert reply(mesh, "/", "pay:7777") == 503
    assert reply(mesh, "/", "cart") == CART


def test_a_service_of_which_no_port_can_be_read_answers_503_too() -> None:
    mesh = partly(
        "apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: shop}\nspec: {ports: [{port: many}]}\n"
    )
    assert [reply(mesh, "/", host) for host in ("pay", "pay:9000", "pay.shop:1")] == [503, 503, 503]


WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: pay, namespace: shop}
spec:
  selector: {matchLabels: {app: pay}}
  template:
    metadata: {labels: {app: pay}}
    spec: {serviceAccountName: pay, containers: [{name: a, image: a, ports: [{containerPort: http}]}]}
"""


def test_a_workload_that_cannot_be_read_lets_nobody_in_or_out() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: shop}\nspec: {selector: {app: pay}, ports: [{port: 80, name: http}]}\n"
    mesh = partly(WORKLOAD, service)
    assert denies(mesh, "sidecar/shop/pay")
    assert reply(mesh, "/", "cart", name="sidecar/shop/pay") == 502
    assert mesh.slice("sidecar/shop/pay").proxy.workload.identity.endswith("/ns/shop/sa/pay")
    assert not denies(mesh, "sidecar/shop/cart")


@pytest.mark.parametrize(
    "text",
    [
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: pay, namespace: shop, labels: {app: pay}, annotations: [x]}\n"
            "spec: {containers: [{name: a, image: a}]}\n"
        ),
        (
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: pay, namespace: shop}\nspec: {schedule: 5, jobTemplate: {spec: "
            "{template: {metadata: {labels: {app: pay}}, spec: {containers: [{name: a, image: a}]}}}}}\n"
        ),
    ],
)
def test_so_does_every_other_kind_of_workload(text: str) -> None:
    mesh = partly(text)
    assert reply(mesh, "/", "cart", name="sidecar/shop/pay") == 502


@pytest.mark.parametrize(
    "text",
    [
        resource(ISTIO, "WorkloadEntry", "{address: 10.0.0.1, labels: {app: web}, weight: heavy}"),
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, namespace: shop}\naddressType: IPv9\nendpoints: []\n",
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: s, namespace: shop}\nsubsets: {}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\ntype: [kubernetes.io/tls]\n",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: [x]}\n",
        resource("gateway.networking.k8s.io/v1", "ReferenceGrant", "{from: [], to: everything}"),
        resource("telemetry.istio.io/v1", "Telemetry", "{tracing: yes}"),
    ],
)
def test_what_else_is_broken_hinders_nobody(text: str) -> None:
    assert reply(partly(text), "/", "cart") == CART


def test_a_gateway_of_the_gateway_api_keeps_its_listeners_and_takes_no_route() -> None:
    cls = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: weft}\n"
        "spec: {controllerName: weft.dev/gateway-controller}\n"
    )
    gateway = "{gatewayClassName: weft, adresses: [], listeners: [{name: http, port: 80, protocol: HTTP}]}"
    route = resource(
        API, "HTTPRoute", "{parentRefs: [{name: r}], rules: [{backendRefs: [{name: cart, port: 80}]}]}", "route"
    )
    mesh = partly(cls, resource(API, "Gateway", gateway), route)
    assert reply(mesh, "/", "any.example", name="gateway/shop/r", listener="gateway:80") == 404


# --- a namespace of which something cannot be read -------------------------------------------------------------------------------

ELSEWHERE = """\
apiVersion: v1
kind: Service
metadata: {name: bank, namespace: far}
spec: {selector: {app: bank}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: bank, namespace: far}
spec: {selector: {matchLabels: {app: bank}}, template: {metadata: {labels: {app: bank}}, spec: {containers: [{name: a, image: a}]}}}
"""
NO_YAML = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: cart\n  namespace: shop\nspec:\n  hosts: [cart\n"
BANK = "outbound|80||bank.far.svc.cluster.local"


def closed(*texts: str) -> CompiledMesh:
    assert compilation(SHOP, ELSEWHERE, *texts).snapshot is None
    return compiled(SHOP, ELSEWHERE, *texts, allow_partial=True)


def test_a_document_that_is_no_yaml_closes_its_namespace_and_no_other() -> None:
    mesh = closed(NO_YAML)
    for name in ("web", "cart"):
        assert denies(mesh, f"sidecar/shop/{name}")
        assert reply(mesh, "/", "bank.far", name=f"sidecar/shop/{name}") == 502
    assert not denies(mesh, "sidecar/far/bank")
    assert reply(mesh, "/", "bank", name="sidecar/far/bank") == BANK
    assert [reply(mesh, "/", host, name="sidecar/far/bank") for host in ("web.shop:9999", "cart.shop:81")] == [503, 503]
    prepared = mesh.slice("sidecar/far/bank")
    assert prepared.clusters[CART].endpoints == StaticEndpoints(())


def test_the_other_documents_of_the_file_are_read() -> None:
    mesh = closed(f"{NO_YAML}---\n{ELSEWHERE.replace('bank', 'fund')}")
    assert reply(mesh, "/", "fund.far", name="sidecar/far/bank") == "outbound|80||fund.far.svc.cluster.local"


def test_a_resource_whose_scope_cannot_be_read_closes_its_namespace() -> None:
    mesh = closed(resource(ISTIO, "VirtualService", "{hosts: {web: 1}, http: [{route: [{destination: {host: web}}]}]}"))
    assert denies(mesh, "sidecar/shop/cart")
    assert reply(mesh, "/", "bank", name="sidecar/far/bank") == BANK


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {namespace: shop}\nspec: {hosts: [web]}\n",
        "apiVersion: networking.istio.io/v7\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [web]}\n",
        "apiVersion: networking.istio.io/v1\nkind: VirtualServic\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [web]}\n",
        'apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: "shop"}  # web\nspec: {ports: [}\n',
        "kind: Service\napiVersion: v1\nspec: {ports: [}\nmetadata:\n  # where\n  namespace: shop\n  name: x\n",
    ],
)
def test_a_namespace_is_closed_by_whatever_of_it_is_no_resource(text: str) -> None:
    mesh = closed(text)
    assert denies(mesh, "sidecar/shop/cart")
    assert reply(mesh, "/", "bank", name="sidecar/far/bank") == BANK


def test_a_kind_that_weft_does_not_serve_closes_nothing() -> None:
    mesh = closed(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: x\n  namespace: shop\nspec: {a: [}\n"
    )
    assert not denies(mesh, "sidecar/shop/cart")


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: weft/v1\nkind: MeshConfig\nmetadata: {name: m}\nspec: {trustDomain: [x]}\n",
        "apiVersion: weft/v1\nkind: MeshConfig\nmetadata:\n  name: m\nspec: {trustDomain: [}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: istio\n  namespace: istio-system\ndata: {mesh: [}\n",
        NO_YAML.replace("namespace: shop", "namespace: istio-system"),
        NO_YAML.replace("namespace: shop", "namespace: {{ .Values.namespace }}"),
        NO_YAML.replace("  namespace: shop\n", "  namespace shop\n"),
        "just: [text\n",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c}\nspec: {controllerName: 5}\n",
    ],
)
def test_what_may_concern_every_namespace_is_not_published_in_part(text: str) -> None:
    assert compilation(SHOP, ELSEWHERE, text, allow_partial=True).snapshot is None


def test_mistakes_elsewhere_are_found_beside_a_document_that_is_no_yaml() -> None:
    other = resource(SECURITY, "AuthorizationPolicy", "{action: ALLOW}", namespace="far")
    found = {item.code for item in compilation(SHOP, ELSEWHERE, NO_YAML, other).diagnostics}
    assert {"WFT0001", "WFT0124"} <= found


def test_what_seems_missing_beside_a_document_that_is_no_yaml_is_not_called_missing() -> None:
    route = resource(
        ISTIO,
        "VirtualService",
        "{hosts: [x.example], http: [{route: [{destination: {host: gone.shop.svc.cluster.local}}]}]}",
        namespace="far",
    )
    codes = [item.code for item in compilation(SHOP, ELSEWHERE, NO_YAML, route).diagnostics]
    assert "IST0101" not in codes
    assert "IST0101" in [item.code for item in compilation(SHOP, ELSEWHERE, route).diagnostics]


def test_a_closed_namespace_is_the_same_from_memory_from_a_cache_and_anew(tmp_path: Path) -> None:
    files = {"shop.yaml": SHOP.encode(), "far.yaml": ELSEWHERE.encode(), "no.yaml": NO_YAML.encode()}
    anew = compile_tree(MemoryTree(files), allow_partial=True)
    assert anew.snapshot is not None
    memory = Memory(CompilerCache.of(tmp_path))
    healed = files | {"no.yaml": NO_YAML.replace("[cart", "[cart]").encode()}
    for state, expected in ((files, anew), (healed, None), (files, anew)):
        result = compile_tree(MemoryTree(state), allow_partial=True, memory=memory)
        assert result.snapshot is not None
        assert (result.snapshot.digest == anew.snapshot.digest) is (expected is not None)
    again = compile_tree(MemoryTree(files), allow_partial=True, memory=Memory(CompilerCache.of(tmp_path)))
    assert again == anew
