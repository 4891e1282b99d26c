"""One incremental xDS stream without I/O: what Envoy asked for, what it was told, and what it said to that.

The model. Envoy subscribes, per type, to everything (listeners, clusters) or to names (routes, endpoints, secrets). For each type the stream
remembers the version of every resource that was sent; an answer holds what differs from that and the names that are gone. Every answer has a
nonce; Envoy accepts or rejects it by that. What does not exist but is asked for by name is told as removed, so that nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from runtime.envoy.messages import Message
from runtime.envoy.resources import CLUSTER, ENDPOINTS, LISTENER, SECRET, Resource, Resources

EVERYTHING = frozenset({CLUSTER, LISTENER})
"""Types of which Envoy takes all that there are, without naming any."""


class Verdict(msgspec.Struct, frozen=True):
    """What Envoy said of the answer with this nonce: accepted, or why not."""

    nonce: str
    error: str = ""


class DeltaStream:
    """Owns the state of one stream; a new stream knows nothing of the one before."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        self._sent: dict[str, dict[str, str]] = {}
        self._number = 0

    def receive(self, request: Message, available: Resources) -> tuple[Verdict | None, Message | None]:
        """Takes a DeltaDiscoveryRequest; returns the verdict that it carries and the answer to what it newly asks for."""
        kind = request.type_url
        verdict = None
        if request.response_nonce:
            failed = request.HasField("error_detail")
            verdict = Verdict(request.response_nonce, (request.error_detail.message or "rejected") if failed else "")
        fresh = kind not in self._sent
        sent = self._sent.setdefault(kind, {})
        names = self._names.setdefault(kind, set())
        if fresh:
            # After a reconnection Envoy still has what it had.
            sent.update(request.initial_resource_versions)
        asked = set(request.resource_names_subscribe)
        names |= asked
        for name in request.resource_names_unsubscribe:
            names.discard(name)
            sent.pop(name, None)
        for name in asked:
            # Who subscribes again wants an answer, also where nothing has changed.
            sent.pop(name, None)
        if fresh or asked:
            return verdict, self._answer(kind, available, missing=asked, always=fresh and kind in EVERYTHING)
        return verdict, None

    def changes(self, kind: str, available: Resources) -> Message | None:
        """The answer that brings Envoy to what is available now, or None where it is there (or never asked)."""
        return self._answer(kind, available) if kind in self._sent else None

    def _answer(
        self, kind: str, available: Resources, *, missing: AbstractSet[str] = frozenset(), always: bool = False
    ) -> Message | None:
        sent = self._sent[kind]
        wanted = self._wanted(kind, available)
        changed = [one for name, one in sorted(wanted.items()) if sent.get(name) != one.version]
        gone = sorted({*(name for name in sent if name not in wanted), *(missing - wanted.keys())})
        if kind == SECRET:
            gone = []  # Envoy keeps a secret that it has; one that does not come keeps only its own handshakes waiting.
        if not changed and not gone and not always:
            return None
        self._number += 1
        for one in changed:
            sent[one.name] = one.version
            if kind == CLUSTER:
                # A cluster that is made anew waits for endpoints, and Envoy, subscribed to them already, does not ask again.
                self._sent.get(ENDPOINTS, {}).pop(one.name, None)
        for name in gone:
            sent.pop(name, None)
        return discovery_pb2.DeltaDiscoveryResponse(
            type_url=kind,
            nonce=f"{self._number}",
            resources=[_resource(one) for one in changed],
            removed_resources=gone,
        )

    def _wanted(self, kind: str, available: Resources) -> dict[str, Resource]:
        everything = available.of(kind)
        if kind in EVERYTHING:
            return everything
        names = self._names[kind]
        return {name: one for name, one in everything.items() if name in names}


def _resource(one: Resource) -> Message:
    body = any_pb2.Any(type_url=one.body.type_url, value=one.body.value)
    return discovery_pb2.Resource(name=one.name, version=one.version, resource=body)
