"""What a Gateway's slice takes from around it: ListenerSets, policies for its back ends, and how it proves its clients."""

from __future__ import annotations

import pytest

from snapshot.prepared import PreparedSlice
from snapshot.section import ServerTls, StaticEndpoints, TlsUpstream
from tests.compiler.compiled import ask, compiled, request

MESH = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weft}
spec: {controllerName: weft.dev/gateway-controller}
---
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: edge}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tls, port: 443, targetPort: 8443}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: edge}
spec:
  gatewayClassName: weft
  allowedListeners: {namespaces: {from: All}}
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: own.example}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}
  - {name: other, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}
---
"""
SET = """\
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: team}
spec:
  parentRef: {name: gw, namespace: edge}
  listeners: [{name: http, port: 80, protocol: HTTP, hostname: team.example}]
---
"""


def route(name: str, parent: str, port: int = 80, namespace: str = "edge") -> str:
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{parent}]
  rules: [{{backendRefs: [{{name: web, namespace: edge, port: {port}}}]}}]
---
"""


GRANT = """\
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: team, namespace: edge}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: team}]
  to: [{group: "", kind: Service}]
---
"""
PARENT = "{kind: ListenerSet, name: more}"


def policy(name: str, *, section: str = "", validation: str = "") -> str:
    validation = validation or "{hostname: web.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}"
    ref = f"{{group: '', kind: Service, name: web{f', sectionName: {section}' if section else ''}}}"
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {name}, namespace: edge}}
spec: {{targetRefs: [{ref}], validation: {validation}}}
---
"""


def gateway(*texts: str) -> PreparedSlice:
    return compiled(MESH, *texts).slice("gateway/edge/gw")


def chosen(prepared: PreparedSlice, host: str) -> list[str]:
    decision = ask(prepared, request("/", host=host), listener="gateway:80", chain="http")
    return [one.cluster for one in decision.destinations]


def test_a_listener_set_of_another_namespace_adds_its_listener_and_its_routes() -> None:
    prepared = gateway(SET, GRANT, route("a", PARENT, namespace="team"), route("b", "{name: gw}"))
    assert chosen(prepared, "team.example") == ["outbound|80||web.edge.svc.cluster.local"]
    assert chosen(prepared, "own.example") == ["outbound|80||web.edge.svc.cluster.local"]
    assert chosen(prepared, "neither.example") == []


def test_a_gateway_that_takes_no_listener_sets_has_none() -> None:
    closed = MESH.replace("from: All", "from: Same")
    prepared = compiled(closed, SET, GRANT, route("a", PARENT, namespace="team")).slice("gateway/edge/gw")
    assert chosen(prepared, "team.example") == []


def upstream(prepared: PreparedSlice, port: int = 443) -> TlsUpstream | None:
    tls = prepared.clusters[f"outbound|{port}||web.edge.svc.cluster.local"].tls
    assert tls is None or isinstance(tls, TlsUpstream)
    return tls


def test_a_policy_that_names_a_port_comes_before_one_for_all_ports() -> None:
    special = "{hostname: special.example, wellKnownCACertificates: System}"
    policies = policy("all"), policy("one", section="tls", validation=special), policy("two", section="tls")
    prepared = gateway(*policies, route("a", "{name: gw}", 443), route("b", "{name: gw, port: 443}"))
    assert upstream(prepared) == TlsUpstream("special.example")
    assert upstream(prepared, 80) == TlsUpstream("web.example", ca="edge/ca")
    assert "edge/ca" in {slot.name for slot in prepared.proxy.credentials}


def test_alternative_names_stand_for_the_hostname() -> None:
    names = (
        "{hostname: web.example, wellKnownCACertificates: System, subjectAltNames: "
        "[{type: Hostname, hostname: b.example}, {type: URI, uri: 'spiffe://x/y'}]}"
    )
    prepared = gateway(policy("a", validation=names), route("a", "{name: gw}", 443))
    assert upstream(prepared) == TlsUpstream("web.example", ("b.example", "spiffe://x/y"))


def test_a_policy_that_can_prove_nothing_lets_nothing_through() -> None:
    wrong = "{hostname: web.example, caCertificateRefs: [{group: x.io, kind: Thing, name: ca}]}"
    prepared = gateway(policy("a", validation=wrong), route("a", "{name: gw}", 443))
    assert prepared.clusters["outbound|443||web.edge.svc.cluster.local"].endpoints == StaticEndpoints(())


@pytest.mark.parametrize(("mode", "client"), [("AllowValidOnly", "require"), ("AllowInsecureFallback", "none")])
def test_clients_are_proved_per_port_or_by_default(mode: str, client: str) -> None:
    def asked(name: str, mode: str) -> str:
        return f"{{validation: {{mode: {mode}, caCertificateRefs: [{{group: '', kind: ConfigMap, name: {name}}}]}}}}"

    frontend = f"{{default: {asked('all', 'AllowValidOnly')}, perPort: [{{port: 8443, tls: {asked('one', mode)}}}]}}"
    text = MESH.replace("gatewayClassName: weft\n", f"gatewayClassName: weft\n  tls: {{frontend: {frontend}}}\n")
    prepared = compiled(text, route("a", "{name: gw}")).slice("gateway/edge/gw")
    found = {name: listener.chains[0].tls for name, listener in prepared.listeners.items()}
    assert found["gateway:443"] == ServerTls(("edge/cert",), "require", "edge/all")
    ca = "edge/one" if client == "require" else ""
    assert found["gateway:8443"] == ServerTls(("edge/cert",), client, ca)
