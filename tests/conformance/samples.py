"""Istio's own samples: every YAML file of kinds that weft reads is checked alone, and has no error of shape."""

from __future__ import annotations

from compiler.diagnostic import Severity
from compiler.documents import load_documents
from compiler.schemas import validate
from compiler.tree import MemoryTree
from tests.conformance.corpus import DATA, Tally

ARGUED = {
    "golden/samples/ambient-argo/tag-chart/Chart.yaml": "Helm's own file, not a resource",
    "golden/mixed-config/rule-websocket-route.yaml": "sets websocketUpgrade, which no served version of the CRD has: IST0106 is the right answer",
}
FOLDERS = ("golden/samples", "golden/mixed-config")


def run() -> Tally:
    """Each file on its own; templates of other tools are left out."""
    tally = Tally()
    for folder in FOLDERS:
        for path in sorted((DATA / folder).rglob("*.yaml")):
            name = str(path.relative_to(DATA))
            content = path.read_bytes()
            if b"{{" in content:
                tally.leave(name, "a template of another tool")
                continue
            if name in ARGUED:
                tally.leave(name, ARGUED[name])
                continue
            documents, found = load_documents(MemoryTree({path.name: content}))
            if not documents and not any(item.severity is Severity.ERROR for item in found):
                tally.leave(name, "holds no kind that weft reads")
                continue
            found += [finding for document in documents for finding in validate(document)]
            errors = [
                f"{item.span.line}: {item.code} {item.message}" for item in found if item.severity is Severity.ERROR
            ]
            tally.count(name, errors[0] if errors else None)
    return tally
