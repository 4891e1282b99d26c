"""The reference page of telemetry, made from the tables that the proxy itself uses. ``python -m runtime.telemetry.reference`` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from runtime.telemetry.access_log import AccessLogFormat, ExchangeRecord, JsonLine
from runtime.telemetry.exposition import REQUEST_METRICS, TCP_METRICS
from runtime.telemetry.flags import FLAGS, REPLIES
from runtime.telemetry.instruments import DECLARED
from runtime.telemetry.labels import REQUEST_LABELS, TCP_LABELS
from snapshot.section import AccessLog

EXAMPLE = ExchangeRecord(
    start=1767603600.0,
    method="GET",
    path="/books/1",
    protocol="HTTP/1.1",
    code=200,
    details="via_upstream",
    bytes_sent=187,
    duration_ms=3,
    service_time_ms=2,
    user_agent=b"curl/8.5.0",
    request_id=b"8f0c1e2a-6f0b-4f2e-9c55-0d8a4c3b2a10",
    authority="catalogue:9080",
    upstream_host="127.20.0.3:9080",
    upstream_cluster="outbound|9080||catalogue.bookshop.svc.cluster.local",
    upstream_local="127.20.0.2:41012",
    downstream_local="127.20.0.2:15001",
    downstream_remote="127.0.0.1:52044",
    route_name="default",
)


def telemetry_page() -> str:
    """The page as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (
        "# Metrics, response flags and access log",
        "",
        "Made from the program's own tables by `python -m runtime.telemetry.reference`; a test keeps it true.",
        "",
        "Metrics are at `:15090/stats/prometheus` and `:15020/stats/prometheus` of each proxy, in the Prometheus text format.",
        "",
        "## Traffic",
        "",
        *(f"- `{name}`: {text}" for name, text in (REQUEST_METRICS | TCP_METRICS).items()),
        "",
        f"Labels of requests, in order: {_names(REQUEST_LABELS)}.",
        "",
        f"Labels of TCP connections, in order: {_names(TCP_LABELS)}.",
        "",
        "## The proxy itself",
        "",
        "| Metric | Kind | Labels | Meaning |",
        "|---|---|---|---|",
        *(f"| `{one.name}` | {one.kind} | {_names(one.labels) or '-'} | {one.help} |" for one in DECLARED.values()),
        "",
        "## Response flags",
        "",
        "| Flag | Meaning |",
        "|---|---|",
        *(f"| `{flag}` | {meaning} |" for flag, meaning in FLAGS.items()),
        "",
        "## Failures and the replies to them",
        "",
        "Status 0 means that nobody was left to answer.",
        "",
        "| Failure | Status | Flag | Details |",
        "|---|---|---|---|",
        *(
            f"| {one.value} | {reply.status} | {reply.flag or '-'} | `{reply.details}` |"
            for one, reply in REPLIES.items()
        ),
    )
    yield from _log_lines()


def _log_lines() -> Iterator[str]:
    yield from (
        "",
        "## Access log",
        "",
        "`accessLogFile` of MeshConfig turns it on, `accessLogEncoding` chooses the form.",
        "",
    )
    for encoding in ("TEXT", "JSON"):
        line = AccessLogFormat(AccessLog("/dev/stdout", encoding)).line(EXAMPLE).decode().rstrip()
        yield from (f"{encoding}:", "", f"    {line}", "")
    yield f"Fields of the JSON form: {_names(JsonLine.__struct_fields__)}."


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(telemetry_page())
