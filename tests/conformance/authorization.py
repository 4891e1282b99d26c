"""AuthorizationPolicy by behaviour: the RBAC filters that Istio makes of a policy and our decision agree on generated requests.

Each case's policies are compiled for the workload of the data's notes (namespace foo, label app=httpbin). Requests are drawn from the
values that the case itself names, so that every clause is hit and missed.
"""

from __future__ import annotations

import random
from typing import Any

import yaml

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from policies.attributes import Asked
from policies.authorizing import PreparedPolicies, prepare_policies
from policies.head import Peer, Principal, RequestHead, TokenIdentity
from snapshot.encode import decode, decode_section
from snapshot.index import SliceIndex, Snapshot, joined
from snapshot.section import PolicySet
from tests.conformance.corpus import DATA, Tally, read
from tests.conformance.rbac import allowed

REQUESTS = 400
WORKLOAD = """
apiVersion: v1
kind: Service
metadata: {name: httpbin, namespace: foo}
spec: {selector: {app: httpbin}, ports: [{name: http, port: 80, targetPort: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin, namespace: foo}
spec:
  selector: {matchLabels: {app: httpbin, version: v1}}
  template:
    metadata: {labels: {app: httpbin, version: v1}}
    spec: {containers: [{name: app, image: app}]}
"""


def run() -> Tally:
    """Every generator case whose actions are ALLOW and DENY."""
    tally = Tally()
    for case in read("authz/cases.json")["cases"]:
        name = f"{case['proto']} {case['name']}"
        text = (DATA / "authz" / case["input_file"]).read_text()
        reason = left_out(case, text)
        if reason:
            tally.leave(name, reason)
            continue
        filters = [
            document
            for path in case["want_files"]
            for document in yaml.safe_load_all((DATA / "authz" / path).read_text())
        ]
        tally.count(name, compare(text, filters, http=case["proto"] == "http"))
    return tally


def left_out(case: dict[str, Any], text: str) -> str:
    """Why a case is not run; "" where it is."""
    if "CUSTOM" in text or "custom" in case["name"]:
        return "action CUSTOM (external authorization) is not carried yet"
    if "istio.io/dry-run" in text:
        return "dry-run is not carried yet"
    if "trust-domain" in case["name"]:
        return "trust domain aliases are set by the test's own code, not by its input"
    return ""


def compare(text: str, filters: list[dict[str, Any]], *, http: bool) -> str | None:
    """The first request on which the two disagree, or None."""
    policies = policies_of(text, http=http)
    draw = random.Random(7)
    values = sorted(set(strings(list(yaml.safe_load_all(text)))))
    for _ in range(REQUESTS):
        asked = drawn(draw, values, http=http)
        wanted, got = allowed(filters, asked), policies.evaluate(asked).allowed
        if wanted != got:
            return f"{'allowed' if got else 'denied'}, Istio's filters say the opposite: {asked}"
    return None


def policies_of(text: str, *, http: bool) -> PreparedPolicies:
    """The compiled policy set of the workload."""
    compilation = compile_tree(
        MemoryTree({"workload.yaml": WORKLOAD.encode(), "policies.yaml": text.encode()}), allow_partial=True
    )
    assert compilation.snapshot is not None, compilation.diagnostics
    sets = [
        section for section in sections(compilation.snapshot, "sidecar/foo/httpbin") if isinstance(section, PolicySet)
    ]
    return prepare_policies(sets[0].policies if sets else (), http=http)


def sections(snapshot: Snapshot, name: str) -> list[Any]:
    """The decoded sections of one slice."""
    entry = next(entry for entry in snapshot.index.slices if entry.name == name)
    index = joined(decode(snapshot.blobs[entry.index], SliceIndex), snapshot.blobs)
    return [decode_section(snapshot.blobs[ref.behaviour]) for ref in index.sections]


def strings(node: Any) -> list[str]:
    """Every string in a document."""
    if isinstance(node, dict):
        return [text for value in node.values() for text in strings(value)]
    if isinstance(node, list):
        return [text for value in node for text in strings(value)]
    return [node] if isinstance(node, str) else []


def drawn(draw: random.Random, values: list[str], *, http: bool) -> Asked:
    """A request whose attributes are mostly values of the policy, bent a little."""

    def pick(*defaults: str) -> str:
        choice = draw.choice([*values, *defaults, *defaults])
        return choice.replace("{**}", "a/b").replace("{*}", "a").replace("*", draw.choice(["", "x", "x-y"]))

    def address() -> str:
        found = [
            value.partition("/")[0]
            for value in values
            if value.replace(".", "").partition("/")[0].isdigit() and value.count(".") == 3
        ]
        return draw.choice([*found, "10.1.2.3", "192.168.10.9"])

    namespace, account = draw.choice(
        [("foo", "sleep"), (pick("ns"), pick("sa")), ("my-ns", "my-sa"), ("foo", "sa-only")]
    )
    identity = draw.choice(
        ["", f"spiffe://cluster.local/ns/{namespace}/sa/{account}", f"spiffe://{pick('cluster.local/ns/foo/sa/sleep')}"]
    )
    peer = Peer(
        address(),
        1,
        address(),
        draw.choice([80, 90, 91, 92, 8000, 9001, 443]),
        identity=identity,
        server_name=pick("a.test", ""),
    )
    token = None
    if http and draw.random() < 0.6:
        issuer, subject = pick("iss"), pick("sub")
        claims: dict[str, object] = {
            "iss": issuer,
            "sub": subject,
            "azp": pick("azp"),
            "aud": [pick("aud")],
            "nested1": {"nested2": pick("nested")},
        }
        token = TokenIdentity(issuer, subject, (str(claims["aud"][0]),), claims)  # type: ignore[index]
    head = None
    if http:
        headers = [(b"x-header", pick("value").encode())] if draw.random() < 0.7 else []
        if draw.random() < 0.3:
            headers.append((b"x-forwarded-for", address().encode()))
        path = pick("/", "/exact", "/info")
        host = pick("a.test").lower()
        path = path if path.startswith("/") else f"/{path}"
        head = RequestHead(pick("GET", "POST"), "http", host, host, path, None, headers)
    return Asked(head, peer, Principal(identity, token))
