"""A status as Kubernetes writes it, without the fields that only a cluster knows (times, generations)."""

from __future__ import annotations

from typing import Any

from compiler.kinds import versions_of
from compiler.resources.meta import GATEWAY_API
from compiler.status.condition import Condition, ListenerStatus, ObjectStatus, ParentStatus

_NUMBERS = frozenset({"port"})


def shape(status: ObjectStatus) -> dict[str, Any]:
    """The object with its name and its status, to be written as JSON or YAML."""
    metadata: dict[str, Any] = {"name": status.meta.name}
    if status.meta.namespace:
        metadata["namespace"] = status.meta.namespace
    return {
        "apiVersion": versions_of(GATEWAY_API, status.kind)[0],
        "kind": status.kind,
        "metadata": metadata,
        "status": _status(status),
    }


def _status(status: ObjectStatus) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if status.addresses:
        written["addresses"] = [{"type": kind, "value": value} for kind, value in status.addresses]
    if status.attached_sets is not None:
        written["attachedListenerSets"] = status.attached_sets
    if status.conditions is not None:
        written["conditions"] = [_condition(item) for item in status.conditions]
    if status.listeners is not None:
        written["listeners"] = [_listener(item) for item in status.listeners]
    if status.parents is not None:
        written["parents"] = [_parent(item, "parentRef") for item in status.parents]
    if status.ancestors is not None:
        written["ancestors"] = [_parent(item, "ancestorRef") for item in status.ancestors]
    return written


def _listener(listener: ListenerStatus) -> dict[str, Any]:
    return {
        "name": listener.name,
        "attachedRoutes": listener.attached,
        "supportedKinds": [{"group": GATEWAY_API, "kind": kind} for kind in listener.kinds],
        "conditions": [_condition(item) for item in listener.conditions],
    }


def _parent(parent: ParentStatus, key: str) -> dict[str, Any]:
    reference = {name: int(value) if name in _NUMBERS else value for name, value in parent.reference}
    return {
        key: reference,
        "controllerName": parent.controller,
        "conditions": [_condition(item) for item in parent.conditions],
    }


def _condition(condition: Condition) -> dict[str, str]:
    return {
        "type": condition.type,
        "status": "True" if condition.holds else "False",
        "reason": condition.reason,
        "message": condition.message,
    }
