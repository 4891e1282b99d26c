"""From HeaderEdits to Envoy's header options. Names that belong to the codecs are left out, as ``runtime.http.edits`` does."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2

from policies.traffic import HeaderEdits
from runtime.envoy.messages import Message
from runtime.http.edits import OWNED

_SET = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_ADD = base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD


def header_fields(request: HeaderEdits, response: HeaderEdits) -> dict[str, object]:
    """The four fields that a route, a virtual host and a weighted destination have alike."""
    return {
        "request_headers_to_remove": _removed(request),
        "request_headers_to_add": _added(request),
        "response_headers_to_remove": _removed(response),
        "response_headers_to_add": _added(response),
    }


def appended(name: str, value: str) -> Message:
    """One header that is added to those of its name."""
    return _option(name, value, _ADD)


def _removed(edits: HeaderEdits) -> list[str]:
    return [name for name in edits.remove if name not in OWNED]


def _added(edits: HeaderEdits) -> list[Message]:
    return [
        _option(name, value, action)
        for pairs, action in ((edits.set, _SET), (edits.add, _ADD))
        for name, value in pairs
        if name not in OWNED
    ]


def _option(name: str, value: str, action: object) -> Message:
    """A value is text here and a format there: a percent sign is doubled."""
    header = base_pb2.HeaderValue(key=name, value=value.replace("%", "%%"))
    return base_pb2.HeaderValueOption(header=header, append_action=action, keep_empty_value=True)
