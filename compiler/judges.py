"""What decides how a tree is understood, besides the tree: weft's own code and the libraries that judge. Cached results are of one such state."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("common-expression-language", "google-re2", "jsonschema-rs", "msgspec", "pyyaml")
_PACKAGES = ("compiler", "snapshot", "policies")


@cache
def judges() -> str:
    """A digest of the code that finds, links and encodes, so that another weft has other entries."""
    top = Path(__file__).parents[1]
    whole = hashlib.sha256(repr((sys.version_info, [version(name) for name in _LIBRARIES])).encode())
    for package in _PACKAGES:
        for path in sorted((top / package).rglob("*")):
            if path.suffix in {".py", ".json"}:
                whole.update(str(path.relative_to(top)).encode())
                whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
