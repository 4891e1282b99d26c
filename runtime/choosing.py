"""Which filter chain a connection takes: pure, so that the order of fit can be tested by a table."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.http1.grammar import METHODS
from runtime.tls.contexts import MESH_ALPN
from runtime.tls.hello import Hello
from snapshot.section import FilterChain, HttpChain, MeshTls

_STARTS = frozenset((method + b" ")[:4] for method in {*METHODS, b"PRI"})
_HTTP_ALPN = frozenset({"istio-h2", "istio-http/1.1", "istio-http/1.0", "h2", "http/1.1", "http/1.0"})
_TCP_ALPN = frozenset({"istio-peer-exchange", "istio"})


def choose_tls(chains: Sequence[FilterChain], hello: Hello, first: bytes = b"") -> FilterChain | None:
    """The chain for a ClientHello: by server name (exact, longest wildcard, none), and among those that fit equally a mesh chain where
    the client speaks the mesh's protocols, any other where it does not.

    Of an HTTP and a TCP chain behind the same TLS the client's protocols choose, the first that says it; where none does, ``first``, what
    the client said inside the TLS, and until it has said something the HTTP chain.
    """
    equal = _equal(chains, hello)
    if len(equal) < 2:
        return equal[0] if equal else None
    http = _says_http(hello)
    if http is None:
        http = not first or _looks_like_http(first)
    return next((chain for chain in equal if isinstance(chain.network, HttpChain) == http), equal[0])


def is_undecided(chains: Sequence[FilterChain], hello: Hello) -> bool:
    """Whether only what a client says inside its TLS can tell whether it takes an HTTP chain or a TCP chain."""
    kinds = {type(chain.network) for chain in _equal(chains, hello)}
    return len(kinds) > 1 and _says_http(hello) is None


def _equal(chains: Sequence[FilterChain], hello: Hello) -> list[FilterChain]:
    """The chains that fit a hello best and share the TLS of the first of them."""
    from_mesh = not MESH_ALPN.isdisjoint(hello.alpn)
    candidates = [
        chain for chain in chains if (chain.tls is not None or chain.passthrough) and (from_mesh or not chain.from_mesh)
    ]
    best = max((_fit(chain, hello.server_name) for chain in candidates), default=-1)
    if best < 0:
        return []
    equal = [chain for chain in candidates if _fit(chain, hello.server_name) == best]
    first = next((chain for chain in equal if isinstance(chain.tls, MeshTls) == from_mesh), equal[0])
    return [chain for chain in equal if (chain.tls, chain.passthrough) == (first.tls, first.passthrough)]


def _says_http(hello: Hello) -> bool | None:
    """What the client's protocols say, in its own order: HTTP, TCP, or nothing."""
    for name in hello.alpn:
        if name in _HTTP_ALPN or name in _TCP_ALPN:
            return name in _HTTP_ALPN
    return None


def _looks_like_http(first: bytes) -> bool:
    return first[:4] in _STARTS


def _fit(chain: FilterChain, server_name: str) -> int:
    """How well a chain's server names fit, larger is better; -1 does not fit. A chain that names none fits all, least."""
    if not chain.server_names:
        return 0
    if server_name in chain.server_names:
        return 1_000_000
    return max(
        (
            len(name)
            for name in chain.server_names
            if name == "*" or (name.startswith("*.") and server_name.endswith(name[1:]) and server_name != name[1:])
        ),
        default=-1,
    )


def choose_plain(chains: Sequence[FilterChain], first: bytes) -> FilterChain | None:
    """The chain for a connection that is not TLS; where both an HTTP and a TCP chain are there, the first bytes tell."""
    candidates = [chain for chain in chains if chain.tls is None and not chain.passthrough]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    http = _looks_like_http(first)
    for chain in candidates:
        if isinstance(chain.network, HttpChain) == http:
            return chain
    return candidates[0]


def same_binding(old: FilterChain, new: FilterChain) -> bool:
    """True where a connection that was made under ``old`` behaves the same under ``new``: TLS and protocol are bound per connection, the
    rest (routes, policies) per request."""
    if old.tls != new.tls or old.passthrough != new.passthrough or type(old.network) is not type(new.network):
        return False
    if isinstance(old.network, HttpChain) and isinstance(new.network, HttpChain):
        return old.network.proxy == new.network.proxy and old.network.edge == new.network.edge
    return old.network == new.network
