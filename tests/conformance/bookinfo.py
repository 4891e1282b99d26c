"""Istio's bookinfo: the application and each of its routing files, unchanged, compile to a snapshot that prepares."""

from __future__ import annotations

from compiler.diagnostic import Severity
from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.encode import decode
from snapshot.index import SliceIndex, assemble
from snapshot.prepared import prepare
from tests.conformance.corpus import DATA, Tally

ROOT = DATA / "golden" / "samples" / "bookinfo"
APPLICATION = ("platform/kube/bookinfo.yaml", "platform/kube/bookinfo-versions.yaml")
LACKS_ITS_SERVICE = ("networking/certmanager-gateway.yaml",)
"""Routes to a service that cert-manager brings: IST0101, and 503 at run time."""
NEEDS_SUBSETS = ("networking/destination-rule-all.yaml",)


def files(*paths: str) -> dict[str, bytes]:
    """Files of the sample by name, as a tree holds them."""
    return {path: (ROOT / path).read_bytes() for path in paths}


def sets() -> dict[str, dict[str, bytes]]:
    """Each routing file with the application, and with the subsets that it needs."""
    found = {}
    for folder in ("networking", "gateway-api"):
        for path in sorted((ROOT / folder).glob("*.yaml")):
            name = f"{folder}/{path.name}"
            extra = NEEDS_SUBSETS if path.name.startswith("virtual-service") else ()
            if "ratings-mysql" in name or "ratings-db" in name:
                extra = ("networking/destination-rule-all.yaml",)
            found[name] = files(*APPLICATION, *extra, name)
    return found


def run() -> Tally:
    """Compiles each set and prepares each of its slices."""
    tally = Tally()
    for name, tree in sets().items():
        tally.count(name, problem(tree, allow_partial=name in LACKS_ITS_SERVICE))
    return tally


def problem(tree: dict[str, bytes], *, allow_partial: bool) -> str | None:
    """What went wrong with one set, or None."""
    compilation = compile_tree(MemoryTree(tree), allow_partial=allow_partial)
    if compilation.snapshot is None:
        found = [item for item in compilation.diagnostics if item.severity is not Severity.NOTE]
        return "; ".join(f"{item.span.file}:{item.span.line} {item.code} {item.message}" for item in found[:3])
    snapshot = compilation.snapshot
    for entry in snapshot.index.slices:
        decode(snapshot.blobs[entry.index], SliceIndex)
        prepare(assemble(snapshot.digest, entry, snapshot.blobs))
    return None
