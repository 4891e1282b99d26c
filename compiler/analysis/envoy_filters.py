"""EnvoyFilters whose patches depend on order or have no effect. None of them is carried; this helps who moves to what is."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor
from compiler.resources.written import Written

_ROUTES = ("ROUTE_CONFIGURATION", "HTTP_ROUTE")
_FILTERS = ("NETWORK_FILTER", "HTTP_FILTER")


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0151 to IST0155 at the patch."""
    versioned: set[str] = set()
    for item in mesh.written("EnvoyFilter"):
        for entry in item.spec.each("configPatches"):
            patch = entry.at("patch")
            if patch is None:
                break
            name = _name(entry, patch)
            found = _finding(item, entry, patch.text("operation"), seen=name in versioned)
            if found is not None:
                yield found
            match = entry.at("match")
            proxy = match.at("proxy") if match else None
            if proxy is not None and proxy.text("proxyVersion"):
                versioned.add(name)


def _finding(item: Written, entry: Cursor, operation: str, *, seen: bool) -> Diagnostic | None:
    code, message = _judged(operation, entry.text("applyTo"))
    if code == "IST0151":
        if item.spec.number("priority"):
            return None
        if seen:
            code, message = "IST0155", f"{operation} depends on a patch that holds for some proxy versions only"
    return diagnostic(code, message, entry.span, resource=item.meta.id) if code else None


def _judged(operation: str, applied_to: str) -> tuple[str, str]:
    match operation:
        case "ADD" if applied_to in _ROUTES:
            return "IST0153", f"ADD has no effect on {applied_to}"
        case "REMOVE" if applied_to in _ROUTES:
            return "IST0154", f"REMOVE has no effect on {applied_to}"
        case "REPLACE" if applied_to not in _FILTERS:
            return "IST0152", f"REPLACE has no effect on {applied_to or 'this'}"
        case "REMOVE" | "REPLACE" | "INSERT_BEFORE" | "INSERT_AFTER":
            return "IST0151", f"{operation} depends on what other filters did before"
        case _:
            return "", ""


def _name(entry: Cursor, patch: Cursor) -> str:
    """The filter that a patch is about: by its value's name, else by the filter that it matches."""
    value = patch.at("value")
    if value is None:
        return ""
    if value.has("name"):
        return value.text("name")
    node: Cursor | None = entry
    for step in ("match", "listener", "filterChain", "filter"):
        node = node.at(step) if node else None
    return node.text("name") if node else ""
