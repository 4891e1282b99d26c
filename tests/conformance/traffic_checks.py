"""The assertions of Istio's traffic cases, by their names there: ``check(tree, replies)`` says what does not hold, or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.conformance.traffic_calls import Reply

Check = Callable[[list[Reply]], str | None]
_GRPC = {"codes.Unavailable": 14}


def check(tree: Any, replies: list[Reply], closure: Check | None) -> str | None:
    """What of a check does not hold; ``closure`` stands for the parts that are code in Istio's own test."""
    kind = tree.get("$check", "") if isinstance(tree, dict) else ""
    arguments = tree.get("args", []) if isinstance(tree, dict) else []
    if closure is not None and kind == "Error":
        return closure(replies)
    match kind:
        case "And":
            return next((why for part in arguments if (why := check(part, replies, closure))), None)
        case "Each" | "":
            if closure is None:
                return "a check that is code is not known here"
            return closure(replies)
        case "Error":
            return None if all(_failed(reply) for reply in replies) else f"no error: {_shown(replies)}"
        case "GRPCStatus":
            return _each(replies, lambda reply: reply.grpc_status, _GRPC[arguments[0]["$expr"]], kind)
    if any(reply.error for reply in replies):
        return f"error: {_shown(replies)}"
    return _plain(kind, arguments, replies)


def _plain(kind: str, arguments: list[Any], replies: list[Reply]) -> str | None:
    match kind:
        case "OK":
            return _each(replies, lambda reply: reply.status, 200, kind)
        case "Status":
            return _each(replies, lambda reply: reply.status, arguments[0], kind)
        case "Host":
            return _each(replies, lambda reply: reply.seen.get("host"), arguments[0], kind)
        case "URL":
            return _each(replies, lambda reply: reply.seen.get("path"), arguments[0], kind)
        case "Protocol":
            return _each(replies, lambda reply: reply.seen.get("protocol"), arguments[0], kind)
        case "RequestHeader":
            return _request(replies, {arguments[0]: arguments[1]})
        case "RequestHeaders":
            return _request(replies, arguments[0])
        case "ResponseHeader":
            return _response(replies, {arguments[0]: arguments[1]})
        case "ResponseHeaders":
            return _response(replies, arguments[0])
        case "MTLSForHTTP":
            # As in Istio: a request that came by mutual TLS has this header, and what a proxy cannot read is not asked.
            seen = [reply.seen for reply in replies if "headers" in reply.seen and not reply.tls]
            return None if all("x-forwarded-client-cert" in one["headers"] for one in seen) else "no mutual TLS"
    raise ValueError(f"no check {kind}")


def _each(replies: list[Reply], read: Callable[[Reply], Any], wanted: Any, kind: str) -> str | None:
    wrong = [read(reply) for reply in replies if read(reply) != wanted]
    return f"{kind} is {wrong[0]!r}, wanted {wanted!r}: {_shown(replies)}" if wrong else None


def _request(replies: list[Reply], wanted: dict[str, str]) -> str | None:
    for name, value in wanted.items():
        low = name.lower()
        found = _each(replies, lambda reply, low=low: ",".join(reply.seen["headers"].get(low, [])), value, name)  # type: ignore[misc]
        if found:
            return f"request header {found}"
    return None


def _response(replies: list[Reply], wanted: dict[str, str]) -> str | None:
    for name, value in wanted.items():
        low = name.lower()
        found = _each(replies, lambda reply, low=low: reply.headers.get(low, ""), value, name)  # type: ignore[misc]
        if found:
            return f"response header {found}"
    return None


def _failed(reply: Reply) -> bool:
    return bool(reply.error) or reply.status != 200


def _shown(replies: list[Reply]) -> str:
    return f"{replies[0].status} {replies[0].error or replies[0].text}"[:160]
