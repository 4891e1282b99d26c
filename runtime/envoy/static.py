"""A slice as one static Envoy configuration: what ``weft export envoy`` prints and ``envoy --mode validate`` judges."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.overload.v3 import overload_pb2
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from google.protobuf import json_format

from runtime.envoy.fellows import fellows, standing
from runtime.envoy.messages import Message, address, extension
from runtime.envoy.placement import Placement
from runtime.envoy.translate import Translated
from snapshot.section import Proxy


def static_bootstrap(
    translated: Translated,
    secrets: Iterable[Message],
    proxy: Proxy,
    *,
    admin: tuple[str, int] | None = None,
    place: Placement | None = None,
) -> Message:
    """The whole configuration. ``admin`` is the address of Envoy's own pages; None opens none. ``place`` is where it will run, where that is known:
    clusters that keep to zones need it."""
    made = bootstrap_pb2.Bootstrap(
        node=node(proxy),
        static_resources=bootstrap_pb2.Bootstrap.StaticResources(
            listeners=translated.listeners, clusters=translated.clusters, secrets=list(secrets)
        ),
        overload_manager=overload(proxy),
    )
    if place is not None and place.bootstrap.standpoint:
        standing(made, place.bootstrap.standpoint, fellows(proxy, place))
    if admin is not None:
        made.admin.address.CopyFrom(address(*admin))
    return made


def node(proxy: Proxy) -> Message:
    """Who this Envoy is."""
    workload = proxy.workload
    return base_pb2.Node(
        id=f"{workload.name}.{workload.namespace}", cluster=f"{workload.canonical_name}.{workload.namespace}"
    )


def overload(proxy: Proxy) -> Message:
    """The bound of downstream connections."""
    limit = downstream_connections_pb2.DownstreamConnectionsConfig(
        max_active_downstream_connections=proxy.deadlines.max_connections
    )
    monitor = extension(
        overload_pb2.ResourceMonitor, "envoy.resource_monitors.global_downstream_max_connections", limit
    )
    return overload_pb2.OverloadManager(resource_monitors=[monitor])


def plain(message: Message) -> dict[str, Any]:
    """A message as plain data, fields named as Envoy's documentation names them, in the order of the alphabet: maps have no other."""
    text = json_format.MessageToJson(message, preserving_proto_field_name=True, sort_keys=True)
    found: dict[str, Any] = json.loads(text)
    return found
