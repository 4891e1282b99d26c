"""A translated slice: Envoy's resources by type and name, each with a version that is the digest of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from runtime.envoy.messages import Message, packed

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
FILTER = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type's name
ORDER = (SECRET, CLUSTER, ENDPOINTS, FILTER, ROUTES, LISTENER)
"""Types in the order in which each may refer to those before it (make before break)."""


class Resource(msgspec.Struct, frozen=True):
    """One resource. ``body`` is the packed message; equal bodies have equal versions."""

    name: str
    version: str
    body: Message


class Resources(msgspec.Struct, frozen=True):
    """All resources of a slice, by type URL, then by name."""

    by_type: dict[str, dict[str, Resource]]

    def of(self, kind: str) -> dict[str, Resource]:
        """The resources of one type."""
        return self.by_type.get(kind, {})

    def replacing(self, new: Resources, kinds: Iterable[str]) -> Resources:
        """These, but those of some types from elsewhere."""
        return Resources({**self.by_type, **{kind: new.of(kind) for kind in kinds}})

    def with_kept(self, old: Resources, kind: str) -> Resources:
        """These, and those old ones of a type that have no successor: what is still referred to until all have moved."""
        return Resources({**self.by_type, kind: {**old.of(kind), **self.of(kind)}})


def resources(messages: Iterable[Message]) -> Resources:
    """Resources from messages of these types; of two of one name the first stays."""
    found: dict[str, dict[str, Resource]] = {kind: {} for kind in ORDER}
    for message in messages:
        body = packed(message)
        name = getattr(message, "name", "") or message.cluster_name
        version = hashlib.sha256(body.value).hexdigest()[:16]
        found[body.type_url].setdefault(name, Resource(name, version, body))
    return Resources(found)
