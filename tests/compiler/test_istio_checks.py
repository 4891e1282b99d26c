"""Each of Istio's codes by a bad case, with the place where it is reported, and a good one in which it is not."""

from __future__ import annotations

import pytest

from compiler.analysis_codes import ISTIO_CODES
from compiler.dates import Dates
from compiler.pipeline import check, compile_tree
from compiler.tree import MemoryTree
from tests.compiler.certificates import NOW, secret
from tests.compiler.kinds_in_yaml import deployment, document, namespace, pod, service

HTTP = "[{name: http, port: 80}]"
ROUTE = "[{destination: {host: web}}]"
WEB = service("web", HTTP) + deployment("web")
INGRESS = service("in", HTTP, selector="{istio: in}") + deployment("in", labels="{istio: in}")
HOOK = "admissionReviewVersions: [v1], sideEffects: None"


def rule(spec: str, name: str = "r") -> str:
    return document("networking.istio.io/v1", "DestinationRule", name, spec)


def routes(spec: str, name: str = "v") -> str:
    return document("networking.istio.io/v1", "VirtualService", name, spec)


def gateway(server: str, name: str = "g") -> str:
    return document("networking.istio.io/v1", "Gateway", name, f"{{selector: {{istio: in}}, servers: [{server}]}}")


def entry(spec: str, name: str = "e") -> str:
    return document("networking.istio.io/v1", "ServiceEntry", name, spec)


def envoy(patch: str, more: str = "") -> str:
    return document("networking.istio.io/v1alpha3", "EnvoyFilter", "f", f"{{{more}configPatches: [{patch}]}}")


def telemetry(spec: str, name: str = "t") -> str:
    return document("telemetry.istio.io/v1", "Telemetry", name, spec)


def sidecar(spec: str, name: str = "s") -> str:
    return document("networking.istio.io/v1", "Sidecar", name, spec)


def hooks(name: str, body: str, kind: str = "MutatingWebhookConfiguration") -> str:
    head = f"apiVersion: admissionregistration.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
    return f"{head}webhooks: [{body}]\n---\n"


def hook(client: str, name: str = "a.istio.io", more: str = "") -> str:
    return f"{{name: {name}, clientConfig: {client}, {more}{HOOK}}}"


def crd(name: str, version: str) -> str:
    names = "{kind: X, plural: x, singular: x, listKind: XList}"
    return (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
        f"metadata:\n  name: {name}.gateway.networking.k8s.io\n"
        f"  annotations: {{gateway.networking.k8s.io/bundle-version: {version}}}\n"
        f"spec: {{group: gateway.networking.k8s.io, scope: Namespaced, names: {names}, versions: []}}\n---\n"
    )


def injector(values: str, name: str = "istio-sidecar-injector") -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: istio-system}}\ndata: {{values: '{values}'}}\n---\n"


def networks(registry: str) -> str:
    endpoints = f"endpoints: [{{fromRegistry: {registry}}}], gateways: [{{port: 443, address: a.test}}]"
    return f"apiVersion: weft/v1\nkind: MeshNetworks\nspec: {{networks: {{one: {{{endpoints}}}}}}}\n---\n"


def policy(spec: str, name: str = "p", kind: str = "AuthorizationPolicy") -> str:
    return document("security.istio.io/v1", kind, name, spec)


TLS_443 = "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.test], tls: {mode: SIMPLE, credentialName: c}}"
PLAIN = "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.test]}"
FETCH = policy("{jwtRules: [{issuer: a, jwksUri: 'https://a.test/k'}]}", kind="RequestAuthentication")
ISTIOD = deployment("istiod").replace(
    "kind: Deployment\nmetadata: {", "kind: Deployment\nmetadata: {labels: {app: istiod}, "
)
CLAIMS = routes(
    f"{{hosts: [a.test], gateways: [g], http: [{{match: [{{headers: {{'@request.auth.claims.a': {{exact: b}}}}}}], route: {ROUTE}}}]}}"
)
IMAGES = '{"global": {"hub": "h", "tag": "1", "proxy": {"image": "p"}}}'
PROXY = "{name: istio-proxy, image: '%s'}"

CASES: dict[str, tuple[str, str]] = {
    "IST0002": (
        WEB + routes(f"{{hosts: [web], http: [{{fault: {{delay: {{percent: 5, fixedDelay: 1s}}}}, route: {ROUTE}}}]}}"),
        WEB
        + routes(
            f"{{hosts: [web], http: [{{fault: {{delay: {{percentage: {{value: 5}}, fixedDelay: 1s}}}}, route: {ROUTE}}}]}}"
        ),
    ),
    "IST0102": (namespace("a", "istio-injection: enabled") + namespace("b"), namespace("b")),
    "IST0103": (namespace("shop", "istio-injection: enabled") + pod("x"), pod("x")),
    "IST0107": (pod("x", annotations="{networking.istio.io/exportTo: '*'}"), pod("x", annotations="{istio.io/rev: a}")),
    "IST0108": (pod("x", annotations="{sidecar.istio.io/injekt: 'a'}"), pod("x", annotations="{example.com/a: b}")),
    "IST0110": (
        WEB
        + sidecar("{workloadSelector: {labels: {app: web}}, egress: [{hosts: ['*/*']}]}", "a")
        + sidecar("{workloadSelector: {labels: {app: web}}, egress: [{hosts: ['*/*']}]}", "b"),
        WEB + sidecar("{workloadSelector: {labels: {app: web}}, egress: [{hosts: ['*/*']}]}", "a"),
    ),
    "IST0111": (
        sidecar("{egress: [{hosts: ['*/*']}]}", "a") + sidecar("{egress: [{hosts: ['*/*']}]}", "b"),
        sidecar("{egress: [{hosts: ['*/*']}]}", "a"),
    ),
    "IST0123": (namespace("a", "istio-injection: enabled, istio.io/rev: x"), namespace("a", "istio.io/rev: x")),
    "IST0125": (
        pod("x", annotations="{status.sidecar.istio.io/port: 'no'}"),
        pod("x", annotations="{status.sidecar.istio.io/port: '15020'}"),
    ),
    "IST0126": (networks("mesh-two"), networks("Kubernetes")),
    "IST0127": (
        WEB + policy("{selector: {matchLabels: {app: wub}}}"),
        WEB + policy("{selector: {matchLabels: {app: web}}}"),
    ),
    "IST0128": (
        WEB + rule("{host: web, trafficPolicy: {tls: {mode: SIMPLE}}}"),
        WEB + rule("{host: web, trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}, }}"),
    ),
    "IST0129": (
        WEB + rule("{host: web, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}}"),
        WEB + rule("{host: web, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}}"),
    ),
    "IST0134": (
        entry("{hosts: [a.test], resolution: DNS, ports: [{number: 9, name: tcp, protocol: TCP}]}"),
        entry("{hosts: [a.test], resolution: DNS, ports: [{number: 9, name: http, protocol: HTTP}]}"),
    ),
    "IST0135": (
        pod("x", annotations="{sidecar.istio.io/inject: 'true'}"),
        pod("x", annotations="{sidecar.istio.io/logLevel: info}"),
    ),
    "IST0136": (
        pod("x", annotations="{sidecar.istio.io/logLevel: info}"),
        pod("x", annotations="{proxy.istio.io/config: '{}'}"),
    ),
    "IST0137": (
        service("a", "[{name: http, port: 80, targetPort: 8080}]", selector="{app: web}")
        + service("b", "[{name: http, port: 81, targetPort: 8080}]", selector="{app: web}")
        + deployment("web"),
        WEB,
    ),
    "IST0138": (gateway(TLS_443, "a") + gateway(TLS_443.replace("a.test", "b.test"), "b"), gateway(TLS_443)),
    "IST0139": (
        hooks("i", hook("{service: {name: gone, namespace: shop, path: /}}")),
        WEB + hooks("i", hook("{service: {name: web, namespace: shop, path: /}}")),
    ),
    "IST0140": (
        WEB
        + rule("{host: web, subsets: [{name: v1, labels: {app: web}}]}")
        + INGRESS
        + gateway(PLAIN)
        + routes(f"{{hosts: [a.test], gateways: [g], http: [{{route: {ROUTE}}}]}}")
        + routes("{hosts: [web], http: [{route: [{destination: {host: web, subset: v1}}]}]}", "w"),
        WEB + INGRESS + gateway(PLAIN) + routes(f"{{hosts: [a.test], gateways: [g], http: [{{route: {ROUTE}}}]}}"),
    ),
    "IST0144": (
        deployment("web", spec="securityContext: {runAsUser: 1337}, "),
        deployment("web", spec="securityContext: {runAsUser: 1000}, "),
    ),
    "IST0146": (
        deployment("web", container=PROXY % "auto"),
        hooks("i", hook("{service: {name: web, namespace: shop, path: /}}")) + WEB.replace("image: a", "image: auto"),
    ),
    "IST0147": (pod("x", container=PROXY % "auto"), pod("x", container=PROXY % "p")),
    "IST0148": (
        injector('{"sidecarInjectorWebhook": {"enableNamespacesByDefault": true}}') + namespace("a"),
        injector("{}") + namespace("a"),
    ),
    "IST0149": (WEB + INGRESS + gateway(PLAIN) + CLAIMS, WEB + INGRESS + gateway(PLAIN) + CLAIMS + FETCH),
    "IST0151": (
        envoy("{applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE}}"),
        envoy("{applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE}}", "priority: 5, "),
    ),
    "IST0152": (
        envoy("{applyTo: CLUSTER, patch: {operation: REPLACE}}"),
        envoy("{applyTo: CLUSTER, patch: {operation: MERGE}}"),
    ),
    "IST0153": (
        envoy("{applyTo: HTTP_ROUTE, patch: {operation: ADD}}"),
        envoy("{applyTo: CLUSTER, patch: {operation: ADD}}"),
    ),
    "IST0154": (
        envoy("{applyTo: HTTP_ROUTE, patch: {operation: REMOVE}}"),
        envoy("{applyTo: CLUSTER, patch: {operation: REMOVE}}", "priority: 5, "),
    ),
    "IST0155": (
        envoy(
            "{applyTo: HTTP_FILTER, match: {proxy: {proxyVersion: '1'}}, patch: {operation: ADD}}, {applyTo: HTTP_FILTER, patch: {operation: REMOVE}}"
        ),
        envoy("{applyTo: HTTP_FILTER, patch: {operation: REMOVE}}"),
    ),
    "IST0156": (crd("httproutes", "v0.8.1"), crd("httproutes", "v1.2.0")),
    "IST0157": (
        telemetry("{accessLogging: [{disabled: false}]}"),
        telemetry("{accessLogging: [{providers: [{name: envoy}]}]}"),
    ),
    "IST0158": (
        injector(IMAGES) + namespace("shop", "istio-injection: enabled") + pod("x", container=PROXY % "h/p:2"),
        injector(IMAGES)
        + namespace("shop", "istio-injection: enabled")
        + pod("x", container=PROXY % "h/p:1-distroless"),
    ),
    "IST0159": (
        WEB
        + telemetry("{selector: {matchLabels: {app: web}}}", "a")
        + telemetry("{selector: {matchLabels: {app: web}}}", "b"),
        WEB + telemetry("{selector: {matchLabels: {app: web}}}", "a"),
    ),
    "IST0160": (telemetry("{}", "a") + telemetry("{}", "b"), telemetry("{}", "a")),
    "IST0161": (INGRESS + gateway(TLS_443) + secret("c", days=-1), INGRESS + gateway(TLS_443) + secret("c", days=90)),
    "IST0162": (INGRESS + gateway(PLAIN.replace("80", "81")), INGRESS + gateway(PLAIN)),
    "IST0163": (
        hooks("istio-sidecar-injector-x", hook("{url: 'https://'}")),
        hooks("istio-sidecar-injector-x", hook("{url: 'https://a.test/i'}")),
    ),
    "IST0164": (
        hooks("istio-sidecar-injector-x", hook("{url: 'https://10.0.0.1/i'}")),
        hooks("istio-sidecar-injector-x", hook("{url: 'https://a.test/i'}")),
    ),
    "IST0165": (
        WEB
        + routes(
            f"{{hosts: [a.test], gateways: [x/g-istio-autogenerated-k8s-gateway-http], http: [{{route: {ROUTE}}}]}}"
        ),
        WEB + INGRESS + gateway(PLAIN) + routes(f"{{hosts: [a.test], gateways: [g], http: [{{route: {ROUTE}}}]}}"),
    ),
    "IST0166": (
        pod("x", labels="{gateway.networking.k8s.io/gateway-name: g}")
        + policy("{selector: {matchLabels: {gateway.networking.k8s.io/gateway-name: g}}}"),
        WEB + policy("{selector: {matchLabels: {app: web}}}"),
    ),
    "IST0167": (
        policy("{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}", kind="PeerAuthentication").replace(
            "shop", "istio-system"
        ),
        policy("{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}", kind="PeerAuthentication"),
    ),
    "IST0171": (
        WEB.replace(
            "---\n",
            "status: {conditions: [{type: Ready, status: 'False', reason: x, message: y, lastTransitionTime: '2026-01-01T00:00:00Z'}]}\n---\n",
            1,
        ),
        WEB,
    ),
    "IST0172": (crd("httproutes", "v1.0.0"), crd("httproutes", "v1.2.0")),
    "IST0175": (FETCH + ISTIOD, ISTIOD),
    "IST0176": (crd("tlsroutes", "v1.4.1"), crd("tlsroutes", "v1.5.0")),
    "IST0177": (
        entry("{hosts: [a.test], resolution: DNS, ports: [{number: 9, name: a, protocol: HTTP}]}", "a")
        + entry("{hosts: [a.test], resolution: DNS, ports: [{number: 9, name: a, protocol: TLS}]}", "b"),
        entry("{hosts: [a.test], resolution: DNS, ports: [{number: 9, name: a, protocol: HTTP}]}", "a"),
    ),
}


def codes(text: str) -> set[str]:
    return {item.code for item in check(MemoryTree({"a.yaml": text.encode()}), Dates(NOW))}


@pytest.mark.parametrize("code", CASES)
def test_a_bad_case_is_reported_and_has_the_right_shape(code: str) -> None:
    found = codes(CASES[code][0])
    assert code in found
    assert "IST0106" not in found


@pytest.mark.parametrize("code", CASES)
def test_a_good_case_is_not_reported(code: str) -> None:
    found = codes(CASES[code][1])
    assert code not in found
    assert "IST0106" not in found


def test_every_code_has_a_case() -> None:
    assert CASES.keys() == {row.code for row in ISTIO_CODES}


def test_errors_in_what_is_not_read_stop_a_publish_unless_partial_ones_are_allowed() -> None:
    files = MemoryTree({"a.yaml": CASES["IST0147"][0].encode()})
    assert compile_tree(files).snapshot is None
    assert compile_tree(files, allow_partial=True).snapshot is not None
