"""VirtualServices that leave routes to others: Istio's own tables of what fits, and what comes of whole meshes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from compiler.delegates import conflicts, merged_matches
from compiler.documents import load_documents
from compiler.resources.virtual_service import HttpMatch, read_virtual_service
from compiler.tree import MemoryTree
from tests.compiler.compiled import ask, compilation, compiled, conformance, request

SERVICES = """\
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NS}
spec: {selector: {app: NAME}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: NS}
spec:
  selector: {matchLabels: {app: NAME}}
  template: {metadata: {labels: {app: NAME}}, spec: {containers: [{name: a}]}}
---
"""
MESH = "".join(SERVICES.replace("NAME", name).replace("NS", home) for name, home in (("web", "shop"), ("team", "far")))


def virtual_service(name: str, namespace: str, spec: str) -> str:
    meta = f"{{name: {name}, namespace: {namespace}}}"
    return f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {meta}\nspec: {spec}\n---\n"


ROOT = virtual_service(
    "root",
    "shop",
    "{hosts: [web], http: [{name: root, match: [{uri: {prefix: /team}}], timeout: 3s, headers: {request: {set: {x-a: root}}}, "
    "delegate: {name: leaf, namespace: far}}, {route: [{destination: {host: web}}]}]}",
)


def chosen(text: str, path: str) -> tuple[list[str], int, str, int | None]:
    """Clusters, time-out, route and the status of a reply."""
    decision = ask(compiled(MESH, ROOT, text).slice("sidecar/shop/web"), request(path, host="web"))
    clusters = [one.cluster for one in decision.destinations]
    return clusters, decision.timeout_ms, decision.route_name, decision.reply.status if decision.reply else None


TEAM, WEB = ["outbound|80||team.far.svc.cluster.local"], ["outbound|80||web.shop.svc.cluster.local"]


def test_a_delegates_rules_hold_inside_the_roots_with_its_own_short_names() -> None:
    leaf = virtual_service(
        "leaf",
        "far",
        "{http: [{name: one, match: [{uri: {prefix: /team/x}}], route: [{destination: {host: team}}]}, "
        "{timeout: 1s, route: [{destination: {host: team}}]}]}",
    )
    assert chosen(leaf, "/team/x") == (TEAM, 3000, "root-one", None)
    assert chosen(leaf, "/team") == (TEAM, 1000, "root", None)
    assert chosen(leaf, "/other") == (WEB, 0, "", None)


def test_a_rule_outside_of_the_roots_matches_takes_no_request() -> None:
    leaf = virtual_service(
        "leaf", "far", "{http: [{match: [{uri: {prefix: /}}], route: [{destination: {host: team}}]}]}"
    )
    assert chosen(leaf, "/team")[0] == WEB
    found = compilation(MESH, ROOT, leaf).diagnostics
    assert [item.code for item in found if "delegate" in item.message] == ["IST0130"]


@pytest.mark.parametrize(
    "leaf",
    [
        "",
        virtual_service("leaf", "far", "{hosts: [other], http: [{route: [{destination: {host: team}}]}]}"),
        virtual_service("leaf", "far", "{exportTo: ['.'], http: [{route: [{destination: {host: team}}]}]}"),
    ],
    ids=["missing", "has hosts", "not exported"],
)
def test_requests_for_a_delegate_that_is_not_there_lead_nowhere(leaf: str) -> None:
    result = compilation(MESH, ROOT, leaf, allow_partial=True)
    assert [item.code for item in result.diagnostics if "delegate" in item.message] == ["IST0101"]
    prepared = compiled(MESH, ROOT, leaf, allow_partial=True).slice("sidecar/shop/web")
    decision = ask(prepared, request("/team", host="web"))
    assert decision.reply is not None
    assert decision.reply.status == 503


def test_a_delegate_that_is_exported_to_the_roots_namespace_alone_serves_all_clients() -> None:
    leaf = virtual_service("leaf", "far", "{exportTo: [shop], http: [{route: [{destination: {host: team}}]}]}")
    prepared = compiled(MESH, ROOT, leaf).slice("sidecar/far/team")
    decision = ask(prepared, request("/team", host="web.shop"))
    assert [one.cluster for one in decision.destinations] == TEAM


def matches_of(rows: list[dict[str, Any]]) -> tuple[HttpMatch, ...]:
    """Istio's matches, read as a document's."""
    plain = [{key: value for key, value in row.items() if key != "$type"} for row in rows]
    text = yaml.safe_dump(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "a"},
            "spec": {"hosts": ["a"], "http": [{"match": plain or None}]},
        }
    )
    documents, _ = load_documents(MemoryTree({"a.yaml": text.encode()}))
    return read_virtual_service(documents[0], {}).http[0].matches


def rows(test: str) -> list[dict[str, Any]]:
    data = json.loads(conformance("tables", "model.json").read_text())
    return next(table["rows"] for table in data["tables"] if table.get("test") == test)


def asked(match: HttpMatch) -> object:
    scope = match.scope
    gateways = tuple(item.value for item in scope.gateways)
    headers = sorted(match.match.headers, key=repr)
    return match.match.path, match.match.authority, headers, scope.port, scope.source_labels, gateways


def test_istios_table_of_conflicts() -> None:
    for row in rows("TestHasConflict"):
        (root,), (leaf,) = matches_of([row["root"]]), matches_of([row["leaf"]])
        assert conflicts(root, leaf) == row["expected"], row["name"]


def test_istios_table_of_merged_matches() -> None:
    for row in rows("TestMergeHTTPMatchRequests"):
        merged = merged_matches(matches_of(row["root"]), matches_of(row["delegate"]))
        wanted = None if row["expected"] is None else [asked(match) for match in matches_of(row["expected"])]
        assert (None if merged is None else [asked(match) for match in merged]) == wanted, row["name"]
