"""The status of a listener, from its place on its Gateway (compiler/api_listeners.py)."""

from __future__ import annotations

from compiler.api_listeners import PlacedListener
from compiler.api_references import Verdict
from compiler.status.condition import Condition, ListenerStatus, judged

_FINE = "nothing is wrong"


def listener_status(place: PlacedListener, attached: int) -> ListenerStatus:
    """A listener's status; ``attached`` counts the routes that it takes, whatever their own conditions and its."""
    conflict = place.conflict
    conflicted = (
        Condition("Conflicted", True, conflict.reason, conflict.message)
        if conflict
        else Condition("Conflicted", False, "NoConflicts", _FINE)
    )
    return ListenerStatus(
        name=place.listener.name,
        kinds=place.kinds,
        attached=attached,
        conditions=(
            judged("Accepted", conflict or place.unaccepted, "Accepted", _FINE),
            conflicted,
            judged("Programmed", _unprogrammed(place), "Programmed", _FINE),
            judged("ResolvedRefs", place.unresolved, "ResolvedRefs", _FINE),
        ),
    )


def _unprogrammed(place: PlacedListener) -> Verdict | None:
    if place.conflict is not None or place.problem is None:
        return place.conflict
    return Verdict("Invalid", place.problem.message)
