"""What a worker may open, in a process of its own: limits belong to a process."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import re, resource
from pathlib import Path
from runtime.descriptors import widen_descriptors

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), {hard}))
most = widen_descriptors()
size = int(re.search(r"FDSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(most, size, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def widened(hard: str) -> list[int]:
    """What a process with this hard limit may open, how large its table is, and its limits."""
    program = PROGRAM.replace("{hard}", hard)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return [int(word) for word in done.stdout.split()]


def test_a_worker_may_open_as_many_descriptors_as_the_machine_allows() -> None:
    most, _, soft, hard = widened("hard")
    assert most == soft == hard


def test_the_table_is_as_large_as_the_limit_before_the_first_connection() -> None:
    most, size, *_ = widened("min(hard, 2048)")
    assert size >= most > 256
