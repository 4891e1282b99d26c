"""What is said of each finished exchange: one observation of its metric series, and one access-log line where a log is on.

Finding a series means composing 25 labels, so it is done once for each combination of what can differ and kept on the cluster (or, for
replies of our own, on the generation); afterwards an exchange costs one look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.telemetry import (
    AccessLogFormat,
    ExchangeRecord,
    RequestSeries,
    TcpSeries,
    WorkloadFacts,
    request_labels,
    tcp_labels,
)
from runtime.telemetry.labels import UNKNOWN, facts_of_endpoint
from snapshot.section import ServiceName

if TYPE_CHECKING:
    from runtime.accepting import Accepted
    from runtime.http.exchange import Exchange
    from runtime.http.replies import Refusal
    from runtime.plane import Plane
    from runtime.tcp.relay import TcpRelay
    from runtime.udp.session import UdpSession

MAX_BUFFERED = 1 << 20
"""Bytes of log lines that wait for a log that does not take them; beyond, lines are dropped and counted (never the traffic's problem)."""
MAX_SERIES_KEPT = 4096
"""Series that one cluster keeps at hand; TrafficMetrics bounds how many there are."""
_NO_SERVICE = ServiceName("", "", "")


class Reporter:
    """Counts and logs. Owns the log lines that wait to be written, and who the registry says lives at an address."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._format: AccessLogFormat | None = None
        self._lines: list[bytes] = []
        self._buffered = 0
        self._workloads: dict[str, WorkloadFacts] = {}

    def configure(self, access_log: AccessLogFormat | None) -> None:
        """Turns the access log on in a format, or off."""
        self._format = access_log

    def know(self, workloads: dict[str, WorkloadFacts]) -> None:
        """Who lives at which address, for the labels of callers."""
        self._workloads = workloads

    def take_lines(self) -> bytes:
        """The lines since the last call."""
        data = b"".join(self._lines)
        self._lines.clear()
        self._buffered = 0
        return data

    # --- HTTP ----------------------------------------------------------------------------------------------------------------

    def exchange(self, one: Exchange) -> None:
        """Counts and logs one exchange."""
        duration_ms = (self._plane.lane.now - one.started) * 1000
        peer = one.downstream.peer
        cluster = one.cluster
        key = (one.chain.key, peer.identity or peer.source_ip, one.code, one.flags, one.grpc_status, one.upstream_host)
        kept = cluster.series if cluster is not None else one.generation.series
        series = kept.get(key)
        if series is None:
            series = self._series(one)
            if len(kept) >= MAX_SERIES_KEPT:
                kept.clear()
            kept[key] = series
        series.observe(duration_ms, one.bytes_received, one.bytes_sent)
        if self._format is not None:
            self._log(one, int(duration_ms))

    def _series(self, one: Exchange) -> RequestSeries:
        generation = one.generation
        peer = one.downstream.peer
        cluster = one.cluster
        service = cluster.section.service if cluster is not None else _NO_SERVICE
        if one.chain.direction == "inbound":
            labels = request_labels(
                reporter="destination",
                source=self._workloads.get(peer.source_ip, UNKNOWN),
                destination=generation.workload,
                service=service,
                source_principal=peer.identity,
                destination_principal=generation.identity if peer.identity else "",
                code=one.code,
                flags=",".join(one.flags),
                grpc=one.grpc_status,
                mutual_tls=bool(peer.identity),
            )
        else:
            endpoint = one.endpoint
            mesh = endpoint is not None and endpoint.mesh
            labels = request_labels(
                reporter="source",
                source=generation.workload,
                destination=facts_of_endpoint(endpoint) if endpoint is not None else UNKNOWN,
                service=service,
                source_principal=generation.identity if mesh else "",
                destination_principal=endpoint.identity if endpoint is not None else "",
                code=one.code,
                flags=",".join(one.flags),
                grpc=one.grpc_status,
            )
        return self._plane.metrics.request(
            labels, ("|".join(one.chain.key), cluster.section.name if cluster is not None else "")
        )

    def _log(self, one: Exchange, duration_ms: int) -> None:
        form = self._format
        assert form is not None
        head = one.head
        target = head.path if head.query is None else f"{head.path}?{head.query}"
        cluster = one.cluster
        if form.text and not one.flags and not one.transport_failure and cluster is not None and one.upstream_local:
            peer = one.downstream.peer
            line = form.forwarded(
                one.started + self._plane.wall_offset,
                head.method,
                target,
                one.downstream.protocol,
                one.code,
                one.details,
                one.bytes_received,
                one.bytes_sent,
                duration_ms,
                one.service_time_ms,
                one.fields,
                head.authority,
                one.upstream_host,
                cluster.section.name,
                one.upstream_local,
                peer.addresses,
                peer.server_name,
                one.plan.decision.route_name,
            )
            if line is not None:
                self._append(line)
                return
        self._append(form.line(self._record(one, target, duration_ms)))

    def _record(self, one: Exchange, target: str, duration_ms: int) -> ExchangeRecord:
        head = one.head
        fields = one.fields
        peer = one.downstream.peer
        return ExchangeRecord(
            one.started + self._plane.wall_offset,
            head.method,
            target,
            one.downstream.protocol,
            one.code,
            ",".join(one.flags),
            one.details,
            "",
            one.transport_failure.replace(" ", "_"),
            one.bytes_received,
            one.bytes_sent,
            duration_ms,
            one.service_time_ms,
            fields.get(b"x-forwarded-for"),
            fields.get(b"user-agent"),
            fields.get(b"x-request-id"),
            head.authority,
            one.upstream_host,
            one.cluster.section.name if one.cluster is not None else "",
            one.upstream_local,
            f"{peer.destination_ip}:{peer.destination_port}",
            f"{peer.source_ip}:{peer.source_port}",
            peer.server_name,
            one.plan.decision.route_name,
        )

    def _append(self, line: bytes) -> None:
        if self._buffered > MAX_BUFFERED:
            self._plane.instruments.add("weft_access_log_dropped_total")
            return
        self._buffered += len(line)
        self._lines.append(line)

    def refused(self, accepted: Accepted, refusal: Refusal, now: float) -> None:
        """Logs a message that broke the protocol before it became an exchange."""
        self._plane.instruments.add("weft_connection_refused_total", refusal.reason)
        if self._format is not None:
            peer = accepted.peer
            record = ExchangeRecord(
                now + self._plane.wall_offset,
                code=refusal.status,
                flags=refusal.reply.flag,
                details=refusal.reply.details,
                termination=refusal.reason,
                bytes_sent=len(refusal.reply.body),
                downstream_local=f"{peer.destination_ip}:{peer.destination_port}",
                downstream_remote=f"{peer.source_ip}:{peer.source_port}",
                server_name=peer.server_name,
            )
            self._append(self._format.line(record))

    # --- TCP -----------------------------------------------------------------------------------------------------------------

    def relay_opened(self, relay: TcpRelay) -> None:
        """Counts a TCP connection whose upstream is there."""
        self._relay_series(relay).opened += 1

    def relay_closed(self, relay: TcpRelay) -> None:
        """Counts and logs a TCP connection that is over."""
        series = self._relay_series(relay)
        series.closed += 1
        series.sent += relay.bytes_sent
        series.received += relay.bytes_received
        self._log_bytes(relay)

    def session_closed(self, session: UdpSession) -> None:
        """Logs a UDP session that is over; what is counted of it, its listener counts."""
        self._log_bytes(session)

    def _log_bytes(self, relay: TcpRelay | UdpSession) -> None:
        if self._format is not None:
            peer = relay.accepted.peer
            record = ExchangeRecord(
                relay.started + self._plane.wall_offset,
                flags=relay.flags,
                transport_failure=relay.transport_failure.replace(" ", "_"),
                bytes_received=relay.bytes_received,
                bytes_sent=relay.bytes_sent,
                duration_ms=int((self._plane.lane.now - relay.started) * 1000),
                upstream_host=f"{relay.endpoint.address}:{relay.endpoint.port}" if relay.endpoint is not None else "",
                upstream_cluster=relay.cluster.section.name if relay.cluster is not None else "",
                downstream_local=f"{peer.destination_ip}:{peer.destination_port}",
                downstream_remote=f"{peer.source_ip}:{peer.source_port}",
                server_name=peer.server_name,
            )
            self._append(self._format.line(record))

    def _relay_series(self, relay: TcpRelay) -> TcpSeries:
        generation = relay.generation
        peer = relay.accepted.peer
        endpoint = relay.endpoint
        inbound = relay.accepted.chain.direction == "inbound"
        there = facts_of_endpoint(endpoint) if endpoint is not None else UNKNOWN
        labels = tcp_labels(
            reporter="destination" if inbound else "source",
            source=self._workloads.get(peer.source_ip, UNKNOWN) if inbound else generation.workload,
            destination=generation.workload if inbound else there,
            service=relay.cluster.section.service if relay.cluster is not None else _NO_SERVICE,
            source_principal=peer.identity if inbound else "",
            flags=relay.flags,
            mutual_tls=bool(peer.identity),
        )
        return self._plane.metrics.tcp(labels)
