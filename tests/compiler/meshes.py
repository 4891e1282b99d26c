"""Small meshes of every kind that link reads, and the edits that people make to them. For tests with hypothesis.

A mesh is its files, each a list of objects. Names, hosts, labels and namespaces come from small pools, so that objects refer to each other,
compete, and stop doing so when one is edited.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Object = dict[str, Any]
Files = dict[str, list[Object]]
Draw = Callable[[st.SearchStrategy[Any]], Any]

NAMESPACES = ("shop", "pay", "istio-system", "edge")
NAMES = ("a", "b", "c")
SUFFIX = "svc.cluster.local"
EXTERNAL = ("api.example.com", "*.example.com", "a.shop", "a")
GATEWAY_API = "gateway.networking.k8s.io"
ISTIO = "networking.istio.io/v1"

names, namespaces = st.sampled_from(NAMES), st.sampled_from(NAMESPACES)
hosts = st.one_of(
    st.builds("{}.{}.{}".format, names, namespaces, st.just(SUFFIX)),
    names,
    st.sampled_from((*EXTERNAL, f"*.shop.{SUFFIX}")),
)
labels = st.fixed_dictionaries({"app": names}, optional={"version": st.sampled_from(("v1", "v2"))})
export = st.sampled_from(([], [], ["*"], ["."], ["pay"], [".", "edge"]))
ports = st.sampled_from(
    [
        [{"name": "http", "port": 80, "targetPort": 8080}],
        [{"name": "tcp", "port": 80, "targetPort": "web"}],
        [{"name": "http", "port": 80}, {"name": "grpc", "port": 9000}],
        [{"name": "tls", "port": 443}, {"name": "odd", "port": 80}],
    ]
)
addresses = st.sampled_from(("10.0.0.1", "10.0.0.2"))
DNS = "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}"


def _meta(kind: str, version: str, *, annotations: Object | None = None, **spec: Any) -> Object:
    metadata = {"annotations": annotations} if annotations else {}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **({"spec": spec} if spec else {})}


@st.composite
def services(draw: Draw) -> Object:
    exported = draw(export)
    annotations = {"networking.istio.io/exportTo": ",".join(exported)} if exported else None
    if draw(st.integers(0, 9)) == 0:
        return _meta(
            "Service",
            "v1",
            type="ExternalName",
            externalName=draw(st.sampled_from(("db.example.com", f"a.pay.{SUFFIX}", f"b.edge.{SUFFIX}"))),
            ports=draw(ports),
            annotations=annotations,
        )
    selector = {"selector": draw(labels)} if draw(st.integers(0, 4)) else {}
    address = {"clusterIP": draw(st.one_of(addresses, st.just("None")))} if draw(st.booleans()) else {}
    return _meta("Service", "v1", ports=draw(ports), annotations=annotations, **selector, **address)


@st.composite
def workloads(draw: Draw) -> Object:
    found = draw(labels)
    containers = [
        {
            "name": "app",
            "image": "app",
            "ports": [{"name": "web", "containerPort": draw(st.sampled_from((8080, 9090)))}],
        }
    ]
    pod: Object = {"containers": containers, "serviceAccountName": draw(names)}
    if draw(st.integers(0, 4)) == 0:
        item = _meta("Pod", "v1", **pod)
        item["metadata"]["labels"] = found
        item["status"] = {"podIP": draw(addresses)}
        return item
    kind = draw(st.sampled_from(("Deployment", "Deployment", "StatefulSet")))
    extra = {"serviceName": "a"} if kind == "StatefulSet" else {}
    annotated = {"annotations": {"proxy.istio.io/config": DNS}} if draw(st.integers(0, 2)) == 0 else {}
    template = {"metadata": {"labels": found, **annotated}, "spec": pod}
    return _meta(kind, "apps/v1", selector={"matchLabels": found}, template=template, **extra)


@st.composite
def entries(draw: Draw) -> Object:
    resolution = draw(st.sampled_from(("STATIC", "DNS", "NONE")))
    spec: Object = {
        "hosts": [draw(st.sampled_from(EXTERNAL))],
        "ports": [{"number": 80, "name": "http", "protocol": draw(st.sampled_from(("HTTP", "TCP")))}],
        "location": draw(st.sampled_from(("MESH_INTERNAL", "MESH_EXTERNAL"))),
        "resolution": resolution,
        "exportTo": draw(export),
    }
    if resolution == "STATIC":
        if draw(st.booleans()):
            spec["workloadSelector"] = {"labels": draw(labels)}
        else:
            spec["endpoints"] = [{"address": draw(addresses), "labels": draw(labels)}]
    if resolution == "NONE":
        spec["addresses"] = [draw(addresses)]
    return _meta("ServiceEntry", ISTIO, **spec)


workload_entries = st.builds(
    lambda address, found, account: _meta(
        "WorkloadEntry", ISTIO, address=address, labels=found, serviceAccount=account
    ),
    addresses,
    labels,
    names,
)


@st.composite
def destinations(draw: Draw) -> Object:
    destination: Object = {"host": draw(hosts.filter(lambda host: "*" not in host))}
    if draw(st.booleans()):
        destination["port"] = {"number": 80}
    if draw(st.integers(0, 3)) == 0:
        destination["subset"] = draw(st.sampled_from(("v1", "v2")))
    return destination


@st.composite
def virtual_services(draw: Draw) -> Object:
    gateways = draw(st.sampled_from(([], [], ["mesh"], ["a"], ["istio-system/b", "mesh"])))
    kinds = [
        None,
        {"sourceLabels": draw(labels)},
        {"sourceNamespace": draw(namespaces)},
        {"uri": {"prefix": "/x"}},
        {"port": 80},
    ]
    matches = [item for item in draw(st.lists(st.sampled_from(kinds), max_size=2)) if item]
    route: Object = {"route": [{"destination": draw(destinations())}], "timeout": draw(st.sampled_from(("1s", "2s")))}
    rules = [{**route, "match": [match]} for match in matches] + [route]
    spec: Object = {"hosts": [draw(hosts)], "exportTo": draw(export), "http": rules}
    if draw(st.integers(0, 3)) == 0:
        spec["tcp"] = [{"route": [{"destination": draw(destinations())}]}]
    return _meta("VirtualService", ISTIO, **spec, **({"gateways": gateways} if gateways else {}))


@st.composite
def destination_rules(draw: Draw) -> Object:
    policies = [
        {},
        {"loadBalancer": {"simple": "ROUND_ROBIN"}},
        {"tls": {"mode": "DISABLE"}},
        {"tls": {"mode": "SIMPLE", "credentialName": "cert"}},
        {"tls": {"mode": "ISTIO_MUTUAL"}},
        {"retryBudget": {"percent": 20}},
    ]
    subsets = [
        {"name": name, "labels": {"version": name}} for name in draw(st.sampled_from((["v1"], ["v1", "v2"], [])))
    ]
    policy = draw(st.sampled_from(policies))
    return _meta(
        "DestinationRule", ISTIO, host=draw(hosts), exportTo=draw(export), subsets=subsets, trafficPolicy=policy
    )


@st.composite
def gateways(draw: Draw) -> Object:
    protocol = draw(st.sampled_from(("HTTP", "HTTPS", "TCP")))
    tls = {"tls": {"mode": "SIMPLE", "credentialName": "cert"}} if protocol == "HTTPS" else {}
    server = {
        "port": {"number": 443 if tls else 80, "name": "p", "protocol": protocol},
        "hosts": [draw(st.sampled_from(("*", "pay/*", "./*")))],
    }
    selector = draw(st.sampled_from(({"istio": "ingressgateway"}, {"app": "a"}, {"app": "b", "version": "v1"})))
    return _meta("Gateway", ISTIO, selector=selector, servers=[{**server, **tls}])


peer_authentications = st.builds(
    lambda mode, found: _meta(
        "PeerAuthentication",
        "security.istio.io/v1",
        mtls={"mode": mode},
        **({"selector": {"matchLabels": found}} if found else {}),
    ),
    st.sampled_from(("STRICT", "PERMISSIVE", "DISABLE")),
    st.none() | labels,
)
authorization_policies = st.builds(
    lambda namespace, found: _meta(
        "AuthorizationPolicy",
        "security.istio.io/v1",
        rules=[{"from": [{"source": {"namespaces": [namespace]}}]}],
        **({"selector": {"matchLabels": found}} if found else {}),
    ),
    namespaces,
    st.none() | labels,
)


@st.composite
def api_gateways(draw: Draw) -> Object:
    scope: Object = {"from": draw(st.sampled_from(("All", "Same")))}
    if draw(st.integers(0, 2)) == 0:
        scope = {"from": "Selector", "selector": {"matchLabels": {"team": draw(names)}}}
    listener: Object = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": scope}}
    if draw(st.booleans()):
        certificate = {"name": draw(names), **({"namespace": draw(namespaces)} if draw(st.booleans()) else {})}
        listener |= {
            "port": 443,
            "protocol": "HTTPS",
            "hostname": "*.example.com",
            "tls": {"certificateRefs": [certificate]},
        }
    return _meta(
        "Gateway", f"{GATEWAY_API}/v1", gatewayClassName=draw(st.sampled_from(("weft", "other"))), listeners=[listener]
    )


@st.composite
def http_routes(draw: Draw) -> Object:
    parents = [
        {"name": draw(names), "namespace": draw(namespaces)},
        {"group": "", "kind": "Service", "name": draw(names), "port": 80},
        {"group": "", "kind": "Service", "name": draw(names), "namespace": draw(namespaces)},
    ]
    backend = {"name": draw(names), "port": 80, **({"namespace": draw(namespaces)} if draw(st.booleans()) else {})}
    rule: Object = {
        "backendRefs": [backend],
        "matches": [{"path": {"type": "PathPrefix", "value": draw(st.sampled_from(("/", "/x")))}}],
    }
    return _meta("HTTPRoute", f"{GATEWAY_API}/v1", parentRefs=[draw(st.sampled_from(parents))], rules=[rule])


@st.composite
def grants(draw: Draw) -> Object:
    kind, target = draw(st.sampled_from((("HTTPRoute", "Service"), ("Gateway", "Secret"))))
    origin = {"group": GATEWAY_API, "kind": kind, "namespace": draw(namespaces)}
    return _meta("ReferenceGrant", f"{GATEWAY_API}/v1beta1", to=[{"group": "", "kind": target}], **{"from": [origin]})


@st.composite
def endpoint_slices(draw: Draw) -> Object:
    item = _meta("EndpointSlice", "discovery.k8s.io/v1")
    item["metadata"]["labels"] = {"kubernetes.io/service-name": draw(names)}
    endpoints = [{"addresses": [draw(addresses)], "conditions": {"ready": True}}]
    return item | {
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


@st.composite
def settings(draw: Draw) -> Object:
    modes = [
        {},
        {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
        {"trustDomain": "example.org"},
        {"rootNamespace": "pay"},
        {"enableAutoMtls": False},
        {"defaultConfig": {"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}},
    ]
    return _meta("MeshConfig", "weft/v1", **draw(st.sampled_from(modes)))


@st.composite
def _egress_ports(draw: Draw, hosts: st.SearchStrategy[list[str]]) -> list[Object]:
    """Egress listeners with a port each."""
    ports = draw(st.lists(st.sampled_from((80, 81, 9000)), max_size=2, unique=True))
    protocols, captures = st.sampled_from(("HTTP", "TCP", "HTTP_PROXY")), st.sampled_from(("NONE", "DEFAULT"))
    return [
        {
            "port": {"number": number, "protocol": draw(protocols), "name": f"p{number}"},
            "hosts": draw(hosts),
            "captureMode": draw(captures),
        }
        for number in ports
    ]


@st.composite
def sidecars(draw: Draw) -> Object:
    scopes = ("*", ".", "~", "~shop", *NAMESPACES)
    patterns = ("*", f"*.shop.{SUFFIX}", "*.example.com", "api.example.com", "a.shop")
    host = st.sampled_from(patterns) | st.builds("{}.{}.{}".format, names, namespaces, st.just(SUFFIX))
    listed = st.lists(st.builds("{}/{}".format, st.sampled_from(scopes), host), min_size=1, max_size=3)
    spec: Object = {"egress": [*draw(_egress_ports(listed)), {"hosts": draw(listed)}]}
    if draw(st.integers(0, 2)) == 0:
        spec["workloadSelector"] = {"labels": draw(labels)}
    if draw(st.integers(0, 2)) == 0:
        spec["outboundTrafficPolicy"] = {"mode": draw(st.sampled_from(("REGISTRY_ONLY", "ALLOW_ANY")))}
        if draw(st.booleans()):
            proxy = {"host": f"{draw(names)}.{draw(namespaces)}.{SUFFIX}", "port": {"number": 80}}
            spec["outboundTrafficPolicy"] = {"mode": "ALLOW_ANY", "egressProxy": proxy}
    if draw(st.integers(0, 3)) == 0:
        spec["ingress"] = [
            {"port": {"number": 8080, "protocol": "HTTP", "name": "http"}, "defaultEndpoint": "127.0.0.1:1"}
        ]
    return _meta("Sidecar", ISTIO, **spec)


@st.composite
def named_namespaces(draw: Draw) -> Object:
    item = _meta("Namespace", "v1")
    item["metadata"]["labels"] = {"team": draw(names)}
    return item


@st.composite
def rate_limits(draw: Draw) -> Object:
    group, kind = draw(
        st.sampled_from(
            (
                ("", "Service"),
                (GATEWAY_API, "Gateway"),
                (GATEWAY_API, "HTTPRoute"),
                ("networking.istio.io", "VirtualService"),
                ("networking.istio.io", "Gateway"),
            )
        )
    )
    limit = {"requests": draw(st.integers(1, 9)), "per": draw(st.sampled_from(("1s", "1m")))}
    return _meta(
        "RateLimit", "weft/v1", targetRefs=[{"group": group, "kind": kind, "name": draw(names)}], limits=[limit]
    )


@st.composite
def listener_sets(draw: Draw) -> Object:
    listener = {"name": "more", "port": draw(st.sampled_from((80, 81))), "protocol": "HTTP"}
    return _meta("ListenerSet", f"{GATEWAY_API}/v1", parentRef={"name": draw(names)}, listeners=[listener])


@st.composite
def held(draw: Draw) -> Object:
    """A Secret, a TLS one without its key, or a ConfigMap."""
    data = draw(st.sampled_from(({"tls.crt": "YQ==", "tls.key": "YQ=="}, {"ca.crt": "YQ=="}, {})))
    kind = draw(st.sampled_from(("Secret", "ConfigMap")))
    return {**_meta(kind, "v1"), "data": data, **({"type": "Opaque"} if kind == "Secret" else {})}


broken = st.one_of(virtual_services(), destination_rules(), authorization_policies, http_routes(), sidecars()).map(
    lambda item: {**item, "spec": {**item["spec"], "tymeout": "1s"}}
)
"""With a field that no schema has, so that a stand-in takes its place."""

CLUSTER_SCOPED = frozenset({"Namespace", "GatewayClass"})
classes = st.sampled_from(("weft.dev/gateway-controller", "example.com/other")).map(
    lambda controller: _meta("GatewayClass", f"{GATEWAY_API}/v1", controllerName=controller)
)
OFTEN = (services(), workloads())
KINDS = (
    *OFTEN,
    *OFTEN,
    *OFTEN,
    virtual_services(),
    virtual_services(),
    destination_rules(),
    destination_rules(),
    entries(),
    workload_entries,
    gateways(),
    peer_authentications,
    authorization_policies,
    rate_limits(),
    api_gateways(),
    http_routes(),
    http_routes(),
    grants(),
    endpoint_slices(),
    named_namespaces(),
    classes,
    listener_sets(),
    held(),
    sidecars(),
    sidecars(),
    broken,
)


def objects() -> st.SearchStrategy[Object]:
    """Any object, with its name."""
    return placed(KINDS)


def place(draw: Draw, item: Object) -> Object:
    """The object under a drawn name and namespace."""
    name = (
        draw(namespaces) if item["kind"] == "Namespace" else "weft" if item["kind"] == "GatewayClass" else draw(names)
    )
    metadata = {**item["metadata"], "name": name}
    if item["kind"] not in CLUSTER_SCOPED:
        metadata["namespace"] = draw(namespaces)
    return {**item, "metadata": metadata}


def identity(item: Object) -> tuple[str, str, str, str]:
    metadata = item["metadata"]
    return item["kind"], item["apiVersion"].partition("/")[0], metadata.get("namespace", ""), metadata["name"]


def meshes() -> st.SearchStrategy[Files]:
    """The files of a mesh in which no object is defined twice."""
    found = st.lists(objects(), min_size=16, max_size=40, unique_by=identity)
    return found.map(lambda items: {f"{number}.yaml": items[number::5] for number in range(5)})


def meshes_of_rules() -> st.SearchStrategy[Files]:
    """The files of a mesh of little but services, workloads and the rules that lead from one to another."""
    kinds = (*OFTEN, virtual_services(), virtual_services(), destination_rules(), peer_authentications)
    items = st.lists(placed(kinds), min_size=12, max_size=24, unique_by=identity)
    return items.map(lambda found: {f"{number}.yaml": found[number::3] for number in range(3)})


@st.composite
def placed(draw: Draw, kinds: tuple[st.SearchStrategy[Object], ...]) -> Object:
    """An object of some kinds, with its name."""
    return place(draw, dict(draw(st.one_of(*kinds))))


@st.composite
def meshes_behind_sidecars(draw: Draw) -> Files:
    """The files of a mesh in which one namespace knows a single host, and that leads further; the others' Sidecars are as they come."""
    kinds = (*OFTEN, virtual_services(), virtual_services(), destination_rules(), http_routes())
    found = draw(st.lists(placed(kinds), min_size=12, max_size=24, unique_by=identity))
    (known,) = draw(st.lists(st.builds("{}.{}".format, names, namespaces), min_size=1, max_size=1))
    host, (name, _, owner) = f"{known}.{SUFFIX}", known.partition(".")
    rule = draw(virtual_services())
    rule["spec"]["hosts"] = [host]
    rule["spec"]["exportTo"] = ["*"]
    found.append({**rule, "metadata": {"name": "further", "namespace": draw(namespaces)}})
    for namespace in NAMESPACES:
        spec: Object = {"egress": [{"hosts": [f"*/{host}"]}]} if namespace == "shop" else draw(sidecars())["spec"]
        spec.pop("workloadSelector", None)
        found.append(_meta("Sidecar", ISTIO, **spec) | {"metadata": {"name": "everybody", "namespace": namespace}})
    if not any(identity(item) == ("Service", "v1", owner, name) for item in found):
        found.append(draw(services()) | {"metadata": {"name": name, "namespace": owner}})
    return {f"{number}.yaml": found[number::3] for number in range(3)}


@st.composite
def edited(draw: Draw, files: Files) -> Files:
    """The same mesh after one edit."""
    files = {file: list(items) for file, items in files.items()}
    file = draw(st.sampled_from(sorted(files)))
    what = draw(st.sampled_from(("add", "delete", "change", "change", "rename", "move", "comment", "file", "settings")))
    if what == "add":
        files[file].append(draw(objects()))
    elif what == "file":
        files[draw(st.sampled_from(("9.yaml", "folder/1.yaml")))] = files.pop(file)
    elif what == "comment":
        files[file].insert(draw(st.integers(0, len(files[file]))), {"#": draw(names)})
    elif what == "settings":
        item = draw(settings())
        files["settings.yaml"] = [{**item, "metadata": {"name": "default"}}]
    else:
        places = [number for number, item in enumerate(files[file]) if "#" not in item]
        if places:
            number = draw(st.sampled_from(places))
            _change(draw, files[file], number, what)
    return files


def _change(draw: Draw, items: list[Object], number: int, what: str) -> None:
    item = items[number]
    if what == "delete":
        del items[number]
    elif what == "change":
        other = draw(st.one_of(*KINDS))
        items[number] = (
            {**other, "metadata": {**other["metadata"], **_named(item)}}
            if other["kind"] == item["kind"]
            else place(draw, item)
        )
    elif what == "rename":
        items[number] = {**item, "metadata": {**item["metadata"], "name": draw(names)}}
    elif item["kind"] not in CLUSTER_SCOPED:
        items[number] = {**item, "metadata": {**item["metadata"], "namespace": draw(namespaces)}}


def _named(item: Object) -> Object:
    return {key: value for key, value in item["metadata"].items() if key in ("name", "namespace")}


def written(files: Files) -> dict[str, bytes]:
    """The files as bytes: JSON is YAML; an object of a comment alone is one."""
    return {
        file: "\n---\n".join(
            f"# {item['#']}\n# moves what follows" if "#" in item else json.dumps(item, indent=1) for item in items
        ).encode()
        for file, items in files.items()
    }
