"""Istio's golden statuses of Gateway API objects: every condition (type, status, reason), route count and list of kinds is a case.

What stands in Istio's Go code (the Services and Secrets of its fixture) and what weft does otherwise by intention is left out, by rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from compiler.pipeline import understand
from compiler.status import shape, statuses
from compiler.tree import MemoryTree
from tests.conformance.corpus import DATA, Tally, read

FILES = {"listenerset-empty-listeners": "its Gateway has an empty list of listeners, which its own CRD refuses"}
AMBIENT = frozenset({"istio-waypoint", "istio-east-west"})
OTHER_BACKENDS = frozenset({"InferencePool", "Hostname", "ServiceImport", "XBackend", "Backend"})
FIXTURE = frozenset({"False BackendNotFound", "False NoMatchingParent", "False TargetNotFound"})
STATUSED = frozenset(
    {
        "GatewayClass",
        "Gateway",
        "ListenerSet",
        "HTTPRoute",
        "GRPCRoute",
        "TLSRoute",
        "TCPRoute",
        "UDPRoute",
        "BackendTLSPolicy",
    }
)
Facts = dict[tuple[str, ...], str]
"""What a status says, by object, part and condition."""


class Golden(msgspec.Struct, frozen=True):
    """One file: what Istio says, what weft says, and the input's documents."""

    name: str
    istio: Facts
    weft: Facts
    documents: list[dict[str, Any]]


def run_golden(tally: Tally) -> None:
    """Every file with a golden status."""
    for case in read("golden/gateway_to_istio_cases.json")["cases"]:
        if case["status_golden"] is None:
            continue
        if case["name"] in FILES:
            tally.leave(case["name"], FILES[case["name"]])
            continue
        golden = _golden(case)
        for key, wanted in golden.istio.items():
            got = golden.weft.get(key, "nothing")
            label = f"{golden.name}: {' '.join(key)}"
            why = "" if got == wanted else _argued(golden, key, wanted, got)
            if why:
                tally.leave(label, why)
            else:
                tally.count(label, None if got == wanted else f"{got}, wanted {wanted}")


def _golden(case: dict[str, Any]) -> Golden:
    text = (DATA / case["input"]).read_text()
    documents = [item for item in yaml.load_all(text, yaml.CSafeLoader) if item]
    for document in documents:
        # Istio's test does not ask Kubernetes, which refuses capital letters in names.
        document["metadata"]["name"] = document["metadata"]["name"].lower()
    tree = MemoryTree({"mesh.yaml": yaml.dump_all(documents, Dumper=yaml.CSafeDumper).encode()})
    mesh, found = understand(tree)
    assert mesh is not None, [f"{item.span.line} {item.message}" for item in found if item.severity == 3]
    weft = [shape(status) for status in statuses(mesh)]
    golden = (DATA / case["status_golden"]).read_text()
    istio = [item for item in yaml.load_all(golden, yaml.CSafeLoader) if item and item["kind"] in STATUSED]
    return Golden(case["name"], dict(status_facts(istio)), dict(status_facts(weft)), documents)


def status_facts(objects: list[dict[str, Any]]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What statuses in Kubernetes' form say: each condition as ``True Reason``, each count of routes, each list of kinds."""
    for item in objects:
        meta, status = item["metadata"], item["status"] or {}
        owner = (item["kind"], meta.get("namespace", ""), meta["name"].lower())
        yield from _conditions(owner, status)
        for listener in status.get("listeners") or ():
            place = (*owner, f"listener {listener['name']}")
            yield from _conditions(place, listener)
            yield (*place, "attachedRoutes"), str(listener["attachedRoutes"])
            yield (*place, "supportedKinds"), str([kind["kind"] for kind in listener.get("supportedKinds") or ()])
        for key in ("parent", "ancestor"):
            for entry in status.get(f"{key}s") or ():
                reference = entry[f"{key}Ref"]
                named = ",".join(f"{name}={reference[name]}" for name in sorted(reference))
                yield from _conditions((*owner, named), entry)


def _conditions(owner: tuple[str, ...], status: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for condition in status.get("conditions") or ():
        yield (*owner, condition["type"]), f"{condition['status']} {condition['reason']}"


def _argued(golden: Golden, key: tuple[str, ...], wanted: str, got: str) -> str:
    """Why a difference is none of weft's mistakes, or nothing."""
    document = next(
        (item for item in golden.documents if (item["kind"], item["metadata"]["name"]) == (key[0], key[2])), {}
    )
    spec = document.get("spec", {})
    rules = (*_of_istio(golden, spec, key, wanted), *_of_fixture(golden, spec, wanted, got), *_of_weft(spec, key, got))
    return next((why for holds, why in rules if holds), "")


def _of_istio(golden: Golden, spec: dict[str, Any], key: tuple[str, ...], wanted: str) -> Iterator[tuple[bool, str]]:
    beside = {name: golden.weft.get((*key[:-1], name), "") for name in ("Accepted", "ResolvedRefs")}
    yield (
        key[3:] == ("Programmed",) and key[0] in ("Gateway", "ListenerSet"),
        "Istio's Programmed tells which Service of a cluster it found; weft's, that proxies get the listeners",
    )
    yield spec.get("gatewayClassName") in AMBIENT, "gateways of ambient meshes, which weft does not have"
    yield (
        wanted == "False NoValidCACertificate" and beside["ResolvedRefs"] == "False RefNotPermitted",
        "Istio refuses a listener for its own certificate by the reason for authorities of clients",
    )
    yield (
        key[-1] == "Programmed" and beside["Accepted"].startswith("False"),
        "Istio programs a listener that it did not accept; the specification's Programmed needs Accepted",
    )
    yield (
        golden.name == "listenerset-overlapping-port",
        "an HTTPS listener without certificateRefs, which the specification requires and weft cannot serve",
    )
    yield "IgnoredByIstio" in wanted, "an annotation of Istio's"


def _of_fixture(golden: Golden, spec: dict[str, Any], wanted: str, got: str) -> Iterator[tuple[bool, str]]:
    yield got in FIXTURE and _lacks(golden, "Service"), "the Services stand in the Go code of Istio's test"
    yield (
        golden.name == "route-precedence" and _lacks(golden, "Namespace"),
        "the Namespaces and their labels stand in the Go code of Istio's test",
    )
    named = "ertificateRef" in str(spec) or "parametersRef" in str(spec)
    yield (
        named and got.startswith("True") and wanted.startswith("False"),
        "which Secrets and ConfigMaps there are stands in the Go code of Istio's test",
    )


def _of_weft(spec: dict[str, Any], key: tuple[str, ...], got: str) -> Iterator[tuple[bool, str]]:
    yield "ServiceEntry" in key[3], "weft does not carry parents of kind ServiceEntry, and says so (WFT0110)"
    yield (
        got == "False InvalidKind" and any(f"'kind': '{kind}'" in str(spec) for kind in OTHER_BACKENDS),
        "a kind of backend that weft does not have",
    )
    yield "'protocol': 'UDP'" in str(spec), "weft has UDP listeners; Istio has none"
    yield "ParentNotAccepted" in got, "the specification's reason; Istio repeats the Gateway's"


def _lacks(golden: Golden, kind: str) -> bool:
    return not any(item["kind"] == kind for item in golden.documents)
