"""Local rate limits in Envoy's words: a filter per limit in every chain that has routes under it.

The filter stands behind the fault filter, as our own data plane asks limits after faults. It holds the bucket, so all routes under one limit
share it; a route says by its metadata which limits count it. What no action of Envoy's reads (an identity, a path without its query) is read
by an expression. Envoy's bucket is one process's, whatever its threads, but each chain has its own (docs/reference/envoy-differences.md).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator

from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.rate_limit_descriptors.expr.v3 import expr_pb2
from envoy.type.metadata.v3 import metadata_pb2
from envoy.type.v3 import http_status_pb2, percent_pb2, token_bucket_pb2

from policies.limits import LimitKey, RateLimit
from policies.match import Exact, PathExact, PathMatch, PathPrefix, PathRegex, Prefix, Regex, StringMatch
from runtime.envoy.failure import TranslationError
from runtime.envoy.matches import header
from runtime.envoy.messages import Message, extension, header_matcher, milliseconds, string_matcher
from snapshot.prepared import PreparedSlice
from snapshot.section import HttpChain

TYPE = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
METADATA = "weft.ratelimit"
MIN_INTERVAL_MS = 50
"""Envoy takes no shorter interval; a longer one with as many more tokens is the same rate."""

_Action = route_components_pb2.RateLimit.Action
_EXPRESSION = "envoy.rate_limit_descriptors.expr"
_IDENTITY, _PATH = "connection.uri_san_peer_certificate", "request.url_path"
_LIMIT, _MATCH, _YES = "limit", "match", "yes"


def limits_of(prepared: PreparedSlice, network: HttpChain) -> list[RateLimit]:
    """The limits of all routes that a chain can lead to, in the order in which they are asked."""
    tables = [prepared.tables[network.routes]] if network.routes else []
    if network.proxy and tables:
        tables += prepared.tables_of(tables[0].section.group).values()
    found: dict[RateLimit, None] = {}
    for table in tables:
        hosts = [*table.exact.values(), *table.suffixes.values(), *([table.fallback] if table.fallback else [])]
        for host in hosts:
            for route in host.routes.values():
                found.update(dict.fromkeys(route.route.limits))
    return sorted(found, key=lambda limit: limit.order)


def route_metadata(limits: Iterable[RateLimit]) -> Message:
    """What a route says of itself: which limits count it."""
    made = base_pb2.Metadata()
    for limit in limits:
        made.filter_metadata[METADATA][name_of(limit)] = name_of(limit)
    return made


def name_of(limit: RateLimit) -> str:
    """How a limit is called: by its place in Git."""
    return str(limit.source)


def filters(prepared: PreparedSlice, network: HttpChain, suffix: str) -> dict[str, Message]:
    """A chain's filters by name; ``suffix`` tells chains apart. Raises TranslationError."""
    return {f"ratelimit.{name_of(limit)}|{suffix}": _filter(limit) for limit in limits_of(prepared, network)}


def _filter(limit: RateLimit) -> Message:
    entry = ratelimit_pb2.RateLimitDescriptor.Entry
    entries = [entry(key=_LIMIT, value=name_of(limit))]
    actions = [_route_action(limit)]
    for name, value, action in _conditions(limit):
        entries.append(entry(key=name, value=value))
        actions.append(action)
    for key in limit.by:
        # An entry without a value stands for any, each with a bucket of its own.
        entries.append(entry(key=_key(key)))
        actions.append(_reading(key))
    factor = math.ceil(MIN_INTERVAL_MS / limit.interval_ms)
    bucket = token_bucket_pb2.TokenBucket(
        max_tokens=limit.burst,
        tokens_per_fill={"value": limit.requests * factor},
        fill_interval=milliseconds(limit.interval_ms * factor),
    )
    always = base_pb2.RuntimeFractionalPercent(default_value=percent_pb2.FractionalPercent(numerator=100))
    kind = base_pb2.HeaderValueOption
    retry_after = kind(
        header=base_pb2.HeaderValue(key="retry-after", value=str(limit.retry_after_s)),
        append_action=kind.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return local_rate_limit_pb2.LocalRateLimit(
        stat_prefix=name_of(limit),
        status=http_status_pb2.HttpStatus(code=limit.status),
        descriptors=[ratelimit_pb2.LocalRateLimitDescriptor(entries=entries, token_bucket=bucket)],
        rate_limits=[route_components_pb2.RateLimit(actions=actions)],
        filter_enabled=always,
        filter_enforced=always,
        response_headers_to_add=[retry_after],
        enable_x_ratelimit_headers=1 if limit.headers else 0,
        max_dynamic_descriptors={"value": limit.max_keys},
    )


def _route_action(limit: RateLimit) -> Message:
    segment = metadata_pb2.MetadataKey.PathSegment(key=name_of(limit))
    action = _Action.MetaData(
        descriptor_key=_LIMIT,
        metadata_key=metadata_pb2.MetadataKey(key=METADATA, path=[segment]),
        source=_Action.MetaData.ROUTE_ENTRY,
    )
    return _Action(metadata=action)


# --- which requests count ----------------------------------------------------------------------------------------------------


def _conditions(limit: RateLimit) -> Iterator[tuple[str, str, Message]]:
    """What a request must fulfil, each as an entry of the descriptor and the action that makes it."""
    match = limit.match
    headers = [header(one) for one in match.headers]
    if match.method is not None:
        headers.append(header_matcher(":method", string_matcher(match.method)))
    if match.path is not None:
        headers.append(header_matcher(":path", _path(match.path)))
    if headers:
        asked = _Action.HeaderValueMatch(descriptor_key=_MATCH, descriptor_value=_YES, headers=headers)
        yield _MATCH, _YES, _Action(header_value_match=asked)
    if limit.identity is not None:
        text = f'{_compared(_IDENTITY, limit.identity)} ? "{_YES}" : "no"'
        yield "from", _YES, _expression("from", text)


def _path(match: PathMatch) -> Message:
    """A path in Envoy's ``:path``, which has the query, too."""
    query = r"(\?.*)?"
    match match:
        case PathPrefix(value):
            return string_matcher(Prefix(value))
        case PathExact(value):
            return string_matcher(Regex(f"{re.escape(value)}{query}"))
        case PathRegex(pattern):
            return string_matcher(Regex(f"(?:{pattern}){query}"))
        case _:
            raise TranslationError("a rate limit by whole segments of the path has no form in Envoy")


def _compared(what: str, match: StringMatch) -> str:
    match match:
        case Exact(value):
            return f"{what} == {json.dumps(value)}"
        case Prefix(value):
            return f"{what}.startsWith({json.dumps(value)})"
        case Regex(pattern):
            return f"{what}.matches({json.dumps(f'^(?:{pattern})$')})"
        case _:
            return f'{what} != ""'


# --- whose bucket ------------------------------------------------------------------------------------------------------------


def _key(key: LimitKey) -> str:
    if key.on == "source":
        return "remote_address"  # Envoy names this entry itself.
    return f"{key.on}:{key.name}" if key.name else key.on


def _reading(key: LimitKey) -> Message:
    match key.on:
        case "identity":
            return _expression(_key(key), _IDENTITY)
        case "path":
            return _expression(_key(key), _PATH)
        case "source":
            return _Action(remote_address=_Action.RemoteAddress())
        case "method":
            return _Action(request_headers=_Action.RequestHeaders(header_name=":method", descriptor_key=_key(key)))
        case _:
            return _Action(request_headers=_Action.RequestHeaders(header_name=key.name, descriptor_key=_key(key)))


def _expression(key: str, text: str) -> Message:
    descriptor = expr_pb2.Descriptor(descriptor_key=key, text=text)
    return _Action(extension=extension(extension_pb2.TypedExtensionConfig, _EXPRESSION, descriptor))
