"""A compilation that remembers gives the bytes that one without memory gives, whatever was edited in between."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pygit2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.analysis import analyze
from compiler.commit_tree import CommitTree
from compiler.compiler_cache import CompilerCache
from compiler.dates import Dates
from compiler.encode import encode_slices
from compiler.guardrails import Guards
from compiler.inventory import Inventory, PositionsOf
from compiler.kept import Kept
from compiler.link import Scope, Scopes, link
from compiler.memory import Memory
from compiler.mesh import Mesh
from compiler.pipeline import Compilation, compile_tree
from compiler.stamps import Stamps
from compiler.surroundings import Neighbours
from compiler.tree import MemoryTree
from snapshot.encode import decode
from snapshot.index import SectionRef, SliceIndex, joined
from tests.compiler.meshes import Files, edited, meshes, meshes_behind_sidecars, meshes_of_rules, written

KEY = b"k" * 32
DATES = Dates(datetime(2026, 1, 1, tzinfo=UTC))
EXAMPLES = int(os.environ.get("WEFT_INCREMENTAL_EXAMPLES", "15"))
THOROUGHLY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    phases=[Phase.explicit, Phase.generate],
)


def compiled(files: Files, memory: Memory | None = None) -> Compilation:
    return compile_tree(MemoryTree(written(files)), allow_partial=True, memory=memory)


def cached(folder: str) -> Memory:
    """The memory of a new process that finds an older one's cache."""
    return Memory(CompilerCache(lambda name: Kept(Path(folder) / name, KEY)), little=0)


def require_equal(found: Compilation, full: Compilation) -> None:
    assert found.diagnostics == full.diagnostics
    assert (found.snapshot is None) == (full.snapshot is None)
    if found.snapshot is not None and full.snapshot is not None:
        assert found.snapshot.digest == full.snapshot.digest
        assert found.snapshot.index == full.snapshot.index
        assert found.snapshot.blobs == full.snapshot.blobs


@THOROUGHLY
@given(st.data())
def test_after_any_edits_memory_and_cache_give_what_a_full_compilation_gives(data: st.DataObject) -> None:
    files = data.draw(meshes())
    memory = Memory(little=0)
    with TemporaryDirectory() as folder:
        for _ in range(4):
            full = compiled(files)
            require_equal(compiled(files, memory), full)
            require_equal(compiled(files, cached(folder)), full)
            files = data.draw(edited(files))


@settings(THOROUGHLY, max_examples=max(1, EXAMPLES // 3))
@given(st.data())
def test_commit_after_commit_is_compiled_as_its_files_are(data: st.DataObject) -> None:
    files = data.draw(meshes())
    with TemporaryDirectory() as name:
        folder = Path(name) / "mesh"
        for _ in range(3):
            put(folder, written(files))
            commit(folder)
            tree = CommitTree(folder, stamps=Stamps(Kept(Path(name) / "stamps", KEY), b"here"))
            found = compile_tree(tree, allow_partial=True, memory=cached(name))
            full = compiled(files)
            assert found.diagnostics == full.diagnostics
            assert (found.snapshot is None) == (full.snapshot is None)
            if found.snapshot is not None and full.snapshot is not None:
                assert found.snapshot.index.slices == full.snapshot.index.slices
                assert found.snapshot.blobs == full.snapshot.blobs
            files = data.draw(edited(files))


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Makes a folder hold these files and no others."""
    for path in folder.rglob("*.yaml"):
        path.unlink()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def commit(folder: Path) -> None:
    repository = pygit2.init_repository(str(folder))
    repository.index.add_all()
    repository.index.write()
    author = pygit2.Signature("a", "a@example.com", 0, 0)
    parents = [] if repository.head_is_unborn else [repository.head.target]
    repository.create_commit("HEAD", author, author, "x", repository.index.write_tree(), parents)


@THOROUGHLY
@given(meshes() | meshes_behind_sidecars())
def test_a_scope_lacks_nothing_that_its_slices_depend_on(files: Files) -> None:
    inventory = read(files)
    mesh = inventory.mesh()
    positions = PositionsOf(inventory)
    for scope in Scopes(inventory).all():
        everything = WholeMesh(scope.namespace, (), inventory)
        everything.all = mesh
        assert sections(scope, positions) == sections(everything, positions)


@THOROUGHLY
@given(meshes() | meshes_of_rules())
def test_surroundings_lack_nothing_that_findings_depend_on(files: Files) -> None:
    inventory = read(files)
    found = [item for part in Neighbours(inventory).all() for item in part.findings(DATES)]
    assert sorted(found, key=repr) == sorted(analyze(inventory.mesh(DATES)), key=repr)


def read(files: Files) -> Inventory:
    return Inventory(file for file in Memory().survey(MemoryTree(written(files)), Guards(())) if file.outline.stands)


class WholeMesh(Scope):
    """A scope that leaves nothing out, not even what no resource holds."""

    all: Mesh

    def mesh(self) -> Mesh:
        return self.all


def sections(scope: Scope, positions: PositionsOf) -> dict[str, tuple[SectionRef, ...]]:
    """The sections of the slices of a scope's own namespace, which pin all their bytes, by the slice's name."""
    encoded = encode_slices(link(scope), positions)
    own = [entry for entry in encoded.entries if entry.namespace == scope.namespace]
    indexes = {entry.name: decode(encoded.blobs[entry.index], SliceIndex) for entry in own}
    return {name: joined(index, encoded.blobs).sections for name, index in indexes.items()}
