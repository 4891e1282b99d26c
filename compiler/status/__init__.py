"""The status that each Gateway API object of a tree would get: what a controller would write, worked out before anything runs.

ObjectStatus: one object's status. ListenerStatus, ParentStatus: its parts per listener, and per parent or ancestor. Condition: one
sentence of them, in the specification's words. ``statuses`` works all of them out; ``shape`` gives one Kubernetes' form.
"""

from compiler.status.condition import Condition, ListenerStatus, ObjectStatus, ParentStatus
from compiler.status.objects import statuses
from compiler.status.shape import shape

__all__ = ["Condition", "ListenerStatus", "ObjectStatus", "ParentStatus", "shape", "statuses"]
