"""Tables of valid and invalid resources: Istio's validators and CRDs, Gateway API's CEL rules and examples.

Whole objects of kinds that weft reads, and parts of them, put into a whole one (fragments.py).
An object is refused where checking a tree that holds it alone finds an error that is about the
object itself: what it refers to is not there, so findings about references do not count.
"""

from __future__ import annotations

import json
from typing import Any

from compiler.diagnostic import Severity
from compiler.documents import load_documents
from compiler.kinds import KINDS
from compiler.schemas import validate
from compiler.tree import MemoryTree
from tests.conformance.corpus import Tally, read
from tests.conformance.fragments import proxy_configs, whole

READ = {kind.name for kind in KINDS}
ARGUED = {
    "cel TestValidateGateway ip address and hostname in status addresses are invalid": (
        "a mistake in `status`, which a controller writes and weft does not read"
    ),
    "table TestValidateAuthorizationPolicy:5979 to-empty ": (
        "the mistake is a null in the original, which the table lost: what is left (a rule without conditions) is valid"
    ),
    "table TestValidateTrafficExtension:8665 wasm plugin name too long ": (
        "the mistake is a name made by code, which the table lost: what is left is valid"
    ),
    "cel TestValidateGatewayClassUpdate cannot upgrade controllerName": (
        "an update rule: a Git tree has no earlier object to compare with"
    ),
    **dict.fromkeys(
        (
            "table TestValidateMaxServerConnectionAge:71 None 1800s",
            "table TestValidateMaxServerConnectionAge:71 None ",
        ),
        "a flag of Istio's control plane, which stands in no resource",
    ),
    **dict.fromkeys(
        (
            "table TestValidateGateway:200 invalid message ",
            "table TestValidateTelemetry:8047 invalid message ",
            "table TestValidateWasmPlugin:8329 invalid message ",
            "table TestValidateTrafficExtension:8665 invalid message ",
        ),
        "a Go value of another type, which no document is: its kind says by itself how it is read",
    ),
    "table TestValidateTlsOptions:1075 mutual more than 2 certs ": (
        "Istio's webhook warns, but the published CRD allows two (maxItems), so no cluster accepts three"
    ),
    "table TestValidateHTTPStatus:1201 None 600": "Istio's own message says 200 to 599, and Envoy refuses the route with 600",
}
"""Cases for which our answer is not the expected one, and why it is the right one."""


def run() -> Tally:
    """The five tables."""
    tally = Tally()
    for case in read("validation/istio_crd_cases.json")["cases"]:
        judge(tally, f"crd {case['file']}[{case['index']}] {case['name']}", [case["object"]], valid=case["valid"])
    for case in read("validation/gateway_cel_cases.json")["cases"]:
        if case["op"] != "create":
            name = f"cel {case['test']} {case['name']}"
            tally.leave(name, f"argued: {ARGUED[name]}")
            continue
        judge(tally, f"cel {case['test']} {case['name']}", [case["object"]], valid=case["valid"])
    for case in read("validation/gateway_yaml_examples.json")["cases"]:
        judge(tally, f"example {case['file']}", case["objects"], valid=case["valid"])
    for file in ("istio_validation_table", "istio_meshconfig_table"):
        for case in read(f"validation/{file}.json")["cases"]:
            _judge_call(tally, case)
    return tally


def _judge_call(tally: Tally, case: dict[str, Any]) -> None:
    """Counts a row of a table that calls one of Istio's validators: with a whole resource, or with a part that we put into one."""
    name = f"table {case['test']}:{case['line']} {case['name']} {_shortly(case['args'])}"
    objects = [argument["object"] for argument in case["args"] if isinstance(argument, dict) and "object" in argument]
    complete_ones = [item for item in objects if item is not None]
    changed = proxy_configs(case["name"]) if case["func"] == "ValidateMeshConfigProxyConfig" else []
    if changed:
        answers = {bool(findings(item)) for item in changed}
        expected = {not verdict(case)}
        tally.count(name, None if answers == expected else f"refused: {sorted(answers)}")
        return
    item = complete_ones[0] if len(complete_ones) == 1 else whole(case["func"], case["args"])
    valid = verdict(case)
    if name in ARGUED:
        tally.leave(name, f"argued: {ARGUED[name]}")
    elif item is None or valid is None:
        tally.count(name, "nobody says what this row holds: give it a resource, or argue why it has none")
    else:
        judge(tally, name, [item], valid=valid)


def verdict(case: dict[str, Any]) -> bool | None:
    """Whether a row expects its arguments to be valid; the tables say it in one of four ways, or not at all."""
    if isinstance(case.get("valid"), bool):
        return bool(case["valid"])
    raw = case.get("expect_raw", {})
    if "ok" in raw:
        return bool(raw["ok"])
    if "expected" in raw:
        return raw["expected"] is None
    if any(isinstance(raw.get(field), dict) for field in ("err", "out")):
        return False  # An error text that code puts together is an error.
    return False if case["test"] == "TestValidateMeshConfig" else None


def _shortly(arguments: list[Any]) -> str:
    """The arguments where they are plain: rows of one test may have no name of their own."""
    return " ".join(str(argument)[:40] for argument in arguments if isinstance(argument, str | int | float))


def judge(tally: Tally, name: str, objects: list[dict[str, Any]], *, valid: bool) -> None:
    """Counts one case."""
    kinds = {str(item.get("kind")) for item in objects}
    if not kinds <= READ:
        tally.leave(name, f"kind {', '.join(sorted(kinds - READ))} is not carried yet")
        return
    if name in ARGUED:
        tally.leave(name, f"argued: {ARGUED[name]}")
        return
    errors = [message for item in objects for message in findings(complete(item))]
    if valid:
        tally.count(name, f"refused: {errors[0]}" if errors else None)
    else:
        tally.count(name, None if errors else "accepted")


def complete(item: dict[str, Any]) -> dict[str, Any]:
    """The object with a name where the table leaves it to the API server."""
    metadata = {**(item.get("metadata") or {})}
    metadata.setdefault("name", "generated")
    return {**item, "metadata": metadata}


def findings(item: dict[str, Any]) -> list[str]:
    """The errors about one object."""
    documents, diagnostics = load_documents(MemoryTree({"a.json": json.dumps(item).encode()}))
    found = [*diagnostics, *(finding for document in documents for finding in validate(document))]
    return [f"{finding.code} {finding.message}" for finding in found if finding.severity is Severity.ERROR]
