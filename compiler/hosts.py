"""Host names and their patterns: ``a.b``, ``*.b`` (any name below b, at any depth) and ``*``. Names are lower-case here."""

from __future__ import annotations

from compiler.resources.mesh_config import CLUSTER_DOMAIN


def full_host(name: str, namespace: str) -> str:
    """A host as Istio completes it: a name without a dot is a service of the namespace; everything else stays as it is."""
    folded = name.lower()
    return f"{folded}.{namespace}.svc.{CLUSTER_DOMAIN}" if folded and "." not in folded and folded != "*" else folded


def covers(pattern: str, name: str) -> bool:
    """Whether all that ``name`` (itself a name or a pattern) stands for is matched by ``pattern``."""
    if pattern == "*":
        return bool(name)
    if not pattern.startswith("*"):
        return pattern == name
    suffix = pattern[1:]
    stem = name.removeprefix("*")
    return stem.endswith(suffix) and (name.startswith("*") or len(name) > len(suffix))


def overlap(a: str, b: str) -> str | None:
    """The narrower of two hosts or patterns where one covers the other, or None where they have nothing in common."""
    if covers(a, b):
        return b
    return a if covers(b, a) else None


def specificity(pattern: str) -> tuple[bool, int, str]:
    """Sorts patterns from the most specific: exact names, then longer wildcards, then ``*``; equals by name."""
    return pattern.startswith("*"), -len(pattern), pattern


def is_visible(export_to: tuple[str, ...], owner: str, namespace: str) -> bool:
    """Whether ``exportTo`` of a resource in ``owner`` reaches a namespace: ``*`` all, ``.`` the owner's own, or named."""
    return any(scope in ("*", namespace) or (scope == "." and owner == namespace) for scope in export_to)
