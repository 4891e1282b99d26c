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
_encoded_dot = re.compile(r"%2[eE]")
_encoded_slash = re.compile(r"%2[fF]|%5[cC]")


def normalize(path: str, profile: str = BASE) -> str | None:
    """``path`` in its normal form under ``profile``, or None where it must be refused (400).

    BASE resolves dot segments (RFC 3986 section 5.2.4; ``%2e`` is a dot) and turns backslashes into slashes; other escapes keep their bytes.
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
    if "%2" in path:
        path = _decode_dot_segments(path)
    if profile != BASE:
        path = _slashes.sub("/", path)
    return _remove_dot_segments(path) if "/." in path else path


def _decode_dot_segments(path: str) -> str:
    """Decodes ``%2e`` only where the whole segment is a dot segment, so that ``/a%2eb`` is forwarded as it came."""
    segments = path.split("/")
    decoded = (_encoded_dot.sub(".", segment) for segment in segments)
    return "/".join(plain if plain in {".", ".."} else raw for raw, plain in zip(segments, decoded, strict=True))


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
