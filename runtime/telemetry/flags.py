"""Envoy's response flags, and the one table from a failure to what the downstream gets and the log says.

Flags, details and bodies are Envoy's observable facts: operators grep for them and dashboards are built on them.
"""

from __future__ import annotations

from enum import Enum

from snapshot.decision import LocalReply

FLAGS: dict[str, str] = {
    "UH": "no healthy upstream endpoint in the cluster",
    "UF": "the connection to the upstream failed",
    "UO": "the upstream's limits are reached (circuit breaking)",
    "NR": "no route, or no filter chain, fits",
    "URX": "the retry limit or the limit of connection attempts was reached",
    "NC": "the route's cluster is not in the snapshot",
    "UC": "the upstream ended the connection",
    "UR": "the upstream reset the stream",
    "LR": "the proxy reset the stream",
    "UT": "the upstream request timed out",
    "UPE": "the upstream broke the protocol",
    "DC": "the downstream ended the connection",
    "DR": "the downstream reset the stream",
    "DPE": "the downstream broke the protocol",
    "DT": "the request or the connection lasted longer than it may",
    "SI": "the stream was idle for longer than it may",
    "LH": "the local health check failed",
    "RL": "the request was refused by a rate limit",
    "UAEX": "the request was refused by an external authorization service",
    "RLSE": "the rate limit service failed",
    "DI": "a delay was injected",
    "FI": "an abort was injected",
    "IH": "a strictly checked header had an invalid value",
    "OM": "the proxy shed the request because it is overloaded",
    "DO": "the request was dropped by the cluster's drop share",
    "UMSDR": "the upstream's maximum stream duration was reached",
    "DF": "the upstream's name did not resolve",
}
"""Every flag that weft may write, with its meaning. Several are joined by commas in the order in which they arose; ``-`` is none."""

_RESET = b"upstream connect error or disconnect/reset before headers. reset reason: "


class Failure(Enum):
    """Why an exchange failed. The value is the label of metrics; closed, so that alerts can name it."""

    NO_ROUTE = "no_route"
    NO_CLUSTER = "no_cluster"
    NO_HEALTHY_UPSTREAM = "no_healthy_upstream"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    UPSTREAM_TLS = "upstream_tls"
    UPSTREAM_IDENTITY = "upstream_identity"
    NAME_UNRESOLVED = "name_unresolved"
    OVERFLOW = "overflow"
    RETRIES_EXHAUSTED = "retries_exhausted"
    UPSTREAM_CLOSED = "upstream_closed"
    UPSTREAM_RESET = "upstream_reset"
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_PROTOCOL = "upstream_protocol"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    PER_TRY_TIMEOUT = "per_try_timeout"
    STREAM_IDLE = "stream_idle"
    REQUEST_DURATION = "request_duration"
    DOWNSTREAM_CLOSED = "downstream_closed"
    DOWNSTREAM_PROTOCOL = "downstream_protocol"
    DOWNSTREAM_RESET = "downstream_reset"
    HEAD_TOO_LARGE = "head_too_large"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TOO_LARGE = "body_too_large"
    VERSION_UNSUPPORTED = "version_unsupported"
    TRANSFER_CODING_UNSUPPORTED = "transfer_coding_unsupported"
    EXPECTATION_UNSUPPORTED = "expectation_unsupported"
    PATH_REFUSED = "path_refused"
    RBAC_DENIED = "rbac_denied"
    TOKEN_REFUSED = "token_refused"  # noqa: S105  a reason, not a secret
    EXTERNAL_DENIED = "external_denied"
    RATE_LIMITED = "rate_limited"
    FAULT_ABORT = "fault_abort"
    OVERLOADED = "overloaded"
    POLICY_CHANGED = "policy_changed"
    BUG = "bug"


def _reset(status: int, reason: str, flag: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> LocalReply:
    details = "upstream_reset_before_response_started{" + reason.replace(" ", "_") + "}"
    return LocalReply(status, headers, _RESET + reason.encode(), flag, details, 14)


REPLIES: dict[Failure, LocalReply] = {
    Failure.NO_ROUTE: LocalReply(404, flag="NR", details="route_not_found", grpc_status=12),
    Failure.NO_CLUSTER: LocalReply(503, flag="NC", details="cluster_not_found", grpc_status=14),
    Failure.NO_HEALTHY_UPSTREAM: LocalReply(
        503, body=b"no healthy upstream", flag="UH", details="no_healthy_upstream", grpc_status=14
    ),
    Failure.CONNECT_FAILED: _reset(503, "remote connection failure", "UF"),
    Failure.CONNECT_TIMEOUT: _reset(503, "connection timeout", "UF"),
    Failure.UPSTREAM_TLS: _reset(503, "remote connection failure", "UF"),
    Failure.UPSTREAM_IDENTITY: _reset(503, "remote connection failure", "UF"),
    Failure.NAME_UNRESOLVED: LocalReply(
        503, body=b"no healthy upstream", flag="UH,DF", details="no_healthy_upstream", grpc_status=14
    ),
    Failure.OVERFLOW: _reset(503, "overflow", "UO", headers=((b"x-envoy-overloaded", b"true"),)),
    Failure.RETRIES_EXHAUSTED: _reset(503, "connection termination", "URX"),
    Failure.UPSTREAM_CLOSED: _reset(503, "connection termination", "UC"),
    Failure.UPSTREAM_RESET: _reset(503, "remote reset", "UR"),
    Failure.UPSTREAM_REFUSED: _reset(503, "remote refused stream reset", "UR"),
    Failure.UPSTREAM_PROTOCOL: _reset(502, "protocol error", "UPE"),
    Failure.UPSTREAM_TIMEOUT: LocalReply(
        504, body=b"upstream request timeout", flag="UT", details="response_timeout", grpc_status=14
    ),
    Failure.PER_TRY_TIMEOUT: LocalReply(
        504, body=b"upstream request timeout", flag="UT", details="upstream_per_try_timeout", grpc_status=14
    ),
    Failure.STREAM_IDLE: LocalReply(
        504, body=b"stream timeout", flag="SI", details="stream_idle_timeout", grpc_status=14
    ),
    Failure.REQUEST_DURATION: LocalReply(
        408, body=b"request timeout", flag="DT", details="request_overall_timeout", grpc_status=14
    ),
    Failure.DOWNSTREAM_CLOSED: LocalReply(0, flag="DC", details="downstream_remote_disconnect"),
    Failure.DOWNSTREAM_RESET: LocalReply(0, flag="DR", details="http2.remote_reset"),
    Failure.DOWNSTREAM_PROTOCOL: LocalReply(
        400, body=b"Bad Request", flag="DPE", details="http1.codec_error", grpc_status=13
    ),
    Failure.HEAD_TOO_LARGE: LocalReply(
        431, body=b"Request Header Fields Too Large", flag="DPE", details="http1.headers_too_large", grpc_status=13
    ),
    Failure.HEAD_TIMEOUT: LocalReply(
        408, body=b"request timeout", flag="DT", details="request_header_timeout", grpc_status=14
    ),
    Failure.BODY_TOO_LARGE: LocalReply(
        413, body=b"Payload Too Large", details="request_payload_too_large", grpc_status=13
    ),
    Failure.VERSION_UNSUPPORTED: LocalReply(
        505, body=b"HTTP Version Not Supported", flag="DPE", details="http1.codec_error", grpc_status=13
    ),
    Failure.TRANSFER_CODING_UNSUPPORTED: LocalReply(
        501, body=b"Not Implemented", flag="DPE", details="http1.invalid_transfer_encoding", grpc_status=12
    ),
    Failure.EXPECTATION_UNSUPPORTED: LocalReply(
        417, body=b"Expectation Failed", flag="DPE", details="http1.unknown_expectation", grpc_status=13
    ),
    Failure.PATH_REFUSED: LocalReply(400, flag="DPE", details="path_normalization_failed", grpc_status=13),
    Failure.RBAC_DENIED: LocalReply(403, body=b"RBAC: access denied", details="rbac_access_denied", grpc_status=7),
    Failure.TOKEN_REFUSED: LocalReply(401, details="jwt_authn_access_denied", grpc_status=16),
    Failure.EXTERNAL_DENIED: LocalReply(403, flag="UAEX", details="ext_authz_denied", grpc_status=7),
    Failure.RATE_LIMITED: LocalReply(
        429, body=b"local_rate_limited", flag="RL", details="local_rate_limited", grpc_status=14
    ),
    Failure.FAULT_ABORT: LocalReply(
        503, body=b"fault filter abort", flag="FI", details="fault_filter_abort", grpc_status=14
    ),
    Failure.OVERLOADED: LocalReply(503, body=b"overloaded", flag="OM", details="overload", grpc_status=14),
    Failure.POLICY_CHANGED: LocalReply(0, flag="LR", details="policy_changed"),
    Failure.BUG: LocalReply(500, body=b"internal error", details="internal_error", grpc_status=13),
}
"""What the downstream gets. Status 0 means that nobody is left to answer: the line is logged with code 0 and nothing is sent.

A request whose content type is gRPC's gets 200 with ``grpc-status`` instead (-1: by the status, ``grpc_status``)."""

_GRPC_OF_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def grpc_status(reply: LocalReply) -> int:
    """The gRPC status of a local reply: its own, else what gRPC's mapping of HTTP statuses says (2, UNKNOWN, for the rest)."""
    return reply.grpc_status if reply.grpc_status >= 0 else _GRPC_OF_STATUS.get(reply.status, 2)
