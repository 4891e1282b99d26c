"""What verifying costs before it begins."""

from __future__ import annotations

import subprocess
import sys


def test_a_verifier_imports_no_cloud_library() -> None:
    program = "import runtime.fetch, snapshot.trust.keys, sys; print(*{name.split('.')[0] for name in sys.modules})"
    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "securesystemslib" in imported
    assert {"boto3", "botocore", "azure"} & set(imported) == set()
