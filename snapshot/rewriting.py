"""What a route makes of a request's path and authority: rewrites, and where a redirect points. Pure text."""

from __future__ import annotations

from policies.head import RequestHead
from policies.match import PathMatch, PathPrefix, PathSegments
from policies.matching import compile_pattern
from policies.traffic import Redirect, Rewrite

_DEFAULT_PORTS = {"http": 80, "https": 443}


def rewritten_path(rewrite: Rewrite, match: PathMatch | None, path: str) -> str | None:
    """The forwarded path without its query, or None where the rewrite leaves it alone."""
    if rewrite.path is not None:
        return rewrite.path
    if rewrite.prefix is not None:
        return replaced_prefix(match, path, rewrite.prefix)
    if rewrite.regex is not None:
        replaced: str = compile_pattern(rewrite.regex).sub(rewrite.substitution, path)
        return replaced
    return None


def replaced_prefix(match: PathMatch | None, path: str, prefix: str) -> str:
    """``path`` with what ``match`` matched replaced. Whole segments keep exactly one slash at the seam (Gateway API's table)."""
    match match:
        case PathSegments(value):
            rest = path[len(value.rstrip("/")) :]
            stem = prefix.rstrip("/")
            return f"{stem}/{rest.lstrip('/')}" if rest else (stem or "/")
        case PathPrefix(value):
            return prefix + path[len(value) :]
        case _:
            return prefix


def redirect_location(redirect: Redirect, match: PathMatch | None, head: RequestHead) -> str:
    """The Location of a redirect (RFC 9110 section 10.2.2); the query is kept unless the new path brings its own."""
    scheme = redirect.scheme or head.scheme
    authority = _authority(redirect, head, scheme)
    if redirect.path is not None:
        path = redirect.path
    elif redirect.prefix is not None:
        path = replaced_prefix(match, head.path, redirect.prefix)
    else:
        path = head.path
    if head.query is not None and "?" not in path:
        path = f"{path}?{head.query}"
    return f"{scheme}://{authority}{path}"


def _authority(redirect: Redirect, head: RequestHead, scheme: str) -> str:
    """The authority of a Location: what the redirect writes, else the request's own with the port as it came.

    A port that is the new scheme's own is never written, only kept where the request says it (Istio). One that was the old scheme's own
    goes with it (Envoy), so http://a:80 becomes https://a.
    """
    default = _DEFAULT_PORTS.get(scheme)
    written = redirect.port if redirect.port != default else None
    if redirect.authority is not None:
        return f"{_split(redirect.authority)[0]}:{written}" if written else redirect.authority
    host, port = _split(head.authority)
    if redirect.port_from_scheme or written == 0 or (scheme != head.scheme and port == _DEFAULT_PORTS.get(head.scheme)):
        port = None
    port = written or port
    return (redirect.host or host) + ("" if port is None else f":{port}")


def _split(authority: str) -> tuple[str, int | None]:
    host, colon, port = authority.rpartition(":")
    if colon and port.isdigit() and not host.endswith(":"):
        return host, int(port)
    return authority, None
