"""Small constructors over Envoy's messages, which protobuf generates without types; and the one place that knows how extensions are packed."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import any_pb2, duration_pb2

from policies.match import Exact, Prefix, Regex, StringMatch, Suffix
from runtime.socket_address import is_path

FETCH_MS = 5_000

Message = Any
"""A protobuf message. Field names are checked when it is made: an unknown one raises ValueError."""


def packed(message: Message) -> Message:
    """A message as an Any, its bytes deterministic."""
    wrapped = any_pb2.Any()
    wrapped.Pack(message, deterministic=True)
    return wrapped


def extension(kind: type[Message], name: str, message: Message) -> Message:
    """A named extension: ``kind`` is the message that has ``name`` and ``typed_config``."""
    return kind(name=name, typed_config=packed(message))


def milliseconds(value: int) -> Message:
    """A Duration."""
    return duration_pb2.Duration(seconds=value // 1000, nanos=value % 1000 * 1_000_000)


def address(host: str, port: int) -> Message:
    """A TCP address; ``host`` is an IP address, or a Unix socket's path."""
    if is_path(host):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=host))
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=host, port_value=port))


def regex(pattern: str) -> Message:
    """A whole-value RE2 match."""
    return regex_pb2.RegexMatcher(regex=pattern)


def string_matcher(match: StringMatch, *, ignore_case: bool = False) -> Message:
    """A matcher of text. ``Present`` matches every text, also the empty one."""
    match match:
        case Exact(value, fold):
            return string_pb2.StringMatcher(exact=value, ignore_case=fold or ignore_case)
        case Prefix(value, fold) if value:
            return string_pb2.StringMatcher(prefix=value, ignore_case=fold or ignore_case)
        case Suffix(value, fold) if value:
            return string_pb2.StringMatcher(suffix=value, ignore_case=fold or ignore_case)
        case Regex(pattern):
            return string_pb2.StringMatcher(safe_regex=regex(f"(?i){pattern}" if ignore_case else pattern))
        case _:
            return string_pb2.StringMatcher(safe_regex=regex(".*"))


def header_matcher(name: str, matcher: Message) -> Message:
    """A header that is there and satisfies a string matcher."""
    return route_components_pb2.HeaderMatcher(name=name, string_match=matcher)


def config_source() -> Message:
    """What says that a part comes over the one xDS stream. What does not come within FETCH_MS, such as a key, is done without until it does."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.ApiVersion.V3,
        initial_fetch_timeout=milliseconds(FETCH_MS),
    )


def inline(text: str) -> Message:
    """Text in place."""
    return base_pb2.DataSource(inline_string=text)


def inline_bytes(raw: bytes) -> Message:
    """Bytes in place."""
    return base_pb2.DataSource(inline_bytes=raw)


def file(path: str) -> Message:
    """The content of a file."""
    return base_pb2.DataSource(filename=path)
