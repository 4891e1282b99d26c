"""Trust domain aliases in policies, judged by Istio's table."""

from __future__ import annotations

import json

from compiler.link.trust_domains import expand_principals
from compiler.resources.matches import wildcard_match
from policies.match import Exact, Prefix, Present, StringMatch, Suffix
from tests.compiler.compiled import ask, compiled, conformance, request

APP = """\
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: weft/v1
kind: MeshConfig
metadata: {name: mesh}
spec: {trustDomain: new.example, trustDomainAliases: [old.example]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/front/sa/web]}}]}]}
"""


def written(match: StringMatch) -> str:
    match match:
        case Exact(value):
            return value
        case Prefix(value):
            return f"{value}*"
        case Suffix(value):
            return f"*{value}"
        case Present():
            return "*"
        case _:
            raise AssertionError(match)


def test_principals_expand_as_istio_says() -> None:
    tables = json.loads(conformance("tables", "trustdomain.json").read_text())["tables"]
    rows = next(table["rows"] for table in tables if table["test"] == "TestReplaceTrustDomainAliases")
    for row in rows:
        domains = tuple(domain for domain in row["trustDomainBundle"]["TrustDomains"] if domain)
        found = expand_principals(tuple(wildcard_match(principal) for principal in row["principals"]), domains)
        assert [written(match) for match in found] == row["expect"], row["name"]


def test_cluster_local_in_a_policy_is_the_meshs_own_domain_and_its_aliases() -> None:
    prepared = compiled(APP).slice("sidecar/default/a")
    for domain, allowed in (("new.example", True), ("old.example", True), ("cluster.local", False)):
        identity = f"spiffe://{domain}/ns/front/sa/web"
        decision = ask(prepared, request(host="a"), listener="inbound|80", chain="mtls-http", identity=identity)
        assert (decision.reply is None) is allowed
