"""``python -m benchmarks.compiling``: how long the compiler takes for a mesh of so many services, and where the time goes.

Each figure is a process of its own, as a user starts it, except the change of one resource, which a process that has seen the tree before
(``weft check --watch``) takes in. Cold means without weft's cache; the files themselves are in the kernel's.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.repositories import service_file, write_repository
from compiler.memory import Memory
from compiler.pipeline import check
from compiler.worktree import WorkTree

MOST_ENTRIES = 12


def main() -> int:
    """Measures one size and prints the table; exit 1 where a command failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiling", description=__doc__)
    parser.add_argument("--services", type=int, default=1000, help="how many services the mesh has (1000)")
    parser.add_argument("--compile", action="store_true", help="compile to slices too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as name:
        folder = Path(name)
        resources = write_repository(folder, options.services)
        subprocess.run(["git", "init", "--quiet", name], check=True)
        print(f"{options.services:,} services, {resources:,} resources, {os.cpu_count()} cores")
        failed = _command("check, cold", folder, "check", "--no-cache", ".")
        failed |= _command("check, first (fills the cache)", folder, "check", ".")
        failed |= _command("check, warm", folder, "check", ".")
        _change(folder)
        if options.compile:
            failed |= _command("compile, full", folder, "compile", "--worktree", "--allow-partial", ".")
        shutil.rmtree(folder / ".git")
        _profile(folder)
    return int(failed)


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


def _change(folder: Path) -> None:
    """One resource changes in a tree that a process has checked before."""
    memory = Memory()
    check(WorkTree(folder), memory=memory)
    path = service_file(folder, 0)
    path.write_text(path.read_text("utf-8").replace("timeout: 5s", "timeout: 6s"), "utf-8")
    started = time.perf_counter()
    check(WorkTree(folder), memory=memory)
    print(f"  {'check, one change (--watch)':32} {time.perf_counter() - started:7.2f} s")


def _profile(folder: Path) -> None:
    profile = cProfile.Profile()
    profile.runcall(check, WorkTree(folder))
    print(f"the profile's top entries of a cold check (the profiler itself about doubles the time), {MOST_ENTRIES} of:")
    pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(MOST_ENTRIES)


if __name__ == "__main__":
    sys.exit(main())
