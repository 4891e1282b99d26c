"""The cluster of those that are like this proxy: by how they are spread over zones Envoy knows how much to keep in its own.

It is part of how Envoy starts (``cluster_manager.local_cluster_name``), so it is always there; its endpoints, which nobody connects to, come with
the registry, and without them Envoy keeps nothing to zones.
"""

from __future__ import annotations

from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from runtime.balance.standing import fellows_of
from runtime.envoy.messages import Message, address, config_source, milliseconds
from runtime.envoy.placement import Placement
from snapshot.section import Proxy

LOCAL_CLUSTER = "local_cluster"
_CONNECT_MS = 1_000


def locality_of(text: str) -> Message:
    """``region/zone/subzone`` as Envoy has it."""
    region, zone, sub_zone, *_ = (*text.split("/"), "", "", "")
    return base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone)


def fellows(proxy: Proxy, place: Placement) -> Message:
    """The endpoints of the cluster: of each locality as many as there are proxies."""
    found = fellows_of(place.live, (proxy.workload.namespace, proxy.workload.name))
    kind = endpoint_components_pb2
    groups = [
        kind.LocalityLbEndpoints(
            locality=locality_of(locality),
            lb_endpoints=[
                kind.LbEndpoint(endpoint=kind.Endpoint(address=address("127.0.0.1", number)))
                for number in range(1, count + 1)
            ],
        )
        for locality, count in sorted(found.items())
    ]
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=LOCAL_CLUSTER, endpoints=groups)


def standing(made: Any, locality: str, members: Message | None = None) -> None:
    """Adds to how Envoy starts: where it stands, and the cluster, with ``members`` or with those that will be discovered."""
    if locality:
        made.node.locality.CopyFrom(locality_of(locality))
    cluster = cluster_pb2.Cluster(name=LOCAL_CLUSTER, connect_timeout=milliseconds(_CONNECT_MS))
    if members is None:
        cluster.type = cluster_pb2.Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(config_source())
    else:
        cluster.type = cluster_pb2.Cluster.STATIC
        cluster.load_assignment.CopyFrom(members)
    made.static_resources.clusters.append(cluster)
    made.cluster_manager.CopyFrom(bootstrap_pb2.ClusterManager(local_cluster_name=LOCAL_CLUSTER))
