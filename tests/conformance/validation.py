"""Tables of valid and invalid resources: Istio's validators and CRDs, Gateway API's CEL rules and examples.

Only whole objects of kinds that weft reads. An object is refused where checking a tree that holds it alone finds an error that is about the
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

READ = {kind.name for kind in KINDS}
ARGUED = {
    "cel TestValidateGateway ip address and hostname in status addresses are invalid": (
        "a mistake in `status`, which a controller writes and weft does not read"
    ),
    "table TestValidateAuthorizationPolicy:5979 to-empty": (
        "the mistake is a null in the original, which the table lost: what is left (a rule without conditions) is valid"
    ),
    "table TestValidateTrafficExtension:8665 wasm plugin name too long": (
        "the mistake is a name made by code, which the table lost: what is left is valid"
    ),
}
"""Cases for which our answer is not the expected one, and why it is the right one."""


def run() -> Tally:
    """The four tables."""
    tally = Tally()
    for case in read("validation/istio_crd_cases.json")["cases"]:
        judge(tally, f"crd {case['file']}[{case['index']}] {case['name']}", [case["object"]], valid=case["valid"])
    for case in read("validation/gateway_cel_cases.json")["cases"]:
        if case["op"] != "create":
            tally.leave(f"cel {case['test']} {case['name']}", "an update rule: a Git tree has no earlier object")
            continue
        judge(tally, f"cel {case['test']} {case['name']}", [case["object"]], valid=case["valid"])
    for case in read("validation/gateway_yaml_examples.json")["cases"]:
        judge(tally, f"example {case['file']}", case["objects"], valid=case["valid"])
    for case in read("validation/istio_validation_table.json")["cases"]:
        whole = [argument["object"] for argument in case["args"] if isinstance(argument, dict) and "object" in argument]
        name = f"table {case['test']}:{case['line']} {case['name']}"
        if len(whole) != 1 or whole[0] is None:
            tally.leave(name, "a fragment or a plain value, not a whole resource")
            continue
        judge(tally, name, whole, valid=bool(case["valid"]))
    return tally


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
