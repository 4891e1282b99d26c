"""What a VirtualService does to a request, read into the policies' own types."""

from __future__ import annotations

import base64
import binascii

import msgspec

from compiler.resources.cursor import Cursor
from compiler.resources.matches import per_million, string_match
from policies.match import Exact, Present
from policies.traffic import Cors, DirectResponse, Fault, FaultAbort, FaultDelay, Redirect, Retry

PREFIX_PLACEHOLDER = "%PREFIX()%"
GRPC_STATUSES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""gRPC's status names; their numbers are their positions."""
DEFAULT_RETRY = Retry()
INBOUND_RETRY = Retry(attempts=2, on=("reset-before-request",), statuses=())


class Rewriting(msgspec.Struct, frozen=True):
    """``rewrite`` as written: what its ``uri`` replaces depends on the match of each route."""

    uri: str | None
    authority: str | None
    regex: str | None
    substitution: str


def read_rewriting(rewrite: Cursor | None) -> Rewriting | None:
    """A VirtualService's ``rewrite``."""
    if rewrite is None:
        return None
    regex = rewrite.at("uriRegexRewrite")
    return Rewriting(
        uri=rewrite.text("uri") if rewrite.has("uri") else None,
        authority=rewrite.text("authority") or None,
        regex=regex.text("match") if regex else None,
        substitution=regex.text("rewrite") if regex else "",
    )


def read_redirect(redirect: Cursor | None) -> Redirect | None:
    """A VirtualService's ``redirect``; its authority replaces the host.

    ``derivePort: FROM_REQUEST_PORT`` is the listener's port, which only link knows (``keeps_request_port``); FROM_PROTOCOL_DEFAULT is what
    happens without it.
    """
    if redirect is None:
        return None
    uri = redirect.text("uri") or None
    prefixed = uri is not None and uri.startswith(PREFIX_PLACEHOLDER)
    return Redirect(
        status=redirect.number("redirectCode") or 301,
        scheme=redirect.text("scheme") or None,
        authority=redirect.text("authority") or None,
        port=redirect.number("port") or None,
        path=None if prefixed else uri,
        prefix=uri[len(PREFIX_PLACEHOLDER) :] if prefixed and uri else redirect.text("prefixRewrite") or None,
    )


def keeps_request_port(redirect: Cursor | None) -> bool:
    """Whether a redirect leads to the port that the request came to."""
    return redirect is not None and redirect.text("derivePort") == "FROM_REQUEST_PORT"


def read_direct_response(direct: Cursor | None) -> DirectResponse | None:
    """A VirtualService's ``directResponse``; a body in bytes must be UTF-8 text."""
    if direct is None:
        return None
    body = direct.at("body")
    return DirectResponse(direct.number("status"), _body(body) if body else "")


def _body(body: Cursor) -> str:
    if not body.has("bytes"):
        return body.text("string")
    try:
        return base64.b64decode(body.text("bytes"), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return body.text("bytes")


def read_cors(cors: Cursor | None) -> Cors | None:
    """A VirtualService's ``corsPolicy``; ``allowOrigin`` is the older list of whole origins."""
    if cors is None:
        return None
    older = tuple(Present() if origin == "*" else Exact(origin) for origin in cors.texts("allowOrigin"))
    age_ms = cors.duration_ms("maxAge")
    return Cors(
        origins=tuple(string_match(origin) for origin in cors.each("allowOrigins")) or older,
        methods=",".join(cors.texts("allowMethods")),
        headers=",".join(cors.texts("allowHeaders")),
        expose_headers=",".join(cors.texts("exposeHeaders")),
        max_age_s=-1 if age_ms is None else age_ms // 1000,
        credentials=cors.flag("allowCredentials"),
        forward_unmatched=cors.text("unmatchedPreflights") != "IGNORE",
    )


def read_fault(fault: Cursor | None) -> Fault | None:
    """A VirtualService's ``fault``; a share of 0 injects nothing."""
    if fault is None:
        return None
    delay, abort = fault.at("delay"), fault.at("abort")
    read = Fault(
        delay=FaultDelay(delay.duration_ms("fixedDelay") or 0, per_million(delay)) if delay else None,
        abort=_abort(abort) if abort else None,
    )
    return read if read != Fault() else None


def _abort(abort: Cursor) -> FaultAbort:
    grpc = abort.text("grpcStatus")
    if grpc:
        number = int(grpc) if grpc.isdigit() else GRPC_STATUSES.index(grpc) if grpc in GRPC_STATUSES else 2
        return FaultAbort(status=200, per_million=per_million(abort), grpc_status=number)
    return FaultAbort(status=abort.number("httpStatus", 503), per_million=per_million(abort))


def read_retry(retries: Cursor | None, usual: Retry = DEFAULT_RETRY) -> Retry | None:
    """A VirtualService's ``retries`` over the usual conditions; None where it is not written. Status codes may stand among the conditions."""
    if retries is None:
        return None
    parts = [part.strip() for part in retries.text("retryOn").split(",") if part.strip()]
    statuses = tuple(int(part) for part in parts if part.isdigit())
    conditions = tuple(part for part in parts if not part.isdigit())
    if statuses and "retriable-status-codes" not in conditions:
        conditions = (*conditions, "retriable-status-codes")
    backoff = retries.duration_ms("backoff") or DEFAULT_RETRY.base_backoff_ms
    return Retry(
        attempts=retries.number("attempts"),
        on=conditions or usual.on,
        statuses=statuses or (() if conditions else usual.statuses),
        per_try_timeout_ms=retries.duration_ms("perTryTimeout") or 0,
        base_backoff_ms=backoff,
        max_backoff_ms=10 * backoff,
        same_hosts=retries.has("retryIgnorePreviousHosts") and not retries.flag("retryIgnorePreviousHosts"),
        remote=retries.flag("retryRemoteLocalities"),
    )
