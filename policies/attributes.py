"""The attributes that an authorization condition may name, and how each is read from a request.

An attribute is a function from what was asked to its values: none where it is absent, several where it is repeated (each value and
the joined one count: security.md), and None where the bytes cannot be read as text, which no policy may take for a mismatch.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from policies.head import Peer, Principal, RequestHead, TokenIdentity


class Asked(msgspec.Struct, frozen=True, gc=False):
    """One request (or, without ``head``, one connection) as authorization sees it. ``edge`` says that forwarding headers are not trusted."""

    head: RequestHead | None
    peer: Peer
    principal: Principal
    edge: bool = False


Values = list[str] | None
Attribute = Callable[[Asked], Values]

CONNECTION_ATTRIBUTES = frozenset(
    {
        "source.principal",
        "source.namespace",
        "source.serviceAccount",
        "source.trustDomain",
        "source.ip",
        "remote.ip",
        "destination.ip",
        "destination.port",
        "connection.sni",
    }
)
"""Those that a TCP connection has too; all others are HTTP's."""

IDENTITY_ATTRIBUTES = frozenset({"source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain"})
PATH_ATTRIBUTES = frozenset({"request.method", "request.path", "request.host"})
IP_ATTRIBUTES = frozenset({"source.ip", "remote.ip", "destination.ip"})


def identity_parts(identity: str) -> tuple[str, str, str]:
    """Trust domain, namespace and service account of ``spiffe://td/ns/<ns>/sa/<sa>``; empty strings where it has another form."""
    parts = identity.split("/")
    if len(parts) == 7 and parts[0] == "spiffe:" and parts[3] == "ns" and parts[5] == "sa":
        return parts[2], parts[4], parts[6]
    return "", "", ""


def remote_ip(asked: Asked) -> str:
    """The client's address: at the edge the connection's, inside the mesh the last hop that a gateway wrote to x-forwarded-for."""
    if asked.edge or asked.head is None:
        return asked.peer.source_ip
    forwarded = asked.head.values(b"x-forwarded-for")
    if not forwarded:
        return asked.peer.source_ip
    return forwarded[-1].rpartition(b",")[2].strip().decode("ascii", "replace")


def attribute(key: str) -> Attribute | None:
    """The reader of one attribute by its key in Istio's condition table, or None where there is no such attribute."""
    simple = _SIMPLE.get(key)
    if simple is not None:
        return simple
    if key.startswith("experimental.envoy.filters."):
        return _absent
    name, bracket, rest = key.partition("[")
    if not bracket or not rest.endswith("]"):
        return None
    if name == "request.headers":
        return _header(rest[:-1].lower().encode())
    if name == "request.auth.claims":
        return _claim(tuple(rest[:-1].split("][")))
    return None


def _absent(_asked: Asked) -> Values:
    """Metadata of filters that weft does not have is never there; the compiler warns of every use."""
    return []


def _present(value: str) -> list[str]:
    return [value] if value else []


def _hosts(asked: Asked) -> Values:
    if asked.head is None:
        return []
    authority = asked.head.authority.lower()
    return [authority] if authority == asked.head.host else [authority, asked.head.host]


def _service_account(asked: Asked) -> Values:
    _, namespace, account = identity_parts(asked.peer.identity)
    return [f"{namespace}/{account}"] if account else []


def _header(name: bytes) -> Attribute:
    def read(asked: Asked) -> Values:
        if asked.head is None:
            return []
        values = asked.head.values(name)
        try:
            texts = [value.decode() for value in values]
        except UnicodeDecodeError:
            return None
        return [*texts, ",".join(texts)] if len(texts) > 1 else texts

    return read


def claim_values(token: TokenIdentity | None, path: tuple[str, ...]) -> list[str]:
    """The texts of one claim of a token, by the steps that lead to it: one, those of a list, or none."""
    value: object = token.claims if token else None
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _claim(path: tuple[str, ...]) -> Attribute:
    return lambda asked: claim_values(asked.principal.token, path)


def _request_principal(asked: Asked) -> Values:
    token = asked.principal.token
    return [f"{token.issuer}/{token.subject}"] if token and token.issuer and token.subject else []


def _presenter(asked: Asked) -> Values:
    presenter = asked.principal.token.claims.get("azp") if asked.principal.token else None
    return [presenter] if isinstance(presenter, str) else []


_SIMPLE: dict[str, Attribute] = {
    "source.principal": lambda asked: _present(asked.peer.identity.removeprefix("spiffe://")),
    "source.namespace": lambda asked: _present(identity_parts(asked.peer.identity)[1]),
    "source.serviceAccount": _service_account,
    "source.trustDomain": lambda asked: _present(identity_parts(asked.peer.identity)[0]),
    "source.ip": lambda asked: _present(asked.peer.direct_ip or asked.peer.source_ip),
    "remote.ip": lambda asked: _present(remote_ip(asked)),
    "destination.ip": lambda asked: _present(asked.peer.destination_ip),
    "destination.port": lambda asked: [str(asked.peer.destination_port)],
    "connection.sni": lambda asked: _present(asked.peer.server_name),
    "request.host": _hosts,
    "request.method": lambda asked: [asked.head.method] if asked.head else [],
    "request.path": lambda asked: [asked.head.path] if asked.head else [],
    "request.auth.principal": _request_principal,
    "request.auth.audiences": lambda asked: list(asked.principal.token.audiences) if asked.principal.token else [],
    "request.auth.presenter": _presenter,
}
