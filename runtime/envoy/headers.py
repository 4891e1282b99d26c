"""From HeaderEdits to Envoy's header options. Names that belong to the codecs are left out, as ``runtime.http.edits`` does."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import base_pb2, extension_pb2, protocol_pb2
from envoy.extensions.http.header_formatters.preserve_case.v3.preserve_case_pb2 import PreserveCaseFormatterConfig

from policies.proxy_headers import ProxyHeaders
from policies.traffic import HeaderEdits
from runtime.envoy.messages import Message, extension
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


def http1_options(headers: ProxyHeaders, *, accept_http_10: bool = False) -> Any:
    """HTTP/1 as a proxy speaks it on either side: trailers, and names spelled as they came where that is asked for."""
    options = protocol_pb2.Http1ProtocolOptions(enable_trailers=True, accept_http_10=accept_http_10)
    if headers.spelling:
        formatter = extension(extension_pb2.TypedExtensionConfig, "preserve_case", PreserveCaseFormatterConfig())
        options.header_key_format.stateful_formatter.CopyFrom(formatter)
    return options
