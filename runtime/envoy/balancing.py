"""How a cluster spreads its requests and whom it leaves out, as Envoy is told it. A new field of ConsistentHash, LocalityLoad, Warmup or
OutlierDetection goes in here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2, outlier_detection_pb2
from envoy.config.common.matcher.v3 import matcher_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    client_side_weighted_round_robin_pb2,
)
from envoy.extensions.load_balancing_policies.common.v3 import common_pb2

from policies.balancing import OutlierDetection, Utilization, Warmup
from runtime.balance.localities import levels_of
from runtime.balance.shares import Level, Part
from runtime.endpoints import endpoints_of
from runtime.envoy.failure import TranslationError
from runtime.envoy.messages import Message, address, extension, milliseconds
from runtime.envoy.placement import Placement
from snapshot.ring import evenly, ring_size
from snapshot.section import Cluster, ConsistentHash, Endpoint

_KIND = cluster_pb2.Cluster
_BALANCE = {
    "least_request": _KIND.LEAST_REQUEST,
    "round_robin": _KIND.ROUND_ROBIN,
    "random": _KIND.RANDOM,
    "ring_hash": _KIND.RING_HASH,
    "maglev": _KIND.MAGLEV,
}
_MATCH = "envoy.transport_socket_match"
_MESH = {"tlsMode": "istio"}
_LARGEST_RING = 8_388_608


def balance(made: Any, section: Cluster, place: Placement) -> None:
    """Sets how a cluster that has endpoints chooses between them; raises TranslationError."""
    policy = _BALANCE.get(section.balance)
    if policy is None:
        source = section.sources[0] if section.sources else None
        raise TranslationError(f"the load balancing {section.balance!r} has no form in Envoy yet", source)
    if section.utilization is None:
        made.lb_policy = policy
    # An outage of all endpoints is answered, not hidden by sending to those that are known to be gone, unless the rule asks for that.
    made.common_lb_config.healthy_panic_threshold.value = section.outlier.min_health_percent if section.outlier else 0
    if section.utilization is not None:
        made.load_balancing_policy.policies.append(_by_utilization(section.utilization, section.warmup))
    elif section.locality is not None and section.locality.zone_minimum:
        made.common_lb_config.zone_aware_lb_config.min_cluster_size.value = section.locality.zone_minimum
    elif section.locality is not None:
        made.common_lb_config.locality_weighted_lb_config.SetInParent()
    if section.hashing is not None:
        _hash_tables(made, section, section.hashing, place)
    if section.warmup is not None and section.utilization is None:
        _slow_start(made, section.balance, section.warmup)
    if section.outlier is not None:
        made.outlier_detection.CopyFrom(outlier_detection(section.outlier))


def _hash_tables(made: Any, section: Cluster, hashing: ConsistentHash, place: Placement) -> None:
    if section.balance == "maglev":
        made.maglev_lb_config.table_size.value = hashing.table_size
        return
    shares = [share for _, share in evenly(endpoints_of(section, place.live))]
    made.ring_hash_lb_config.minimum_ring_size.value = ring_size(hashing, shares)
    made.ring_hash_lb_config.maximum_ring_size.value = _LARGEST_RING


def _by_utilization(reported: Utilization, warmup: Warmup | None) -> Message:
    """The policy that weighs endpoints by their load. Its own; localities have no part in it."""
    config = client_side_weighted_round_robin_pb2.ClientSideWeightedRoundRobin(
        blackout_period=milliseconds(reported.stabilization_ms),
        weight_expiration_period=milliseconds(reported.expiration_ms),
        weight_update_period=milliseconds(reported.update_ms),
        error_utilization_penalty={"value": reported.penalty_percent / 100},
        metric_names_for_computing_utilization=reported.metrics,
    )
    if warmup is not None:
        config.slow_start_config.CopyFrom(common_pb2.SlowStartConfig(**_slow_start_fields(warmup)))
    name = "envoy.load_balancing_policies.client_side_weighted_round_robin"
    policy = extension(extension_pb2.TypedExtensionConfig, name, config)
    return cluster_pb2.LoadBalancingPolicy.Policy(typed_extension_config=policy)


def _slow_start(made: Any, policy: str, warmup: Warmup) -> None:
    if policy not in ("least_request", "round_robin"):
        return
    chosen = made.least_request_lb_config if policy == "least_request" else made.round_robin_lb_config
    chosen.slow_start_config.CopyFrom(_KIND.SlowStartConfig(**_slow_start_fields(warmup)))


def _slow_start_fields(warmup: Warmup) -> dict[str, object]:
    """Two of Envoy's messages have these fields."""
    return {
        "slow_start_window": milliseconds(warmup.duration_ms),
        "min_weight_percent": {"value": warmup.minimum_percent},
        "aggression": {"default_value": warmup.aggression_percent / 100, "runtime_key": "weft.slow_start.aggression"},
    }


def outlier_detection(settings: OutlierDetection) -> Message:
    """Ejection for failures in a row alone: what Envoy finds by success rates is off (Istio)."""
    return outlier_detection_pb2.OutlierDetection(
        consecutive_5xx={"value": settings.consecutive_5xx},
        enforcing_consecutive_5xx={"value": 100 if settings.consecutive_5xx else 0},
        consecutive_gateway_failure={"value": settings.consecutive_gateway},
        enforcing_consecutive_gateway_failure={"value": 100 if settings.consecutive_gateway else 0},
        split_external_local_origin_errors=settings.split,
        consecutive_local_origin_failure={"value": settings.consecutive_local},
        enforcing_consecutive_local_origin_failure={"value": 100},
        enforcing_success_rate={"value": 0},
        enforcing_local_origin_success_rate={"value": 0},
        interval=milliseconds(settings.interval_ms),
        base_ejection_time=milliseconds(settings.base_ejection_ms),
        max_ejection_percent={"value": settings.max_ejection_percent},
    )


def failures(statuses: Sequence[int]) -> Message:
    """The matcher of the statuses that count as failures instead of 5xx."""
    rule = matcher_pb2.MatchPredicate
    each = [
        rule(
            http_response_headers_match={
                "headers": [{"name": ":status", "string_match": {"exact": str(status)}}],
            }
        )
        for status in statuses
    ]
    return each[0] if len(each) == 1 else rule(or_match={"rules": each})


def hash_policy(hashing: ConsistentHash) -> Message:
    """What of a request is hashed."""
    kind = route_components_pb2.RouteAction.HashPolicy
    match hashing.on:
        case "header":
            return kind(header={"header_name": hashing.name})
        case "query":
            return kind(query_parameter={"name": hashing.name})
        case "cookie":
            cookie = kind.Cookie(name=hashing.name, path=hashing.path)
            if hashing.ttl_ms is not None:
                cookie.ttl.CopyFrom(milliseconds(hashing.ttl_ms))
            for name, value in hashing.attributes:
                cookie.attributes.add(name=name, value=value)
            return kind(cookie=cookie)
        case _:
            return kind(connection_properties={"source_ip": True})


def localities(section: Cluster, place: Placement) -> list[Message]:
    """A cluster's endpoints now, nearest first."""
    bootstrap = place.bootstrap
    labels = dict(bootstrap.selector.labels)
    levels = levels_of(endpoints_of(section, place.live), section.locality, bootstrap.standpoint, labels)
    named = section.locality is not None
    return [_group(part, number, named=named) for number, level in enumerate(levels) for part in _whole(level)]


def _whole(level: Level) -> list[Part]:
    """The same weights as whole numbers, which is what Envoy takes."""
    if all(part.weight == int(part.weight) for part in level):
        return list(level)
    return [Part(math.ceil(part.weight * 1000), part.endpoints) for part in level]


def _group(part: Part, priority: int, *, named: bool) -> Message:
    """One locality; without a name where localities do not matter, for then it is all of them."""
    group = endpoint_components_pb2.LocalityLbEndpoints(
        lb_endpoints=[member(endpoint) for endpoint in part.endpoints],
        load_balancing_weight={"value": int(part.weight)},
        priority=priority,
    )
    region, zone, sub_zone, *_ = (*part.endpoints[0].locality.split("/"), "", "", "")
    if region and named:
        group.locality.CopyFrom(base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone))
    return group


def member(endpoint: Endpoint) -> Message:
    """One endpoint. One that speaks mesh TLS says so in metadata, by which ``auto`` clusters choose."""
    made = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address(endpoint.address, endpoint.port)),
        load_balancing_weight={"value": endpoint.weight},
    )
    if endpoint.mesh:
        made.metadata.filter_metadata[_MATCH].update(_MESH)
    return made
