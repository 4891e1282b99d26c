"""What Istio's validation accepts with a warning: weft warns of it too, and of nothing that Istio accepts without one.

The rows are those of the validation tables that hold a resource, or a part of one, and say whether there is a warning.
"""

from __future__ import annotations

import json
from typing import Any

from compiler.pipeline import check
from compiler.tree import MemoryTree
from tests.conformance.corpus import Tally, read
from tests.conformance.fragments import whole
from tests.conformance.validation import READ, complete, findings, verdict

CODE = "IST0133"
OTHERS = frozenset({"IST0002", "IST0130", "IST0131", "IST0134", "WFT0134", "IST0106"})
"""Codes that speak of what some rows warn of; refusing is more than a warning."""


def run() -> Tally:
    """The one table that says so."""
    tally = Tally()
    for case in read("validation/istio_validation_table.json")["cases"]:
        if case.get("warning") is not None and verdict(case):
            _judge(tally, case)
    return tally


def _judge(tally: Tally, case: dict[str, Any]) -> None:
    name = f"{case['test']}:{case['line']} {case['name']}"
    held = [item["object"] for item in case["args"] if isinstance(item, dict) and item.get("object")]
    item = held[0] if len(held) == 1 else whole(case["func"], case["args"])
    if item is None or item.get("kind") not in READ:
        tally.leave(name, "code that the table lost")
        return
    if not case["warning"] and findings(complete(item)):
        tally.leave(name, "weft refuses it (validation argues why)")
        return
    tree = MemoryTree({"a.json": json.dumps(complete(item)).encode()})
    found = {finding.code: finding.message for finding in check(tree)}
    if case["warning"]:
        tally.count(name, None if found.keys() & {CODE, *OTHERS} else f"no warning of {str(case['warning'])[:60]}")
    else:
        tally.count(name, f"warned: {found[CODE]}" if CODE in found else None)
