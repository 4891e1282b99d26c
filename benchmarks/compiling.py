"""``python -m benchmarks.compiling``: how long the compiler takes for a mesh of so many services, and where the time goes.

Each figure is a process of its own, as a user starts it, except those of a change in memory, which a process that has seen the tree before
(``weft check --watch``, ``weft dev``) takes in. Cold means without weft's cache; the files themselves are in the kernel's.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.repositories import service_file, write_repository
from compiler.memory import CompilerCache, Memory
from compiler.pipeline import check, compile_tree
from compiler.worktree import WorkTree
from weft.collecting import no_collection

MOST_ENTRIES = 12


def main() -> int:
    """Measures one size and prints the table; exit 1 where a command failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiling", description=__doc__)
    parser.add_argument("--services", type=int, default=1000, help="how many services the mesh has (1000)")
    parser.add_argument("--exported", action="store_true", help="export every service to all namespaces")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as name:
        folder = Path(name) / "mesh"
        resources = write_repository(folder, options.services, exported=options.exported)
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        print(f"{options.services:,} services, {resources:,} resources, {os.cpu_count()} cores")
        os.environ["XDG_STATE_HOME"] = name
        failed = _checks(folder)
        failed |= _compilations(folder)
        _in_memory(folder)
        _profiles(folder)
    return int(failed)


def _checks(folder: Path) -> bool:
    failed = _command("check, cold", folder, "check", "--no-cache", ".")
    failed |= _command("check, first (fills the cache)", folder, "check", ".")
    failed |= _command("check, warm", folder, "check", ".")
    _change(folder, 1)
    return _command("check, one change", folder, "check", ".") | failed


def _compilations(folder: Path) -> bool:
    failed = _command("compile, full", folder, "compile", "--worktree", "--no-cache", ".")
    failed |= _command("compile, first (fills the cache)", folder, "compile", "--worktree", ".")
    failed |= _command("compile, nothing changed", folder, "compile", "--worktree", ".")
    for number in (2, 3, 4):
        _change(folder, number)
        failed |= _command("compile, one change", folder, "compile", "--worktree", ".")
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


def _change(folder: Path, timeout: int) -> None:
    """Changes one resource: a VirtualService's timeout."""
    path = service_file(folder, 0)
    path.write_text(re.sub(r"timeout: [0-9]*5s", f"timeout: {timeout}5s", path.read_text("utf-8")), "utf-8")


def _in_memory(folder: Path) -> None:
    """One resource changes in a tree that a process has understood before."""
    memory = Memory()
    with no_collection():
        for label, run in (("check", check), ("compile", compile_tree)):
            run(WorkTree(folder), memory=memory)  # type: ignore[operator]
            _change(folder, 6)
            started = time.perf_counter()
            run(WorkTree(folder), memory=memory)  # type: ignore[operator]
            print(f"  {f'{label}, one change in memory':32} {time.perf_counter() - started:7.2f} s")
            _change(folder, 7)


def _profiles(folder: Path) -> None:
    with no_collection():
        _profile("a cold check", lambda: check(WorkTree(folder)))
        _profile("a full compilation", lambda: compile_tree(WorkTree(folder)))
        compile_tree(WorkTree(folder), memory=Memory(CompilerCache.of(folder)))
        _change(folder, 8)
        _profile(
            "a compilation after one change, with the cache",
            lambda: compile_tree(WorkTree(folder), memory=Memory(CompilerCache.of(folder))),
        )


def _profile(label: str, run: Callable[[], object]) -> None:
    profile = cProfile.Profile()
    profile.runcall(run)
    print(f"the profile's top entries of {label} (the profiler itself about doubles the time), {MOST_ENTRIES} of:")
    pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(MOST_ENTRIES)


if __name__ == "__main__":
    sys.exit(main())
