"""From a route's action to Envoy's: where it goes, what becomes of the path, what answers instead.

A new field of Forward, Redirect, DirectResponse or Retry goes into the function of its type. All raise TranslationError for what Envoy has
no form for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.v3 import percent_pb2

from policies.match import PathExact, PathMatch, PathPrefix, PathSegments
from policies.source import SourceRef
from policies.traffic import Destination, DirectResponse, Forward, Mirror, Redirect, Retry, Rewrite
from runtime.envoy.failure import TranslationError
from runtime.envoy.headers import header_fields
from runtime.envoy.messages import Message, extension, inline, milliseconds, packed, regex
from runtime.envoy.tls import CLIENT_ALPN
from snapshot.section import Route

UNRESOLVED = "weft-unresolved"
"""A cluster that never exists: the share of requests of a reference that did not resolve."""

PROTOCOL = "envoy.filters.http.set_filter_state"

_DEFAULT_PORTS = frozenset({("http", 80), ("https", 443)})
_SCHEMES = {80: "http", 443: "https"}
"""What a port is spoken by where a redirect keeps the request's scheme."""
_REDIRECT_CODES = {301: 0, 302: 1, 303: 2, 307: 3, 308: 4}
_MISSING_CODES = {503: 0, 404: 1, 500: 2}
_PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
_PREVIOUS_PRIORITIES = "envoy.retry_priorities.previous_priorities"
_HOST_TRIES = 5
_LEVEL_TRIES = 2
"""How many tries it takes until another priority is asked, as Istio sets it."""
_RE2_SPECIAL = re.compile(r"[^A-Za-z0-9_/~-]")


class Marked(NamedTuple):
    """Clusters that routes must treat in a way of their own: those that speak what downstream speaks, and must say so in the TLS handshake
    of the mesh; and those that hash, whose keys stay where they are when they are tried again."""

    negotiated: frozenset[str]
    hashed: frozenset[str]


def forward(action: Forward, route: Route, marked: Marked) -> dict[str, object]:
    """The fields of an Envoy route that forwards; a direct response where nothing could be forwarded to."""
    alive = [destination for destination in action.destinations if destination.weight]
    if not alive:
        return {"direct_response": reply(500)}
    if len(action.destinations) == 1 and not alive[0].cluster and alive[0].status not in _MISSING_CODES:
        return {"direct_response": reply(alive[0].status)}
    fields: dict[str, object] = {
        **_destinations([_hosted(one, action.rewrite) for one in alive], route.source, marked.negotiated),
        **rewriting(action.rewrite, route.match.path),
        "timeout": milliseconds(route.timeout_ms),
    }
    if action.mirrors:
        fields["request_mirror_policies"] = [_mirror(mirror) for mirror in action.mirrors]
    if route.retry is not None and route.retry.attempts:
        hashed = any(one.cluster in marked.hashed for one in alive)
        fields["retry_policy"] = retry_policy(route.retry, anywhere=hashed)
    return {"route": route_components_pb2.RouteAction(**fields)}


def _hosted(destination: Destination, common: Rewrite | None) -> Destination:
    """A destination without its authority where the route sets one: with Envoy the destination's would win."""
    if destination.rewrite is None or common is None or common.authority is None:
        return destination
    return msgspec.structs.replace(destination, rewrite=None)


def _mirror(mirror: Mirror) -> Message:
    """A copy for a share of requests; Envoy, too, writes ``-shadow`` behind its host."""
    share = percent_pb2.FractionalPercent(
        numerator=mirror.per_million, denominator=percent_pb2.FractionalPercent.MILLION
    )
    fraction = base_pb2.RuntimeFractionalPercent(default_value=share)
    kind = route_components_pb2.RouteAction.RequestMirrorPolicy
    return kind(cluster=mirror.cluster, runtime_fraction=fraction)


def _destinations(alive: list[Destination], source: SourceRef, negotiated: frozenset[str]) -> dict[str, object]:
    missing = {destination.status for destination in alive if not destination.cluster}
    if len(missing) > 1 or not missing <= _MISSING_CODES.keys():
        raise TranslationError(f"destinations that answer {sorted(missing)} themselves have no form in Envoy", source)
    fields: dict[str, object] = {}
    if missing:
        fields["cluster_not_found_response_code"] = _MISSING_CODES[missing.pop()]
    weights = [
        route_components_pb2.WeightedCluster.ClusterWeight(
            name=destination.cluster or UNRESOLVED,
            weight={"value": destination.weight},
            **({"host_rewrite_literal": own.authority} if (own := destination.rewrite) and own.authority else {}),
            **header_fields(destination.request_headers, destination.response_headers),
            **(
                {"typed_per_filter_config": {PROTOCOL: packed(_protocol())}}
                if destination.cluster in negotiated
                else {}
            ),
        )
        for destination in alive
    ]
    fields["weighted_clusters"] = route_components_pb2.WeightedCluster(clusters=weights)
    return fields


def _protocol() -> Message:
    """Names the mesh's protocols for the upstream handshake by what the request came with: Envoy itself only knows h2 and http/1.1."""
    http2, http1 = (",".join(CLIENT_ALPN[spoken]) for spoken in ("http2", "http1"))
    format_string = substitution_format_string_pb2.SubstitutionFormatString(
        text_format_source=inline(f"%CEL(request.protocol == 'HTTP/2' ? '{http2}' : '{http1}')%")
    )
    kind = value_pb2.FilterStateValue
    value = kind(
        object_key="envoy.network.application_protocols", format_string=format_string, shared_with_upstream=kind.ONCE
    )
    return set_filter_state_pb2.Config(on_request_headers=[value])


def rewriting(rewrite: Rewrite | None, path: PathMatch | None) -> dict[str, object]:
    """What becomes of path and authority."""
    if rewrite is None:
        return {}
    fields: dict[str, object] = {}
    if rewrite.authority is not None:
        fields["host_rewrite_literal"] = rewrite.authority
    if rewrite.path is not None:
        fields["regex_rewrite"] = _replaced("^.*$", rewrite.path)
    elif rewrite.prefix is not None:
        fields |= _prefix(path, rewrite.prefix)
    elif rewrite.regex is not None:
        fields["regex_rewrite"] = {"pattern": regex(rewrite.regex), "substitution": rewrite.substitution}
    return fields


def _prefix(path: PathMatch | None, prefix: str) -> dict[str, object]:
    """The matched part replaced, as ``snapshot.rewriting.replaced_prefix`` does it."""
    match path:
        case PathSegments(value):
            bare, stem = quoted(value.rstrip("/")), prefix.rstrip("/")
            if not stem:
                return {"regex_rewrite": _replaced(f"^{bare}/*", "/")}
            return {"regex_rewrite": {"pattern": regex(f"^{bare}(/)?/*"), "substitution": _literal(stem) + r"\1"}}
        case PathPrefix(value) if value:
            return {"prefix_rewrite": prefix} if prefix else {"regex_rewrite": _replaced(f"^{quoted(value)}", "")}
        case PathPrefix():
            return {"regex_rewrite": _replaced("^", prefix)}
        case PathExact():
            return {"prefix_rewrite": prefix} if prefix else {"regex_rewrite": _replaced("^.*$", "")}
        case _:
            return {"regex_rewrite": _replaced("^.*$", prefix)}


def _replaced(pattern: str, text: str) -> dict[str, object]:
    return {"pattern": regex(pattern), "substitution": _literal(text)}


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\")


def quoted(text: str) -> str:
    """Text as an RE2 pattern that matches just that."""
    return _RE2_SPECIAL.sub(lambda found: "\\" + found[0] if ord(found[0]) < 128 else found[0], text)


def redirect(action: Redirect, path: PathMatch | None, source: SourceRef) -> Message:
    """A RedirectAction."""
    code = _REDIRECT_CODES.get(action.status)
    if code is None:
        raise TranslationError(f"a redirect with status {action.status} has no form in Envoy", source)
    fields: dict[str, object] = {"response_code": code}
    host, port = action.host, action.port
    if action.authority is not None:
        host = action.authority
        if port:
            host = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if host:
        fields["host_redirect"] = host
    if port and (action.scheme or _SCHEMES.get(port), port) not in _DEFAULT_PORTS:
        fields["port_redirect"] = port
    if action.scheme:
        fields["scheme_redirect"] = action.scheme
    if action.path is not None:
        fields["path_redirect"] = action.path
    elif action.prefix is not None:
        fields |= _prefix(path, action.prefix)
    return route_components_pb2.RedirectAction(**fields)


def direct_response(action: DirectResponse) -> Message:
    """A DirectResponseAction."""
    return reply(action.status, action.body)


def reply(status: int, body: str = "") -> Message:
    """A fixed reply."""
    return route_components_pb2.DirectResponseAction(status=status, **({"body": inline(body)} if body else {}))


def retry_policy(retry: Retry, *, anywhere: bool = False) -> Message:
    """A RetryPolicy: with other hosts than those tried, where there are others (Istio's default), unless any host will do."""
    previous = previous_hosts_pb2.PreviousHostsPredicate()
    back_off = route_components_pb2.RetryPolicy.RetryBackOff(
        base_interval=milliseconds(max(retry.base_backoff_ms, 1)),
        max_interval=milliseconds(max(retry.max_backoff_ms, retry.base_backoff_ms, 1)),
    )
    fields: dict[str, object] = {}
    if retry.per_try_timeout_ms:
        fields["per_try_timeout"] = milliseconds(retry.per_try_timeout_ms)
    if not retry.same_hosts and not anywhere:
        kind = route_components_pb2.RetryPolicy.RetryHostPredicate
        fields["retry_host_predicate"] = [extension(kind, _PREVIOUS_HOSTS, previous)]
    if retry.remote:
        levels = previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=_LEVEL_TRIES)
        fields["retry_priority"] = extension(
            route_components_pb2.RetryPolicy.RetryPriority, _PREVIOUS_PRIORITIES, levels
        )
    return route_components_pb2.RetryPolicy(
        retry_on=",".join(retry.on),
        num_retries={"value": retry.attempts},
        retriable_status_codes=retry.statuses if "retriable-status-codes" in retry.on else (),
        host_selection_retry_max_attempts=_HOST_TRIES,
        retry_back_off=back_off,
        **fields,
    )
