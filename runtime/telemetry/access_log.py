"""Access-log lines in Istio's default formats, TEXT and JSON.

The caller batches the lines and writes them; a line is built once per exchange, so the common case is one f-string and one check. In TEXT
everything that is not printable ASCII, and a quote or backslash inside a field, is written as an escape: a request can neither end
a line nor close a quoted field.
"""

from __future__ import annotations

import time

import msgspec

from snapshot.section import AccessLog

_QUOTES_OF_A_LINE = 14
_ID_BYTES = 64
_TEXTS_KEPT = 4096
_TEXT_BYTES = 256


class ExchangeRecord(msgspec.Struct, gc=False):
    """One finished exchange, as the log sees it. ``start`` is in seconds since 1970, ``duration_ms`` whole milliseconds.

    ``path`` is the original one with its query. Header values are bytes as received, None where absent. ``flags`` is "" for none.
    ``service_time_ms`` is x-envoy-upstream-service-time, -1 where no reply came. Addresses are ``ip:port``; "" is unknown.
    A TCP connection has "" for method, path and protocol, and code 0.
    """

    start: float
    method: str = ""
    path: str = ""
    protocol: str = ""
    code: int = 0
    flags: str = ""
    details: str = ""
    termination: str = ""
    transport_failure: str = ""
    bytes_received: int = 0
    bytes_sent: int = 0
    duration_ms: int = 0
    service_time_ms: int = -1
    forwarded_for: bytes | None = None
    user_agent: bytes | None = None
    request_id: bytes | None = None
    authority: str = ""
    upstream_host: str = ""
    upstream_cluster: str = ""
    upstream_local: str = ""
    downstream_local: str = ""
    downstream_remote: str = ""
    server_name: str = ""
    route_name: str = ""


class JsonLine(msgspec.Struct, gc=False):
    """The JSON form: Istio's field names in Istio's order, null where there is no value."""

    start_time: str
    route_name: str | None
    method: str | None
    path: str | None
    protocol: str | None
    response_code: int
    response_flags: str
    response_code_details: str | None
    connection_termination_details: str | None
    bytes_received: int
    bytes_sent: int
    duration: int
    upstream_service_time: str | None
    x_forwarded_for: str | None
    user_agent: str | None
    request_id: str | None
    authority: str | None
    upstream_host: str | None
    upstream_cluster: str | None
    upstream_local_address: str | None
    downstream_local_address: str | None
    downstream_remote_address: str | None
    requested_server_name: str | None
    upstream_transport_failure_reason: str | None


class AccessLogFormat:
    """Turns records into lines by one AccessLog setting. Owns the text of the current second, which many lines share."""

    __slots__ = ("_encoder", "_moment", "_moment_text", "_second", "_stamp", "_texts", "line", "text")

    def __init__(self, setting: AccessLog) -> None:
        self._encoder = msgspec.json.Encoder()
        self._second = -1
        self._stamp = ""
        self._moment = -1.0
        self._moment_text = ""
        self._texts: dict[str | bytes, str] = {}
        self.text = setting.encoding != "JSON"
        self.line = self._json if setting.encoding == "JSON" else self._text
        """``line(record) -> bytes``, the line feed included."""

    def _start(self, start: float) -> str:
        if start == self._moment:
            # All requests of one round of the lane begin at one time.
            return self._moment_text
        # A thousandth more undoes the binary fraction that would turn .123 into .122.
        second, millisecond = divmod(int(start * 1000 + 0.001), 1000)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._moment = start
        self._moment_text = f"{self._stamp}.{millisecond:03d}Z"
        return self._moment_text

    def forwarded(
        self,
        start: float,
        method: str,
        target: str,
        protocol: str,
        code: int,
        details: str,
        bytes_received: int,
        bytes_sent: int,
        duration_ms: int,
        service_time_ms: int,
        fields: dict[bytes, bytes],
        authority: str,
        upstream_host: str,
        cluster: str,
        local: str,
        addresses: str,
        server_name: str,
        route: str,
    ) -> bytes | None:
        """The TEXT line of an exchange that went as most do, without flags and failures; None where it needs ``line``'s escapes.

        ``addresses`` is downstream local and remote. One f-string of ready parts costs half of what a record does; texts that repeat are
        escaped once. Method, protocol and addresses are ours or checked by the codec to need no escape.
        """
        text = self._texts.get
        get = fields.get
        request_id = get(b"x-request-id", b"-")
        if len(request_id) > _ID_BYTES or not (request_id.replace(b"-", b"") or b"0").isalnum():
            return None
        if not target.isascii() or '"' in target or "\\" in target:
            return None
        forwarded_for = get(b"x-forwarded-for", b"-")
        agent = get(b"user-agent", b"-")
        return (
            f'[{self._start(start)}] "{method} {target} {protocol}" {code} - {text(details) or self._keep(details)} - "-" '
            f"{bytes_received} {bytes_sent} {duration_ms} {service_time_ms} "
            f'"{text(forwarded_for) or self._keep(forwarded_for)}" "{text(agent) or self._keep(agent)}" "{request_id.decode()}" '
            f'"{text(authority) or self._keep(authority)}" "{upstream_host}" {text(cluster) or self._keep(cluster)} {local} {addresses} '
            f"{text(server_name) or self._keep(server_name)} {text(route) or self._keep(route)}\n"
        ).encode()

    def _keep(self, value: str | bytes) -> str:
        """The escaped form of a value; kept, in a table that is emptied when it is full. A name that is empty is unknown, ``-``."""
        text = escape(value) or "-" if isinstance(value, str) else escape(value.decode("latin-1"))
        if len(value) <= _TEXT_BYTES:
            if len(self._texts) >= _TEXTS_KEPT:
                self._texts.clear()
            self._texts[value] = text
        return text

    def _text(self, record: ExchangeRecord) -> bytes:
        line = self._compose(record)
        # One look at the finished line stands for a look at each field: only a hostile or odd value fails it.
        if line.isascii() and line.isprintable() and "\\" not in line and line.count('"') == _QUOTES_OF_A_LINE:
            return line.encode() + b"\n"
        return self._compose(_escaped(record)).encode() + b"\n"

    def _compose(self, one: ExchangeRecord) -> str:
        forwarded = "-" if one.forwarded_for is None else one.forwarded_for.decode("latin-1")
        agent = "-" if one.user_agent is None else one.user_agent.decode("latin-1")
        request_id = "-" if one.request_id is None else one.request_id.decode("latin-1")
        return (
            f'[{self._start(one.start)}] "{one.method or "-"} {one.path or "-"} {one.protocol or "-"}" {one.code} {one.flags or "-"} '
            f'{one.details or "-"} {one.termination or "-"} "{one.transport_failure or "-"}" {one.bytes_received} {one.bytes_sent} '
            f'{one.duration_ms} {"-" if one.service_time_ms < 0 else one.service_time_ms} "{forwarded}" "{agent}" "{request_id}" '
            f'"{one.authority or "-"}" "{one.upstream_host or "-"}" {one.upstream_cluster or "-"} {one.upstream_local or "-"} '
            f"{one.downstream_local or '-'} {one.downstream_remote or '-'} {one.server_name or '-'} {one.route_name or '-'}"
        )

    def _json(self, one: ExchangeRecord) -> bytes:
        line = JsonLine(
            self._start(one.start),
            one.route_name or None,
            one.method or None,
            one.path or None,
            one.protocol or None,
            one.code,
            one.flags or "-",
            one.details or None,
            one.termination or None,
            one.bytes_received,
            one.bytes_sent,
            one.duration_ms,
            None if one.service_time_ms < 0 else str(one.service_time_ms),
            None if one.forwarded_for is None else one.forwarded_for.decode("utf-8", "backslashreplace"),
            None if one.user_agent is None else one.user_agent.decode("utf-8", "backslashreplace"),
            None if one.request_id is None else one.request_id.decode("utf-8", "backslashreplace"),
            one.authority or None,
            one.upstream_host or None,
            one.upstream_cluster or None,
            one.upstream_local or None,
            one.downstream_local or None,
            one.downstream_remote or None,
            one.server_name or None,
            one.transport_failure or None,
        )
        return self._encoder.encode(line) + b"\n"


def _escaped(record: ExchangeRecord) -> ExchangeRecord:
    changes: dict[str, str | bytes] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, str):
            changes[name] = escape(value)
        elif isinstance(value, bytes):
            changes[name] = escape(value.decode("latin-1")).encode()
    return msgspec.structs.replace(record, **changes)


def escape(text: str) -> str:
    r"""Printable ASCII without quotes and backslashes stays; the rest becomes ``\xNN`` (UTF-8 bytes beyond Latin-1), ``\"`` or ``\\``."""
    out = []
    for character in text:
        if character in '"\\':
            out.append("\\" + character)
        elif " " <= character <= "~":
            out.append(character)
        elif character <= "\xff":
            out.append(f"\\x{ord(character):02x}")
        else:
            out.extend(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    return "".join(out)
