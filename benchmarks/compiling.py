"""``python -m benchmarks.compiling``: how long the compiler takes for a mesh of so many services, and where the time goes.

Each figure is a process of its own, as a user starts it, except those of a change in memory, which a process that has seen the tree before
(``weft check --watch``, ``weft dev``) takes in. Cold means without weft's cache; the files themselves are in the kernel's.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import os
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.repositories import service_file, write_repository
from compiler.compiler_cache import CompilerCache
from compiler.memory import Memory
from compiler.pipeline import check, compile_tree
from compiler.stamps import SETTLED_NS, Stamps
from compiler.worktree import WorkTree
from weft.collecting import no_collection

MOST_ENTRIES = 12
REPEATS = 3
_SETTLED_S = SETTLED_NS / 1e9 + 0.5
_TIMEOUTS = itertools.count(1)
"""No two changes are the same."""


def main() -> int:
    """Measures one size and prints the table; exit 1 where a command failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiling", description=__doc__)
    parser.add_argument("--services", type=int, default=1000, help="how many services the mesh has (1000)")
    parser.add_argument("--exported", action="store_true", help="export every service to all namespaces")
    parser.add_argument(
        "--sidecars", action="store_true", help="a Sidecar per namespace that knows its own services alone"
    )
    parser.add_argument("--changes-alone", action="store_true", help="leave out what is compiled without a cache")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as name:
        folder = Path(name) / "mesh"
        resources = write_repository(folder, options.services, exported=options.exported, sidecars=options.sidecars)
        _git(folder, "init", "--quiet")
        _commit(folder)
        print(f"{options.services:,} services, {resources:,} resources, {os.cpu_count()} cores")
        os.environ["XDG_STATE_HOME"] = name
        failed = False if options.changes_alone else _cold(folder)
        failed |= _changes(folder)
        _in_memory(folder)
        _profiles(folder, cold=not options.changes_alone)
    return int(failed)


def _cold(folder: Path) -> bool:
    failed = _command("check, cold", folder, "check", "--no-cache", ".")
    return _command("compile, full", folder, "compile", "--worktree", "--no-cache", ".") | failed


def _changes(folder: Path) -> bool:
    """What a new process does that finds the cache of an older one."""
    failed = _command("check, first (fills the cache)", folder, "check", ".")
    # Of files that were written just now nothing is noted: the second run reads them once more, and notes them.
    time.sleep(_SETTLED_S)
    for label in ("check, nothing changed", "check, nothing changed"):
        failed |= _command(label, folder, "check", ".")
    failed |= _repeated("check, one change", folder, "check", ".")
    failed |= _command("compile, first", folder, "compile", "--worktree", ".")
    failed |= _repeated("compile, one change", folder, "compile", "--worktree", ".")
    failed |= _command("compile of a commit, first", folder, "compile", ".")
    return _repeated("compile of a commit, one change", folder, "compile", ".", committed=True) | failed


def _repeated(label: str, folder: Path, *arguments: str, committed: bool = False) -> bool:
    failed = False
    for _ in range(REPEATS):
        _change(folder, next(_TIMEOUTS))
        if committed:
            _commit(folder)
        failed |= _command(label, folder, *arguments)
    return failed


def _command(label: str, folder: Path, *arguments: str) -> bool:
    """Runs one command and prints its time and memory; true where it failed."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "weft", *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    print(
        f"  {label:32} {elapsed:7.2f} s  {cpu:7.2f} s CPU  {usage.ru_maxrss // 1024:5} MiB  exit {process.returncode}"
    )
    return process.returncode != 0


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True)


def _commit(folder: Path) -> None:
    _git(folder, "add", "--all")
    _git(folder, "-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "--quiet", "-m", "a change")


def _change(folder: Path, timeout: int) -> None:
    """Changes one resource: a VirtualService's timeout."""
    path = service_file(folder, 0)
    path.write_text(re.sub(r"timeout: [0-9]*5s", f"timeout: {timeout}5s", path.read_text("utf-8")), "utf-8")


def _comment(folder: Path, number: int) -> None:
    """Writes a comment before everything else, which moves all lines of one service."""
    path = service_file(folder, 0)
    path.write_text(f"# Looked at for the time number {number}.\n{path.read_text('utf-8')}", "utf-8")


def _in_memory(folder: Path) -> None:
    """One resource changes in a tree that a process has understood before."""
    memory, stamps = Memory(), Stamps()
    edits: dict[str, Callable[[Path, int], None]] = {"change": _change, "comment": _comment}
    with no_collection():
        compile_tree(WorkTree(folder, stamps=stamps), memory=memory)
        for label, run in (("check", check), ("compile", compile_tree)):
            for edit, make in edits.items():
                taken = []
                for _ in range(REPEATS):
                    make(folder, next(_TIMEOUTS))
                    started = time.perf_counter()
                    run(WorkTree(folder, stamps=stamps), memory=memory)
                    taken.append(time.perf_counter() - started)
                print(f"  {f'{label}, one {edit} in memory':32} {median(taken):7.3f} s (median of {REPEATS})")


def _profiles(folder: Path, *, cold: bool) -> None:
    with no_collection():
        if cold:
            _profile("a cold check", lambda: check(WorkTree(folder)))
            _profile("a full compilation", lambda: compile_tree(WorkTree(folder)))
        _change(folder, next(_TIMEOUTS))
        _profile("a compilation after one change, with the cache", lambda: _as_command(folder))


def _as_command(folder: Path) -> None:
    """What ``weft compile --worktree`` does."""
    stamps = Stamps.of(folder)
    compile_tree(WorkTree(folder, stamps=stamps), memory=Memory(CompilerCache.of(folder)))
    stamps.save()


def _profile(label: str, run: Callable[[], object]) -> None:
    profile = cProfile.Profile()
    profile.runcall(run)
    print(f"the profile's top entries of {label} (the profiler itself about doubles the time), {MOST_ENTRIES} of:")
    pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(MOST_ENTRIES)


if __name__ == "__main__":
    sys.exit(main())
