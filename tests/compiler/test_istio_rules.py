"""What Istio asks of a resource across its fields: each mistake at its place, and what is right stays right."""

from __future__ import annotations

import json

import pytest

from compiler.documents import load_documents
from compiler.schemas import validate
from compiler.tree import MemoryTree

ROUTE = "http: [{route: [{destination: {host: a}}]}]"
TO = "route: [{destination: {host: a}}]"
PORT = "ports: [{number: 80, name: http, protocol: HTTP}]"
VERSIONS = {"MeshConfig": "weft/v1", "Telemetry": "telemetry.istio.io/v1"}

RIGHT = [
    ("VirtualService", f"{{hosts: [a, b.example, 10.0.0.1, '*.c.example'], exportTo: ['.', other], {ROUTE}}}"),
    ("VirtualService", f"{{hosts: ['*'], gateways: [gw], {ROUTE}}}"),
    (
        "VirtualService",
        "{hosts: ['*.local'], gateways: [gw], tls: [{match: [{sniHosts: ['outbound_.80_._.a.b.local']}], " + TO + "}]}",
    ),
    (
        "VirtualService",
        "{hosts: [a], gateways: [gw], http: [{match: [{headers: {'@request.auth.claims.sub': {exact: b}}}], "
        + TO
        + "}]}",
    ),
    ("VirtualService", f"{{hosts: [a], http: [{{match: [{{withoutHeaders: {{x: {{regex: '*'}}}}}}], {TO}}}]}}"),
    ("VirtualService", f"{{hosts: [a], http: [{{match: [{{uri: {{prefix: ''}}}}], {TO}}}]}}"),
    ("ServiceEntry", f"{{hosts: [a.example], resolution: DNS, exportTo: ['~'], {PORT}}}"),
    (
        "ServiceEntry",
        "{hosts: [a.example, b.example], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}",
    ),
    (
        "ServiceEntry",
        "{hosts: ['*.example'], resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {http: 81}}], " + PORT + "}",
    ),
    ("DestinationRule", "{host: a, exportTo: ['.'], workloadSelector: {matchLabels: {a: b}}}"),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {maglev: {tableSize: 65537}}}}}"),
    ("DestinationRule", "{host: a, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 0s}}}}"),
    (
        "MeshConfig",
        "{localityLbSetting: {distribute: [{from: a/*, to: {a/b/*: 80, c: 20}}, {from: d/e, to: {c: 100}}]}}",
    ),
]
# The text of a mistake stands in one place only; where a mapping or list is meant, the first of its text.
WRONG = [
    ("VirtualService", f"{{hosts: [a_b], {ROUTE}}}", "a_b", "host name"),
    ("VirtualService", f"{{hosts: ['*'], {ROUTE}}}", "'*'", "mesh"),
    ("VirtualService", f"{{hosts: ['*.b.example', x.b.example], {ROUTE}}}", "x.b.example", "overlaps"),
    ("VirtualService", f"{{hosts: [x], exportTo: ['~'], {ROUTE}}}", "'~'", "ServiceEntries"),
    ("VirtualService", f"{{hosts: [x], exportTo: ['.', shop], {ROUTE}}}", "shop", "second time"),
    ("VirtualService", f"{{hosts: [x], exportTo: [other, '*'], {ROUTE}}}", "'*'", "alone"),
    ("VirtualService", f"{{hosts: [x], exportTo: [Nay], {ROUTE}}}", "Nay", "no namespace"),
    ("VirtualService", "{hosts: [x.y], tls: [{match: [{sniHosts: [z.y]}], " + TO + "}]}", "z.y", "none of"),
    ("VirtualService", "{gateways: [gw], " + ROUTE + "}", "gateways", "delegate"),
    (
        "VirtualService",
        "{hosts: [x], http: [{match: [{headers: {'@request.auth.claims.s': {exact: b}}}], " + TO + "}]}",
        "'@request",
        "gateways",
    ),
    ("VirtualService", "{hosts: [x], http: [{redirect: {redirectCode: 301}}]}", "redirect:", "needs `uri`"),
    ("VirtualService", "{hosts: [x], http: [{rewrite: {uri: ''}, " + TO + "}]}", "rewrite", "needs `uri`"),
    ("VirtualService", "{hosts: [x], http: [{fault: {}, " + TO + "}]}", "fault", "`delay`"),
    ("VirtualService", "{hosts: [x], http: [{fault: {abort: {grpcStatus: Nope}}, " + TO + "}]}", "Nope", "gRPC"),
    (
        "VirtualService",
        "{hosts: [x], http: [{fault: {delay: {exponentialDelay: 1s}}, " + TO + "}]}",
        "1s",
        "fixedDelay",
    ),
    (
        "VirtualService",
        "{hosts: [x], http: [{fault: {abort: {httpStatus: 500, percentage: {value: 0.00001}}}, " + TO + "}]}",
        "0.00001",
        "0.0001",
    ),
    ("VirtualService", "{hosts: [x], http: [{retries: {retryOn: 5xx}, " + TO + "}]}", "retryOn", "attempts"),
    (
        "VirtualService",
        "{hosts: [x], http: [{retries: {attempts: 1, retryOn: never}, " + TO + "}]}",
        "never",
        "no condition",
    ),
    ("VirtualService", "{hosts: [x], http: [{timeout: 0s, " + TO + "}]}", "0s", "1ms"),
    ("VirtualService", "{hosts: [x], http: [{corsPolicy: {allowMethods: [FETCH]}, " + TO + "}]}", "FETCH", "method"),
    (
        "VirtualService",
        "{hosts: [x], http: [{corsPolicy: {allowOrigins: [{exact: ''}]}, " + TO + "}]}",
        "exact",
        "origin",
    ),
    ("VirtualService", "{hosts: [x], http: [{corsPolicy: {maxAge: 1.5s}, " + TO + "}]}", "1.5s", "seconds"),
    (
        "VirtualService",
        "{hosts: [x], http: [{headers: {response: {set: {host: b}}}, " + TO + "}]}",
        "host: b",
        "cannot be changed",
    ),
    (
        "VirtualService",
        "{hosts: [x], http: [{headers: {request: {set: {':path': b}}}, " + TO + "}]}",
        "':path'",
        ":authority",
    ),
    (
        "VirtualService",
        "{hosts: [x], http: [{rewrite: {authority: b}, headers: {request: {add: {Host: c}}}, " + TO + "}]}",
        "c}",
        "more than once",
    ),
    (
        "VirtualService",
        "{hosts: [x], http: [{redirect: {uri: /}, fault: {delay: {fixedDelay: 1s}}}]}",
        "fault",
        "exclude",
    ),
    ("VirtualService", "{hosts: [x], http: [{route: [{destination: {host: '*'}}]}]}", "'*'", "alone is none"),
    ("VirtualService", "{hosts: [x], http: [{route: [{destination: {host: b, port: {}}}]}]}", "port", "number"),
    (
        "VirtualService",
        "{hosts: [x], http: [{route: [{destination: {host: b}}, {destination: {host: c}}]}]}",
        "route",
        "add up to 0",
    ),
    (
        "VirtualService",
        "{hosts: [x], http: [{match: [{sourceLabels: {a: 'b c'}}], " + TO + "}]}",
        "'b c'",
        "label value",
    ),
    (
        "VirtualService",
        "{hosts: [x], tcp: [{match: [{destinationSubnets: [10.0.0.0/40]}], " + TO + "}]}",
        "10.0.0.0/40",
        "CIDR",
    ),
    ("ServiceEntry", "{hosts: ['*.example'], resolution: DNS, " + PORT + "}", "'*.example'", "cannot be resolved"),
    ("ServiceEntry", "{hosts: [a.b], resolution: STATIC, endpoints: [{address: c.d}], " + PORT + "}", "c.d", "STATIC"),
    (
        "ServiceEntry",
        "{hosts: [a.b], resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {tcp: 1}}], " + PORT + "}",
        "1}",
        "no port of",
    ),
    (
        "ServiceEntry",
        "{hosts: [a.b, c.d], resolution: DNS, ports: [{number: 1, name: t, protocol: TCP}]}",
        "number",
        "which of the hosts",
    ),
    ("ServiceEntry", "{hosts: [a.b], exportTo: ['~', other], " + PORT + "}", "'~'", "alone"),
    ("ServiceEntry", "{hosts: [a.b], ports: [{number: 1, name: t, protocol: KAFKA}]}", "KAFKA", "protocol"),
    (
        "DestinationRule",
        "{host: a, exportTo: [other], workloadSelector: {matchLabels: {a: b}}}",
        "exportTo",
        "its own namespace",
    ),
    ("DestinationRule", "{host: a, subsets: [{name: v}, {name: v, labels: {}}]}", "v, labels", "second entry"),
    ("DestinationRule", "{host: a, trafficPolicy: {}}", "trafficPolicy", "nothing is in it"),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 1}}}",
        "outlierDetection",
        "split",
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {maglev: {tableSize: 100}}}}}",
        "100",
        "prime",
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: b, to: b}]}}}}",
        "b}",
        "itself",
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: c, caCertificates: d}}}",
        "caCertificates",
        "credentialName",
    ),
    (
        "Gateway",
        "{servers: [{hosts: [short], port: {number: 80, name: a, protocol: HTTP}}]}",
        "short",
        "full host name",
    ),
    (
        "Gateway",
        "{servers: [{hosts: [a.b], bind: c.d, port: {number: 80, name: a, protocol: HTTP}}]}",
        "c.d",
        "IP address",
    ),
    ("Gateway", "{servers: [{hosts: [a.b], tls: {}, port: {number: 80, name: a, protocol: TCP}}]}", "tls", "no TLS"),
    ("Sidecar", "{egress: [{hosts: [./short]}]}", "./short", "full host name"),
    ("Telemetry", "{accessLogging: [{filter: {expression: ')('}}]}", "')('", "CEL"),
    ("MeshConfig", "{localityLbSetting: {distribute: [{from: a, to: {b: 60, c: 20}}]}}", "to:", "add up to 80"),
    (
        "MeshConfig",
        "{localityLbSetting: {distribute: [{from: a, to: {b: 100}}, {from: a/c, to: {b: 100}}]}}",
        "a/c",
        "overlaps",
    ),
    ("MeshConfig", "{connectTimeout: 2h}", "2h", "an hour"),
    ("MeshConfig", "{trustDomain: a/b}", "a/b", "trust domain"),
    ("MeshConfig", "{defaultConfig: {discoveryAddress: pilot}}", "pilot", "port"),
]


def mistakes(kind: str, spec: str) -> tuple[str, list[tuple[int, str]]]:
    text = f"spec: {spec}\nkind: {kind}\nmetadata: {{name: a, namespace: shop}}\n"
    text += f"apiVersion: {json.dumps(VERSIONS.get(kind, 'networking.istio.io/v1'))}\n"
    documents, found = load_documents(MemoryTree({"a.yaml": text.encode()}))
    found = [*found, *(item for document in documents for item in validate(document))]
    return text, [(item.span.column, item.message) for item in found]


@pytest.mark.parametrize(("kind", "spec"), RIGHT)
def test_what_istio_accepts_has_no_finding(kind: str, spec: str) -> None:
    assert mistakes(kind, spec)[1] == []


@pytest.mark.parametrize(("kind", "spec", "at", "words"), WRONG)
def test_what_istio_refuses_has_one_finding_at_its_place(kind: str, spec: str, at: str, words: str) -> None:
    text, found = mistakes(kind, spec)
    assert len(found) == 1, found
    column, message = found[0]
    assert words in message
    assert text.splitlines()[0][column - 1 :].startswith(at), text.splitlines()[0][column - 1 :]
