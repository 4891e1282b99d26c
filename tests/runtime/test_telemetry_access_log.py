"""Istio's two default formats, to the byte."""

from __future__ import annotations

import json

import msgspec
import pytest

from runtime.telemetry.access_log import AccessLogFormat, ExchangeRecord
from snapshot.section import AccessLog

FULL = ExchangeRecord(
    start=1763690400.123,
    method="GET",
    path="/books?page=2",
    protocol="HTTP/1.1",
    code=503,
    flags="UF,URX",
    details="upstream_reset_before_response_started{remote_connection_failure}",
    termination="",
    transport_failure="certificate of another workload",
    bytes_received=3,
    bytes_sent=91,
    duration_ms=12,
    service_time_ms=11,
    forwarded_for=b"10.0.0.1",
    user_agent=b"curl/8",
    request_id=b"4f0c",
    authority="catalogue.shop:9080",
    upstream_host="127.20.0.3:9080",
    upstream_cluster="outbound|9080||catalogue.shop.svc.cluster.local",
    upstream_local="127.0.0.1:4000",
    downstream_local="127.0.0.1:15001",
    downstream_remote="127.0.0.1:3999",
    server_name="outbound_.9080_._.catalogue",
    route_name="default",
)


def text(record: ExchangeRecord) -> bytes:
    return AccessLogFormat(AccessLog("/dev/stdout", "TEXT")).line(record)


def test_a_text_line_has_istios_fields_in_istios_order() -> None:
    assert text(FULL) == (
        b'[2025-11-21T02:00:00.123Z] "GET /books?page=2 HTTP/1.1" 503 UF,URX '
        b"upstream_reset_before_response_started{remote_connection_failure} - "
        b'"certificate of another workload" 3 91 12 11 "10.0.0.1" "curl/8" "4f0c" "catalogue.shop:9080" '
        b'"127.20.0.3:9080" outbound|9080||catalogue.shop.svc.cluster.local 127.0.0.1:4000 127.0.0.1:15001 '
        b"127.0.0.1:3999 outbound_.9080_._.catalogue default\n"
    )


def test_what_is_absent_is_a_dash() -> None:
    assert text(ExchangeRecord(start=0.0)) == (
        b'[1970-01-01T00:00:00.000Z] "- - -" 0 - - - "-" 0 0 0 - "-" "-" "-" "-" "-" - - - - - -\n'
    )


@pytest.mark.parametrize(
    ("agent", "written"),
    [
        (b"a\r\nb", rb"a\x0d\x0ab"),
        (b'x" "y', rb"x\" \"y"),
        (b"back\\slash", rb"back\\slash"),
        (b"\x1b[31m", rb"\x1b[31m"),
        (b"caf\xc3\xa9", rb"caf\xc3\xa9"),
    ],
)
def test_no_value_can_end_a_line_or_close_a_field(agent: bytes, written: bytes) -> None:
    line = text(ExchangeRecord(start=0.0, user_agent=agent))
    assert line.count(b"\n") == 1
    assert b'"' + written + b'"' in line


def test_a_json_line_has_istios_names_in_order_and_null_for_what_is_absent() -> None:
    line = AccessLogFormat(AccessLog("/dev/stdout", "JSON")).line(FULL)
    decoded = json.loads(line)
    assert list(decoded) == [
        "start_time",
        "route_name",
        "method",
        "path",
        "protocol",
        "response_code",
        "response_flags",
        "response_code_details",
        "connection_termination_details",
        "bytes_received",
        "bytes_sent",
        "duration",
        "upstream_service_time",
        "x_forwarded_for",
        "user_agent",
        "request_id",
        "authority",
        "upstream_host",
        "upstream_cluster",
        "upstream_local_address",
        "downstream_local_address",
        "downstream_remote_address",
        "requested_server_name",
        "upstream_transport_failure_reason",
    ]
    assert decoded["response_code"] == 503
    assert decoded["connection_termination_details"] is None
    assert decoded["upstream_service_time"] == "11"


def test_json_survives_bytes_that_are_not_text() -> None:
    line = AccessLogFormat(AccessLog("/dev/stdout", "JSON")).line(ExchangeRecord(start=0.0, user_agent=b'\xff"\n'))
    assert json.loads(line)["user_agent"] == '\\xff"\n'


def test_the_second_in_the_stamp_follows_the_record() -> None:
    form = AccessLogFormat(AccessLog("/dev/stdout", "TEXT"))
    stamps = [form.line(ExchangeRecord(start=start))[1:25] for start in (59.999, 60.0, 3599.5)]
    assert stamps == [b"1970-01-01T00:00:59.999Z", b"1970-01-01T00:01:00.000Z", b"1970-01-01T00:59:59.500Z"]


def short_line(form: AccessLogFormat, record: ExchangeRecord) -> bytes | None:
    """The record by the short way."""
    fields = {
        b"x-forwarded-for": record.forwarded_for,
        b"user-agent": record.user_agent,
        b"x-request-id": record.request_id,
    }
    return form.forwarded(
        record.start,
        record.method,
        record.path,
        record.protocol,
        record.code,
        record.details,
        record.bytes_received,
        record.bytes_sent,
        record.duration_ms,
        record.service_time_ms,
        {name: value for name, value in fields.items() if value is not None},
        record.authority,
        record.upstream_host,
        record.upstream_cluster,
        record.upstream_local,
        f"{record.downstream_local} {record.downstream_remote}",
        record.server_name,
        record.route_name,
    )


FORWARDED = ExchangeRecord(
    1_700_000_000.123, "GET", "/a?b", "HTTP/1.1", 200, "", "via_upstream", "", "", 7, 1024, 12, 11, b"10.0.0.1", b"curl", b"id-1",
    "a.test", "10.0.0.2:80", "outbound|80||a", "10.0.0.1:5", "10.0.0.1:80", "10.0.0.9:4", "", "r",
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"user_agent": b'a" 200', "forwarded_for": b"\xff\t\\"},
        {"user_agent": None, "forwarded_for": None, "request_id": None},
        {"user_agent": b"", "route_name": 'a "route"\nof two lines', "details": "caf\u00e9"},
        {"upstream_cluster": "a\\b", "server_name": "x\ty"},
        {"authority": "b.test:8080", "request_id": b"-"},
    ],
)
def test_the_short_way_to_a_text_line_writes_what_the_long_way_writes(changes: dict[str, object]) -> None:
    form = AccessLogFormat(AccessLog("/dev/stdout", "TEXT"))
    record = msgspec.structs.replace(FORWARDED, **changes)
    assert short_line(form, record) == form.line(record)
    assert short_line(form, record) == form.line(record), "the second time, out of the table"


@pytest.mark.parametrize(
    "changes", [{"path": '/"'}, {"path": "/\\"}, {"request_id": b'x" 200'}, {"request_id": b"x" * 65}]
)
def test_a_target_or_request_id_that_needs_escapes_takes_the_long_way(changes: dict[str, object]) -> None:
    assert (
        short_line(AccessLogFormat(AccessLog("/dev/stdout", "TEXT")), msgspec.structs.replace(FORWARDED, **changes))
        is None
    )
