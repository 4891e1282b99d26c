"""What stays the same about a finding when lines move: how code hosts tell an old finding from a new one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

from compiler.diagnostic import Diagnostic


def fingerprinted(found: Iterable[Diagnostic]) -> Iterator[tuple[Diagnostic, str]]:
    """Each finding with 64 hexadecimal digits over its code, file, resource and message; equal findings are counted, so that none is lost."""
    seen: Counter[tuple[str, ...]] = Counter()
    for item in found:
        facts = (item.code, item.span.file, str(item.resource or ""), item.message)
        seen[facts] += 1
        text = "\0".join((*facts, str(seen[facts])))
        yield item, hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
