"""PeerAuthentication's precedence, judged by Istio's table and by the chains that come of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compiler.documents import load_documents
from compiler.link.authentication import effective_mode
from compiler.mesh import Mesh
from compiler.tree import MemoryTree
from tests.compiler.compiled import compiled, conformance
from tests.compiler.inventories import inventory_of

MODES = {1: "DISABLE", 2: "PERMISSIVE", 3: "STRICT"}
LABELS = (("app", "foo"), ("stage", "prod"))
ROOT = {
    "apiVersion": "weft/v1",
    "kind": "MeshConfig",
    "metadata": {"name": "m"},
    "spec": {"rootNamespace": "root-namespace"},
}


def table() -> list[dict[str, Any]]:
    tables = json.loads(conformance("tables", "authn_policy_applier.json").read_text())["tables"]
    return next(found["rows"] for found in tables if found["test"] == "TestComposePeerAuthentication")


def document(config: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": config["Meta"]["Name"].replace(" ", "-"), "namespace": config["Meta"]["Namespace"]}
    created = config["Meta"].get("CreationTimestamp", {}).get("$expr", "")
    if created:
        # The rows say "now", "a second ago" and "a second later": only the order of the three matters.
        meta["creationTimestamp"] = "2026-01-01T00:00:01Z" if "-1" not in created else "2026-01-01T00:00:00Z"
    spec = {key: value for key, value in config["Spec"].items() if key != "$type"}
    return {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": meta, "spec": spec}


def mesh_of(documents: list[dict[str, Any]]) -> Mesh:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    loaded, _ = load_documents(MemoryTree({"mesh.json": text.encode()}))
    return inventory_of(loaded).mesh()


def test_the_mode_of_a_workload_is_the_one_istio_composes() -> None:
    for row in table():
        mesh = mesh_of([ROOT, *(document(config) for config in row["configs"])])
        assert effective_mode(mesh, "my-ns", LABELS, 8080) == MODES[row["want"]["Mode"]], row["name"]


WORKLOAD = """\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec:
  selector: {app: a}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: tcp-admin, port: 90, targetPort: 9090}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: shop}
spec:
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec: {containers: [{name: a, image: a}]}
"""


def policy(name: str, spec: str) -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: shop}}
spec: {spec}
"""


def chains(*texts: str) -> dict[str, list[str]]:
    prepared = compiled(WORKLOAD, *texts).slice("sidecar/shop/a")
    listeners = prepared.listeners.items()
    return {name: [chain.name for chain in item.chains] for name, item in listeners if name.startswith("inbound|")}


@pytest.mark.parametrize(
    ("mode", "http", "tcp"),
    [
        ("STRICT", ["mtls-http"], ["mtls-tcp"]),
        ("PERMISSIVE", ["mtls-http", "plain-http"], ["mtls-tcp", "plain-tcp", "passthrough-tcp"]),
        ("DISABLE", ["plain-http"], ["plain-tcp"]),
    ],
)
def test_the_mode_decides_the_ways_in(mode: str, http: list[str], tcp: list[str]) -> None:
    assert chains(policy("default", f"{{mtls: {{mode: {mode}}}}}")) == {"inbound|8080": http, "inbound|9090": tcp}


def test_without_a_policy_ports_are_permissive() -> None:
    assert chains()["inbound|8080"] == ["mtls-http", "plain-http"]


def test_a_port_of_a_selected_workload_can_differ() -> None:
    own = policy(
        "own", "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: DISABLE}}}"
    )
    assert chains(own) == {"inbound|8080": ["mtls-http"], "inbound|9090": ["plain-tcp"]}


def test_clients_speak_plain_text_to_a_port_that_every_workload_has_disabled() -> None:
    prepared = compiled(WORKLOAD, policy("default", "{mtls: {mode: DISABLE}}")).slice("sidecar/shop/a")
    assert prepared.clusters["outbound|80||a.shop.svc.cluster.local"].tls is None
