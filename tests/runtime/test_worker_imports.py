"""A worker stays small: what it must not import is looked for in a process that has imported all that a worker has."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = {
    "tuf",
    "securesystemslib",
    "ruamel",
    "yaml",
    "jsonschema",
    "jsonschema_rs",
    "pygit2",
    "rich",
    "httpx",
    "h11",
    "click",
}


def test_a_worker_process_imports_none_of_what_only_others_need() -> None:
    program = "import runtime.worker, runtime.proxy, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "trio" in loaded
    assert loaded & FORBIDDEN == set()
