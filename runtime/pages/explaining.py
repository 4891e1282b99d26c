"""``/explain``: what the serving slice decides about one request that is described in the query, and everything that was considered.

The query: ``listener`` and ``chain`` (names; the only ones need not be said), ``method``, ``authority``, ``path``, ``identity`` (a SPIFFE ID),
``source_ip``, ``scheme``, ``header.NAME``, and ``claims`` (a JSON object: who the request's token is from, as if it had been checked). A token in a
header is checked as the proxy would. Nothing is sent anywhere. It calls the proxy's own ``decide``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from policies.head import Peer, Principal, RequestHead, TokenIdentity
from policies.path import normalize
from policies.source import SourceRef
from runtime.token_keys import TokenKeys
from snapshot.authenticate import admitted, authenticate
from snapshot.considerations import considerations
from snapshot.decide import decide
from snapshot.decision import Decision
from snapshot.decoding import json_decoder
from snapshot.index import Slice
from snapshot.live import FetchedKeys
from snapshot.prepared import PreparedChain, PreparedSlice, prepare
from snapshot.section import HttpChain

Claims = dict[str, object]


class ExplainError(Exception):
    """The query does not describe a request; the message says what is missing, and what there is."""


def explain(slice_: Slice, query: Mapping[str, str], keys: Sequence[FetchedKeys] = ()) -> dict[str, Any]:
    """The decision, its sources with their positions, and every rule and route that was asked; raises ExplainError.

    ``keys`` are those that tokens are checked by. Prepares the slice: callers run it in a thread.
    """
    prepared = prepare(slice_)
    chain = _chain(prepared, query)
    head = _head(prepared, query)
    peer = Peer(
        source_ip=query.get("source_ip", "127.0.0.1"),
        source_port=0,
        destination_ip="127.0.0.1",
        destination_port=getattr(chain.listener.bind, "port", 0),
        identity=query.get("identity", ""),
    )
    principal = _principal(chain, head, peer, query, keys)
    head = admitted(chain, head, principal)
    decision = decide(prepared, chain, head, peer, principal)
    return {
        "snapshot": prepared.snapshot,
        "listener": chain.listener.name,
        "chain": chain.chain.name,
        "decision": _decision(prepared, decision),
        "considered": [
            {
                "kind": one.kind,
                **_place(prepared, one.source),
                "matched": one.matched,
                "missing": list(one.missing),
            }
            for one in considerations(prepared, chain, head, peer, principal)
        ],
    }


def _principal(
    chain: PreparedChain, head: RequestHead, peer: Peer, query: Mapping[str, str], keys: Sequence[FetchedKeys]
) -> Principal:
    """Who the request is from: by the claims of the query, else by its token."""
    written = query.get("claims")
    if written is None:
        held = TokenKeys()
        held.fill(keys)
        return authenticate(chain, head, peer, held, time.time())
    try:
        claims = json_decoder(Claims).decode(written)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExplainError(f"claims={written!r} is no JSON object: {error}") from None
    issuer, subject = (value if isinstance(value := claims.get(name), str) else "" for name in ("iss", "sub"))
    audience = claims.get("aud", [])
    audiences = [one for one in (audience if isinstance(audience, list) else [audience]) if isinstance(one, str)]
    return Principal(peer.identity, TokenIdentity(issuer, subject, tuple(audiences), claims))


def _chain(prepared: PreparedSlice, query: Mapping[str, str]) -> PreparedChain:
    wanted = {"listener": query.get("listener", ""), "chain": query.get("chain", "")}
    found = [
        chain
        for (listener, name), chain in prepared.chains.items()
        if isinstance(chain.chain.network, HttpChain)
        and wanted["listener"] in ("", listener)
        and wanted["chain"] in ("", name)
    ]
    listeners = {chain.listener.name for chain in found}
    if len(listeners) == 1 and found:
        # Of one listener's chains the first is taken: they differ in how the connection came, seldom in what they decide.
        return found[0]
    names = ", ".join(sorted({listener for listener, _ in prepared.chains})) or "none"
    raise ExplainError(f"say listener=NAME; there are: {names}")


def _head(prepared: PreparedSlice, query: Mapping[str, str]) -> RequestHead:
    target = query.get("path", "/")
    raw, mark, rest = target.partition("?")
    path = normalize(raw, prepared.proxy.path_normalization)
    if path is None:
        raise ExplainError(f"path {raw!r} is refused: the proxy answers 400")
    authority = query.get("authority", "")
    if not authority:
        raise ExplainError("say authority=HOST, and path=, method=, header.NAME= where they matter")
    headers = [
        (name.removeprefix("header.").lower().encode(), value.encode())
        for name, value in query.items()
        if name.startswith("header.")
    ]
    return RequestHead(
        query.get("method", "GET"),
        query.get("scheme", "http"),
        authority,
        _host(authority),
        path,
        rest if mark else None,
        headers,
    )


def _host(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    return (host if colon and port.isdigit() else authority).lower().rstrip(".")


def _decision(prepared: PreparedSlice, decision: Decision) -> dict[str, Any]:
    reply = decision.reply
    limits = [_place(prepared, one.limit.source) for one in decision.limits]
    shown: dict[str, Any] = {
        "route": decision.route_name,
        "virtual_host": decision.virtual_host,
        "sources": [_place(prepared, source) for source in decision.sources],
        **({"limits": limits} if limits else {}),
    }
    if reply is not None:
        shown["reply"] = {"status": reply.status, "flag": reply.flag, "details": reply.details}
        return shown
    shown["destinations"] = [{"cluster": one.cluster, "weight": one.weight} for one in decision.destinations]
    for name in ("path", "authority", "timeout_ms"):
        if getattr(decision, name):
            shown[name] = getattr(decision, name)
    if decision.retry is not None:
        shown["retry"] = msgspec.to_builtins(decision.retry)
    if decision.fault is not None:
        shown["fault"] = msgspec.to_builtins(decision.fault)
    return shown


def _place(prepared: PreparedSlice, source: SourceRef) -> dict[str, Any]:
    position = prepared.position(source)
    return {"source": str(source), "position": str(position) if position is not None else None}
