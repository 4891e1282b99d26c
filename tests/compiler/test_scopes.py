"""What a change concerns: namespaces whose proxies know of it, and no others."""

from __future__ import annotations

import pytest

from compiler.guardrails import Guards
from compiler.inventory import Inventory
from compiler.link import Scopes
from compiler.memory import Memory
from compiler.tree import MemoryTree

WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: front}
spec:
  selector: {matchLabels: {app: client}}
  template: {metadata: {labels: {app: client}}, spec: {containers: [{name: app, image: app}]}}
"""
SIDECAR = """\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: all, namespace: front}
spec: {egress: [{hosts: [HOSTS]}]}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NAMESPACE}
spec: {selector: {app: NAME}, ports: [{name: http, port: 80}]}
"""
ROUTED = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: back}
spec:
  hosts: [b]
  http: [{route: [{destination: {host: v2.far.svc.cluster.local}}]}]
"""
ALIAS = """\
apiVersion: v1
kind: Service
metadata: {name: b, namespace: back}
spec: {type: ExternalName, externalName: v3.far.svc.cluster.local, ports: [{name: http, port: 80}]}
"""
RULED = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rule, namespace: NAMESPACE}
spec: {host: HOST, trafficPolicy: {tls: {mode: DISABLE}}}
"""


def service(name: str, namespace: str) -> str:
    return SERVICE.replace("NAMESPACE", namespace).replace("NAME", name)


def ruled(host: str, namespace: str) -> str:
    return RULED.replace("NAMESPACE", namespace).replace("HOST", host)


FILES = {
    "client": WORKLOAD,
    "b": service("b", "back"),
    "c": service("c", "back"),
    **{name: service(name, "far") for name in ("v1", "v2", "v3")},
}
EXACT, NAMESPACE, EVERYTHING = '"back/b.back.svc.cluster.local"', '"back/*"', '"*/*"'


@pytest.mark.parametrize(
    ("hosts", "changed", "concerned"),
    [
        (None, "v1", True),
        (EVERYTHING, "v1", True),
        (NAMESPACE, "v1", False),
        (NAMESPACE, "c", True),
        (EXACT, "b", True),
        (EXACT, "c", False),
    ],
)
def test_a_change_of_a_service_concerns_those_alone_whose_sidecars_know_its_host(
    hosts: str | None, changed: str, concerned: bool
) -> None:
    files = FILES if hosts is None else FILES | {"sidecar": SIDECAR.replace("HOSTS", hosts)}
    assert concerns(files, changed, files[changed].replace("port: 80", "port: 81")) is concerned


@pytest.mark.parametrize(
    ("more", "changed", "concerned"),
    [
        ({"routed": ROUTED}, "v2", True),
        ({"routed": ROUTED}, "v3", False),
        ({"b": ALIAS}, "v3", True),
        ({"b": ALIAS}, "v2", False),
        ({"routed": ROUTED, "v2": ALIAS.replace("b, namespace: back", "v2, namespace: far")}, "v3", True),
    ],
)
def test_what_a_known_host_leads_to_concerns_its_clients_although_their_sidecar_names_it_not(
    more: dict[str, str], changed: str, concerned: bool
) -> None:
    files = FILES | {"sidecar": SIDECAR.replace("HOSTS", EXACT)} | more
    assert concerns(files, changed, files[changed].replace("port: 80", "port: 81")) is concerned


@pytest.mark.parametrize(("namespace", "concerned"), [("back", True), ("front", True), ("far", False)])
def test_rules_of_the_namespaces_of_known_hosts_concern_their_clients(namespace: str, concerned: bool) -> None:
    files = FILES | {"sidecar": SIDECAR.replace("HOSTS", EXACT)}
    assert concerns(files, "rule", ruled("b.back.svc.cluster.local", namespace)) is concerned


def test_one_workload_without_a_sidecar_makes_its_namespace_see_everything() -> None:
    selecting = SIDECAR.replace("spec: {", "spec: {workloadSelector: {labels: {app: client}}, ")
    files = FILES | {"sidecar": selecting.replace("HOSTS", EXACT)}
    assert not concerns(files, "v1", "")
    files["other"] = WORKLOAD.replace("client", "other")
    assert concerns(files, "v1", "")


def concerns(files: dict[str, str], name: str, content: str) -> bool:
    """Whether a file with this content, or without any, is linked anew by the namespace ``front``."""
    return fingerprint(files) != fingerprint(files | {name: content})


def fingerprint(files: dict[str, str]) -> bytes:
    tree = MemoryTree({f"{name}.yaml": text.encode() for name, text in files.items()})
    inventory = Inventory(Memory().survey(tree, Guards(())))
    return next(scope.fingerprint for scope in Scopes(inventory).all() if scope.namespace == "front")
