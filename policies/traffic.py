"""What a route does to a request, as data: destinations, edits, faults, time-outs and retries.

Units are in the names. A percentage is in parts per million (Envoy's finest denominator), so that 0.001 % is a whole number.
"""

from __future__ import annotations

import msgspec

from policies.match import StringMatch

PER_MILLION = 1_000_000


class HeaderEdits(msgspec.Struct, frozen=True, omit_defaults=True):
    """Header operations of one level, applied in this order: remove, set (overwrite), add (append). Names are lower-case."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()


NO_EDITS = HeaderEdits()


class Destination(msgspec.Struct, frozen=True, omit_defaults=True):
    """One weighted destination. ``cluster`` names a Cluster section of the same slice.

    An empty ``cluster`` is a reference that did not resolve: its share of requests is answered with ``status`` (Gateway API: 500), or with
    ``redirect``. ``rewrite`` is what this destination alone makes of path and authority; the route's own rewrite wins.
    """

    cluster: str
    weight: int = 1
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS
    status: int = 500
    rewrite: Rewrite | None = None
    redirect: Redirect | None = None


class Rewrite(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the forwarded path and authority differ from the matched ones. At most one of the path forms is set.

    ``prefix`` replaces what the route's prefix matched (VirtualService ``rewrite.uri`` on a prefix match, HTTPRoute ReplacePrefixMatch);
    ``path`` replaces all of it; ``regex`` with ``substitution`` (RE2, ``\\1``) replaces each match.
    """

    prefix: str | None = None
    path: str | None = None
    regex: str | None = None
    substitution: str = ""
    authority: str | None = None


class Redirect(msgspec.Struct, frozen=True, tag="redirect", omit_defaults=True):
    """Answers with a Location. None keeps the request's own part; ``port`` 0 leaves the port out, and one that is the scheme's own is not
    written.

    ``port_from_scheme`` drops the request's port, so that the scheme's own holds (Gateway API's rule).
    """

    status: int = 301
    scheme: str | None = None
    authority: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    prefix: str | None = None
    port_from_scheme: bool = False


class DirectResponse(msgspec.Struct, frozen=True, tag="direct", omit_defaults=True):
    """Answers with a fixed status and body. ``flag`` is the response flag to log, where the reply stands for a failure."""

    status: int
    body: str = ""
    flag: str = ""


class Tunnel(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bytes reach ``authority`` (host and port) through the cluster's endpoints, which are HTTP proxies asked by ``CONNECT``, or by a POST whose
    body and answer are the bytes."""

    authority: str
    method: str = "CONNECT"


class Mirror(msgspec.Struct, frozen=True, omit_defaults=True):
    """A share of requests is sent to ``cluster``, too; what that answers is thrown away."""

    cluster: str
    per_million: int = PER_MILLION


class Forward(msgspec.Struct, frozen=True, tag="forward", omit_defaults=True):
    """Sends the request to one of ``destinations`` by weight. All weights 0, or none, is answered 500 (Gateway API)."""

    destinations: tuple[Destination, ...]
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()


RouteAction = Forward | Redirect | DirectResponse


class FaultDelay(msgspec.Struct, frozen=True):
    """Waits before forwarding, for a share of requests."""

    delay_ms: int
    per_million: int = PER_MILLION


class FaultAbort(msgspec.Struct, frozen=True):
    """Answers instead of forwarding, for a share of requests. ``grpc_status`` is -1 for a plain HTTP abort."""

    status: int
    per_million: int = PER_MILLION
    grpc_status: int = -1


class Cors(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which other origins' scripts may use a route. ``methods``, ``headers`` and ``expose_headers`` are header values ("" says none).

    ``max_age_s`` below 0 is not said. ``forward_unmatched`` forwards preflights of other origins; else they are answered 200, unmarked.
    """

    origins: tuple[StringMatch, ...]
    methods: str = ""
    headers: str = ""
    expose_headers: str = ""
    max_age_s: int = -1
    credentials: bool = False
    forward_unmatched: bool = True


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """Fault injection: delay and abort are drawn independently, the delay first (Envoy's fault filter)."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


class Retry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A retry policy. ``attempts`` counts retries after the first try; 0 disables.

    ``on`` holds Envoy's condition names; ``statuses`` the retriable status codes. ``per_try_timeout_ms`` 0 means the route's.
    ``same_hosts`` lets a retry go where an attempt went before, ``remote`` sends retries to localities of another level first.
    """

    attempts: int = 2
    on: tuple[str, ...] = ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")
    statuses: tuple[int, ...] = (503,)
    per_try_timeout_ms: int = 0
    base_backoff_ms: int = 25
    max_backoff_ms: int = 250
    same_hosts: bool = False
    remote: bool = False
