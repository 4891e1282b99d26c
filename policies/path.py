"""Path normalisation as Istio's ``pathNormalization`` profiles mean it: once, before authorization and routing, and what policy saw is forwarded.

A path here is the part of a request target before the question mark. ``%00`` and ``#`` are refused in every profile, since what a back end
makes of them cannot be known; so is a path that does not start with a slash (``*`` of OPTIONS never comes here).
"""

from __future__ import annotations

import re

NONE = "NONE"
BASE = "BASE"
MERGE_SLASHES = "MERGE_SLASHES"
DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"
PROFILES = (NONE, BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES)

_slashes = re.compile(r"//+")
_encoded_unreserved = re.compile(r"%(2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])")
"""Letters, digits, ``-``, ``.``, ``_`` and ``~``: what they say encoded is what they say plain (RFC 3986 section 6.2.2.2)."""
_encoded_slash = re.compile(r"%2[fF]|%5[cC]")


def normalize(path: str, profile: str = BASE) -> str | None:
    """``path`` in its normal form under ``profile``, or None where it must be refused (400).

    BASE decodes unreserved characters (``/%61dmin`` is ``/admin``, for policies as for back ends), resolves dot segments (RFC 3986 sections
    6.2.2.2 and 5.2.4) and turns backslashes into slashes; other escapes keep their bytes.
    MERGE_SLASHES also makes runs of slashes one. DECODE_AND_MERGE_SLASHES first decodes ``%2F`` and ``%5C``. Idempotent.
    """
    # Whatever a profile could change or refuse has one of these in it; most paths have none. Five searches cost a fifth of one expression.
    if (
        path[:1] == "/"
        and "%" not in path
        and "/." not in path
        and "//" not in path
        and "\\" not in path
        and "#" not in path
    ):
        return path
    if not path.startswith(("/", "\\")) or "#" in path or "%00" in path:
        return None
    if profile == NONE:
        return path
    if profile == DECODE_AND_MERGE_SLASHES:
        path = _encoded_slash.sub("/", path)
    path = path.replace("\\", "/")
    if "%" in path:
        path = _encoded_unreserved.sub(lambda found: chr(int(found[1], 16)), path)
    if profile != BASE:
        path = _slashes.sub("/", path)
    return _remove_dot_segments(path) if "/." in path else path


def _remove_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
