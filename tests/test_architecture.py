"""The shape of the code, proved from its syntax trees: who may import whom, what may not be imported where, and how large a thing may grow.

Nothing is imported here, so the test is fast and sees also what only runs on another platform.
"""

from __future__ import annotations

import ast
import functools
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("policies", "snapshot", "compiler", "runtime", "weft")

MAY_IMPORT = {
    "policies": {"policies"},
    "snapshot": {"policies", "snapshot"},
    "compiler": {"policies", "snapshot", "compiler"},
    "runtime": {"policies", "snapshot", "runtime"},
    "weft": set(PACKAGES),
}

THIRD_PARTY = {
    "policies": {"msgspec", "re2"},
    "snapshot": {"msgspec", "re2", "zstandard"},
    "snapshot.key_set": {"msgspec", "joserfc"},
    "snapshot.registry": {"msgspec", "httpx"},
    "snapshot.registry_login": {"msgspec", "httpx"},
    "snapshot.store_http": {"msgspec", "httpx"},
    "snapshot.store_oci": {"msgspec", "httpx"},
    "snapshot.store_s3": {"boto3", "botocore"},
    "snapshot.trust": {"msgspec", "tuf", "securesystemslib", "cryptography", "zstandard"},
    "compiler": {"msgspec", "re2"},
    "compiler.analysis.certificates": {"cryptography"},
    "compiler.cel_rules": {"cel"},
    "compiler.commit_tree": {"pygit2"},
    "compiler.composer": {"yaml"},
    "compiler.guardrails": {"msgspec", "jsonschema_rs", "cel"},
    "compiler.guardrails.waivers": {"msgspec", "yaml"},
    "compiler.lineage": {"pygit2"},
    "compiler.repository": {"pygit2"},
    "compiler.yaml_file": {"msgspec", "yaml"},
    "compiler.schemas": {"msgspec", "jsonschema_rs"},
    "compiler.mistakes": {"msgspec", "jsonschema_rs"},
    "compiler.render": {"msgspec", "rich"},
    "compiler.render.status": {"msgspec", "yaml"},
    "runtime": {"msgspec", "trio"},
    "runtime.control": {"msgspec", "trio", "cryptography", "httpx"},
    "runtime.credentials": {"msgspec", "trio", "watchfiles"},
    "runtime.discovery": {"msgspec", "trio", "httpx"},
    "runtime.dns.message": {"msgspec", "dns"},
    "runtime.envoy": {"msgspec", "trio", "envoy", "google", "xds", "httpx", "cryptography"},
    "runtime.pages": {"msgspec", "trio"},
    "runtime.supervisor.scraping": {"httpx", "trio"},
    "runtime.pages.envoys": {"msgspec", "trio", "cryptography"},
    "runtime.pages.filters": {"re2"},
    "runtime.fetch": {"msgspec", "trio", "httpx", "watchfiles", "zstandard"},
    "runtime.health": {"msgspec", "trio", "httpx"},
    "runtime.http1": {"msgspec"},
    "runtime.issuers": {"msgspec", "trio", "httpx"},
    "runtime.http2": {"msgspec", "hpack"},
    "runtime.identity": {"msgspec", "trio", "cryptography", "httpx"},
    "runtime.service_server": {"msgspec", "trio", "h11"},
    "runtime.tls": {"msgspec", "cryptography"},
    "weft": {"click", "rich", "msgspec"},
    "weft.configured": {"click", "httpx", "msgspec", "yaml"},
    "weft.starter": {"msgspec", "pygit2"},
    "weft.local": {"cryptography", "msgspec", "trio"},
    "weft.dev": {"msgspec", "rich", "trio", "watchfiles"},
    "weft.demo": {"click", "cryptography", "httpx", "msgspec", "pygit2", "rich", "trio"},
    "weft.commands.check": {"click", "msgspec", "watchfiles"},
    "weft.commands.export": {"click", "msgspec", "yaml"},
    "weft.commands": {"click", "rich", "msgspec", "trio", "httpx", "pygit2"},
}
"""What each part may take from elsewhere; the longest matching prefix decides. Reasons: docs/adr/0002-dependencies.md."""

PURE = ("policies", "snapshot", "runtime.http1", "runtime.http2", "runtime.telemetry")
NOT_PURE = (
    "snapshot.trust",
    # One lock, so that types are made known to msgspec one at a time; what is decoded is the same.
    "snapshot.decoding",
    "snapshot.registry",
    "snapshot.registry_login",
    "snapshot.store_directory",
    "snapshot.store_http",
    "snapshot.store_oci",
    "snapshot.store_s3",
    "snapshot.writer_lease",
)
IMPURE_IMPORTS = {
    "trio",
    "random",
    "secrets",
    "socket",
    "ssl",
    "select",
    "threading",
    "asyncio",
    "subprocess",
    "datetime",
}

WORKER_FREE_OF = {
    "dns",
    "tuf",
    "securesystemslib",
    "ruamel",
    "yaml",
    "jsonschema",
    "jsonschema_rs",
    "pygit2",
    "rich",
    "httpx",
}

SUPERVISION_POINTS = {
    "runtime.lane",
    "runtime.service_server",
    "runtime.worker",
    "runtime.supervisor",
    "runtime.control.routing",
}
"""Where an unexpected exception may be caught: it is logged, counted, and ends one connection, worker or request."""

MAX_FILE_LINES = 600
MEDIAN_FILE_LINES = 170
MAX_FUNCTION_LINES = 50


class Module(NamedTuple):
    """One source file and what its syntax tree imports, with the line of each import."""

    name: str
    path: Path
    tree: ast.Module
    imports: tuple[tuple[str, int], ...]


@functools.cache
def modules() -> dict[str, Module]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            found[name] = Module(name, path, tree, tuple(imports_of(tree)))
    return found


def imports_of(tree: ast.Module) -> Iterator[tuple[str, int]]:
    hidden = {node for block in ast.walk(tree) if is_type_checking(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import at line {node.lineno}"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def own_module(imported: str) -> str | None:
    """The module of ours that an imported name belongs to: itself, or the module that defines it."""
    while imported:
        if imported in modules():
            return imported
        imported = imported.rpartition(".")[0]
    return None


def dependencies(module: Module) -> set[str]:
    return {own for name, _ in module.imports if (own := own_module(name)) and own != module.name}


def within(name: str, prefixes: tuple[str, ...] | set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def test_imports_go_one_way() -> None:
    breaches = [
        f"{module.path.relative_to(ROOT)}:{line} imports {name}"
        for module in modules().values()
        for name, line in module.imports
        if name.split(".")[0] in PACKAGES and name.split(".")[0] not in MAY_IMPORT[module.name.split(".")[0]]
    ]
    assert breaches == []


def test_no_module_imports_itself_through_others() -> None:
    graph = {module.name: sorted(dependencies(module)) for module in modules().values()}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for following in graph[name]:
                walk(following, (*way, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_third_party_imports_are_those_that_each_part_may_have() -> None:
    breaches = []
    for module in modules().values():
        prefix = max((one for one in THIRD_PARTY if within(module.name, (one,))), key=len)
        for name, line in module.imports:
            top = name.split(".")[0]
            if top not in PACKAGES and top not in sys.stdlib_module_names and top not in THIRD_PARTY[prefix]:
                breaches.append(f"{module.path.relative_to(ROOT)}:{line} imports {top}, which {prefix} may not")
    assert breaches == []


def test_codecs_and_decisions_have_no_clock_no_chance_and_no_socket() -> None:
    breaches = [
        f"{module.path.relative_to(ROOT)}:{line} imports {name}"
        for module in modules().values()
        if within(module.name, PURE) and not within(module.name, NOT_PURE)
        for name, line in module.imports
        if name.split(".")[0] in IMPURE_IMPORTS or name in {"time.time", "time.monotonic", "os.urandom"}
    ]
    assert breaches == []


def test_a_worker_never_loads_what_only_compiler_and_supervisor_need() -> None:
    if "runtime.worker" not in modules():
        pytest.fail("runtime.worker is gone; name the worker's module here")
    reached, queue = set(), ["runtime.worker"]
    while queue:
        name = queue.pop()
        if name not in reached:
            reached.add(name)
            # A package's __init__ runs before its modules do.
            parents = [own for own in (name.rpartition(".")[0],) if own in modules()]
            queue.extend([*dependencies(modules()[name]), *parents])
    loaded = {
        (name, top)
        for name in reached
        for one, _ in modules()[name].imports
        if (top := one.split(".")[0]) in WORKER_FREE_OF
    }
    assert loaded == set()


def test_unexpected_exceptions_are_caught_at_the_supervision_points_alone() -> None:
    breaches = []
    for module in modules().values():
        if within(module.name, SUPERVISION_POINTS):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and catches_everything(node.type) and not raises_again(node):
                breaches.append(f"{module.path.relative_to(ROOT)}:{node.lineno}")
    assert breaches == []


def test_what_may_run_in_threads_decodes_by_decoders_that_are_made_one_at_a_time() -> None:
    """``snapshot.decoding`` says what happens otherwise. The compiler and the commands decode in one thread at a time."""
    breaches = []
    for module in modules().values():
        if not within(module.name, {"snapshot", "runtime"}):
            continue
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or all(word.arg != "type" for word in node.keywords):
                continue
            if ast.unparse(node.func) in {"msgspec.json.decode", "msgspec.msgpack.decode", "msgspec.convert"}:
                breaches.append(f"{module.path.relative_to(ROOT)}:{node.lineno}")
    assert breaches == []


def raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def catches_everything(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"} for name in names)


def test_files_stay_small() -> None:
    sizes = {module.path.relative_to(ROOT): module.path.read_text().count("\n") for module in modules().values()}
    assert {str(path): size for path, size in sizes.items() if size > MAX_FILE_LINES} == {}
    assert statistics.median(sizes.values()) <= MEDIAN_FILE_LINES


def test_functions_stay_small() -> None:
    breaches = [
        f"{module.path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert breaches == []


def test_no_file_or_class_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "common", "helpers", "base", "misc", "core"}
    files = [name for name in modules() if name.rpartition(".")[2] in empty]
    classes = [
        f"{module.name}.{node.name}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Handler", "Context", "Engine", "Util"))
    ]
    assert (files, classes) == ([], [])
