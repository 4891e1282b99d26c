"""Compiling YAML in tests, and asking the slices that come of it what a proxy would ask them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compiler.pipeline import Compilation, compile_tree
from compiler.tree import MemoryTree
from policies.head import Peer, Principal, RequestHead
from snapshot.decide import decide
from snapshot.decision import Decision
from snapshot.index import Snapshot, assemble
from snapshot.prepared import PreparedSlice, prepare

CONFORMANCE = Path(os.environ.get("WEFT_CONFORMANCE", Path(__file__).parents[3] / "shared" / "conformance"))
PEER = Peer("127.0.0.9", 40000, "127.0.0.1", 80)


def conformance(*parts: str) -> Path:
    """A file of the conformance data; skips (or, where all is required, fails) without it."""
    path = CONFORMANCE.joinpath(*parts)
    if not path.exists():
        if os.environ.get("WEFT_REQUIRE_ALL") == "1":
            pytest.fail(f"the conformance data lack {'/'.join(parts)}")
        pytest.skip(f"the conformance data ({'/'.join(parts)}) are not here; WEFT_CONFORMANCE names them")
    return path


class CompiledMesh:
    """A snapshot and its slices, prepared when asked for."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._slices: dict[str, PreparedSlice] = {}

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.snapshot.index.slices]

    def slice(self, name: str) -> PreparedSlice:
        if name not in self._slices:
            entry = next(entry for entry in self.snapshot.index.slices if entry.name == name)
            self._slices[name] = prepare(assemble(self.snapshot.digest, entry, self.snapshot.blobs))
        return self._slices[name]


def compilation(*texts: str, allow_partial: bool = False) -> Compilation:
    files = {f"{number}.yaml": text.encode() for number, text in enumerate(texts)}
    return compile_tree(MemoryTree(files), allow_partial=allow_partial)


def compiled(*texts: str, allow_partial: bool = False) -> CompiledMesh:
    """Compiles texts; fails with the findings where there is no snapshot."""
    result = compilation(*texts, allow_partial=allow_partial)
    found = [f"{item.span.file}:{item.span.line} {item.code} {item.message}" for item in result.diagnostics]
    assert result.snapshot is not None, found
    return CompiledMesh(result.snapshot)


def request(
    url: str = "/", *, host: str, method: str = "GET", headers: dict[str, str] | None = None, scheme: str = "http"
) -> RequestHead:
    path, question, query = url.partition("?")
    return RequestHead(
        method=method,
        scheme=scheme,
        authority=host,
        host=host.partition(":")[0].lower(),
        path=path,
        query=query if question else None,
        headers=[(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
    )


def ask(
    prepared: PreparedSlice,
    head: RequestHead,
    *,
    listener: str = "virtualOutbound",
    chain: str = "http",
    identity: str = "",
) -> Decision:
    """What a slice decides about one request on one chain."""
    peer = Peer("127.0.0.9", 40000, "127.0.0.1", 80, identity=identity, tls=bool(identity))
    return decide(prepared, prepared.chains[listener, chain], head, peer, Principal(identity))


def clusters(decision: Decision) -> list[tuple[str, int]]:
    """The destinations of a decision with their weights; what does not resolve shows its status."""
    return [(item.cluster or str(item.status), item.weight) for item in decision.destinations]
