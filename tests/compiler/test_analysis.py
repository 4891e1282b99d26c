"""Each check by a good and a bad case: the code, the position of the mistake, and the value that is wrong."""

from __future__ import annotations

import pytest

from compiler.analysis import CHECKS
from compiler.catalog import BY_CODE
from compiler.diagnostic import Severity
from compiler.pipeline import check
from compiler.tree import MemoryTree
from tests.compiler.compiled import compilation

BASE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: shop}
spec: {selector: {app: two}, ports: [{name: http, port: 80}, {name: http-b, port: 81}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web, version: v1}}, spec: {containers: [{name: a, image: a}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example]}]
---
apiVersion: v1
kind: Service
metadata: {name: ingress, namespace: edge}
spec: {selector: {istio: ingressgateway}, ports: [{name: http, port: 80}, {name: https, port: 443}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress, namespace: edge}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  template: {metadata: {labels: {istio: ingressgateway}}, spec: {containers: [{name: istio-proxy, image: a}]}}
"""


def istio(kind: str, spec: str, name: str = "x", group: str = "networking") -> str:
    return (
        f"apiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n{spec}\n"
    )


def api(kind: str, spec: str, name: str = "x") -> str:
    head = f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\n"
    return f"{head}spec:\n{spec}\n"


def routed(destination: str, more: str = "") -> str:
    return istio("VirtualService", f"  hosts: [web]\n{more}  http:\n  - route:\n    - destination: {destination}")


def findings(*texts: str) -> list[tuple[str, str]]:
    files = {f"{number}.yaml": text.encode() for number, text in enumerate((BASE, *texts))}
    found = check(MemoryTree(files))
    return [(item.code, f"{item.span.file}:{item.span.line}:{item.span.column}") for item in found]


API_GATEWAY = api(
    "Gateway",
    "  gatewayClassName: weft\n  listeners: [{name: http, port: 80, protocol: HTTP, hostname: a.example}]",
    "gw",
)
BACKEND = "[{backendRefs: [{name: web, port: 80}]}]"

GOOD = {
    "destination": routed("{host: web, subset: v1}"),
    "port": routed("{host: two, port: {number: 81}}"),
    "gateway": routed("{host: web}", "  gateways: [mesh, g, shop/g]\n").replace("[web]", "[a.example]"),
    "route": API_GATEWAY + "---\n" + api("HTTPRoute", f"  parentRefs: [{{name: gw}}]\n  rules: {BACKEND}"),
    "mesh-route": api(
        "HTTPRoute", f"  parentRefs: [{{group: '', kind: Service, name: web, port: 80}}]\n  rules: {BACKEND}"
    ),
}

BAD = [
    (routed("{host: nowhere}"), "IST0101", "1.yaml:8:27"),
    (routed("{host: web, subset: v2}"), "IST0101", "1.yaml:8:40"),
    (routed("{host: web, port: {number: 81}}"), "IST0101", "1.yaml:8:20"),
    (routed("{host: two}"), "IST0112", "1.yaml:8:20"),
    (routed("{host: web}", "  gateways: [mesh, gone]\n"), "IST0101", "1.yaml:6:20"),
    (routed("{host: web}", "  gateways: [g]\n"), "IST0132", "1.yaml:5:11"),
    (
        routed("{host: web}") + "---\n" + routed("{host: web}").replace("name: x", "name: z"),
        "IST0109",
        "1.yaml:14:11",
    ),
    (
        istio(
            "VirtualService",
            "  hosts: [web]\n  http:\n  - directResponse: {status: 200}\n  - directResponse: {status: 201}",
        ),
        "IST0130",
        "1.yaml:8:5",
    ),
    (
        istio(
            "VirtualService",
            "  hosts: [web]\n  http:\n"
            "  - match: [{uri: {exact: /a}}]\n    directResponse: {status: 200}\n"
            "  - match: [{uri: {exact: /a}}, {uri: {exact: /b}}]\n    directResponse: {status: 201}",
        ),
        "IST0131",
        "1.yaml:9:13",
    ),
    (istio("DestinationRule", "  host: nowhere"), "IST0174", "1.yaml:5:9"),
    (
        istio("DestinationRule", "  host: web\n  subsets:\n  - name: v9\n    labels: {version: v9}"),
        "IST0173",
        "1.yaml:7:5",
    ),
    (
        istio(
            "Gateway",
            "  selector: {istio: ingressgateway}\n  servers:\n  - port: {number: 80, name: h, protocol: HTTP}\n    hosts: [a.example]",
        ),
        "IST0145",
        "1.yaml:7:5",
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata: {name: own, namespace: shop}\nspec:\n  selector: {app: own}\n  ports:\n  - port: 80\n",
        "IST0118",
        "1.yaml:7:5",
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata: {name: own, namespace: shop}\nspec:\n  selector: {app: web}\n  ports:\n  - {name: tcp, port: 80}\n",
        "IST0116",
        "0.yaml:13:18",
    ),
    (
        API_GATEWAY.replace(
            "}]", "}, {name: s, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: far}]}}]"
        ),
        "WFT0112",
        "1.yaml:6:76",
    ),
    (api("HTTPRoute", f"  parentRefs: [{{name: gone}}]\n  rules: {BACKEND}"), "WFT0110", "1.yaml:5:16"),
    (
        API_GATEWAY
        + "---\n"
        + api("HTTPRoute", f"  parentRefs: [{{name: gw}}]\n  hostnames: [b.example]\n  rules: {BACKEND}"),
        "WFT0110",
        "1.yaml:12:16",
    ),
    (
        GOOD["mesh-route"].replace("backendRefs: [{name: web, port: 80}]", "backendRefs: [{name: gone, port: 80}]"),
        "WFT0111",
        "1.yaml:6:26",
    ),
    (
        istio("PeerAuthentication", "  mtls: {mode: STRICT}", group="security")
        + "---\n"
        + istio("PeerAuthentication", "  mtls: {mode: DISABLE}", name="z", group="security"),
        "WFT0102",
        "1.yaml:9:18",
    ),
    (
        GOOD["mesh-route"].replace(
            "[{backendRefs", "[{matches: [{path: {type: RegularExpression, value: '/(a'}}], backendRefs"
        ),
        "WFT0103",
        "1.yaml:6:11",
    ),
    (
        istio(
            "VirtualService",
            "  hosts: [web]\n  http:\n  - match: [{headers: {'@request.auth.claims.sub': {exact: a}}}]\n    route: [{destination: {host: web}}]",
        ),
        "IST0106",
        "1.yaml:7:24",
    ),
    (
        istio(
            "VirtualService",
            "  hosts: [web]\n  http:\n  - match: [{uri: {regex: '*'}}]\n    directResponse: {status: 200}",
        ),
        "IST0106",
        "1.yaml:7:27",
    ),
    (BASE.partition("---")[0], "WFT0100", "1.yaml:3:18"),
]


@pytest.mark.parametrize("name", GOOD)
def test_what_holds_is_not_reported(name: str) -> None:
    assert findings(GOOD[name]) == []


@pytest.mark.parametrize(("text", "code", "position"), BAD, ids=[f"{code}-{place}" for _, code, place in BAD])
def test_a_mistake_is_reported_at_its_place(text: str, code: str, position: str) -> None:
    assert (code, position) in findings(text)


def test_every_check_of_the_table_runs_and_every_code_is_catalogued() -> None:
    assert len(set(CHECKS)) == len(CHECKS)
    assert {code for _, code, _ in BAD} <= set(BY_CODE)


def test_a_reference_that_does_not_exist_forbids_a_snapshot_unless_partial_is_asked_for() -> None:
    wrong = routed("{host: web, subset: v2}")
    assert compilation(BASE, wrong).snapshot is None
    assert compilation(BASE, wrong, allow_partial=True).snapshot is not None


def test_what_is_not_carried_is_a_warning_to_check_and_an_error_to_publish() -> None:
    text = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: near, namespace: shop}\nspec: {internalTrafficPolicy: Local}\n"
    )
    assert ("WFT0200", "1.yaml:4:8") in findings(text)
    refused = compilation(BASE, text)
    assert refused.snapshot is None
    assert {item.severity for item in refused.diagnostics if item.code == "WFT0200"} == {Severity.ERROR}
    assert compilation(BASE, text, allow_partial=True).snapshot is not None


def test_partial_publishes_only_what_has_an_explicit_answer() -> None:
    assert compilation(BASE, BASE.partition("---")[0], allow_partial=True).snapshot is None
