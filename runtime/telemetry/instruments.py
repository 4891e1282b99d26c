"""weft's own metrics: every name is declared in DECLARED, once, and the reference page is made from it."""

from __future__ import annotations

import msgspec

from runtime.telemetry.labels import Labels
from runtime.telemetry.metrics import OwnSample


class Declaration(msgspec.Struct, frozen=True):
    """One metric. ``kind`` is ``counter``, ``gauge`` or ``histogram``, whose ``bounds`` are inclusive.

    ``merge`` says how the values of several processes become one: ``sum``, ``max`` or ``min``."""

    name: str
    kind: str
    help: str
    labels: Labels = ()
    merge: str = "sum"
    bounds: tuple[float, ...] = ()


DECLARED: dict[str, Declaration] = {
    one.name: one
    for one in (
        Declaration(
            "weft_snapshot_info",
            "gauge",
            "1 for the snapshot that is serving.",
            ("digest", "commit", "channel", "version"),
            "max",
        ),
        Declaration(
            "weft_snapshot_age_seconds", "gauge", "Seconds since the serving snapshot was swapped in.", (), "max"
        ),
        Declaration(
            "weft_snapshot_fresh",
            "gauge",
            "1 while the store's timestamp is valid, 0 once it has expired.",
            (),
            "min",
        ),
        Declaration(
            "weft_swap_total", "counter", "Snapshots taken up or refused, by result (ok, refused).", ("result",), "sum"
        ),
        Declaration("weft_swap_duration_seconds", "gauge", "Seconds that the last prepare and swap took.", (), "max"),
        Declaration(
            "weft_prepare_failed_total",
            "counter",
            "Snapshots that could not be prepared; the old one kept serving.",
            ("reason",),
            "sum",
        ),
        Declaration(
            "weft_fetch_problem_total",
            "counter",
            "Releases that were not taken from the store, by reason.",
            ("reason",),
            "sum",
        ),
        Declaration(
            "weft_cert_expiry_seconds",
            "gauge",
            "Seconds until a certificate expires; negative when it has.",
            ("role",),
            "min",
        ),
        Declaration(
            "weft_cert_rotation_failed_total", "counter", "Attempts to renew the identity that failed.", (), "sum"
        ),
        Declaration("weft_worker_restarts_total", "counter", "Workers started again after they ended.", (), "sum"),
        Declaration(
            "weft_lane_pause_seconds",
            "gauge",
            "The longest time the lane did not serve while a snapshot was prepared or swapped.",
            (),
            "max",
        ),
        Declaration(
            "weft_lane_work_seconds",
            "gauge",
            "The most CPU time that the lane's thread used in one stretch away from its sockets; what a pause was longer than this, "
            "the machine's other work took.",
            (),
            "max",
        ),
        Declaration("weft_connections", "gauge", "Open connections of the data plane, by side.", ("side",), "sum"),
        Declaration("weft_connections_total", "counter", "Connections accepted or opened, by side.", ("side",), "sum"),
        Declaration(
            "weft_listener_connections", "gauge", "Open downstream connections, by listener.", ("listener",), "sum"
        ),
        Declaration(
            "weft_listener_connections_total", "counter", "Connections accepted, by listener.", ("listener",), "sum"
        ),
        Declaration(
            "weft_certificate_ended_total",
            "counter",
            "Downstream connections asked to leave because their client's certificate had ended.",
            (),
            "sum",
        ),
        Declaration(
            "weft_connection_refused_total",
            "counter",
            "Connections closed before a request, by reason.",
            ("reason",),
            "sum",
        ),
        Declaration(
            "weft_connection_bugs_total",
            "counter",
            "Connections that an unexpected exception ended; each is logged with its traceback.",
            (),
            "sum",
        ),
        Declaration(
            "weft_handshake_failed_total",
            "counter",
            "TLS handshakes that failed, by side and reason.",
            ("side", "reason"),
            "sum",
        ),
        Declaration(
            "weft_protocol_error_total",
            "counter",
            "HTTP/2 connections ended because the downstream broke the protocol or flooded, by reason.",
            ("reason",),
            "sum",
        ),
        Declaration(
            "weft_application_scrape_failed_total",
            "counter",
            "Times that the application's metrics could not be shown with the proxy's, by reason (unreachable, status, too_large).",
            ("reason",),
            "sum",
        ),
        Declaration(
            "weft_rate_limit_total",
            "counter",
            "Requests that a local rate limit counted, by limit (its place in Git) and result (ok, limited).",
            ("limit", "result"),
            "sum",
        ),
        Declaration(
            "weft_access_log_dropped_total",
            "counter",
            "Access log lines lost because the log did not take them.",
            (),
            "sum",
        ),
        Declaration(
            "weft_series_dropped_total",
            "counter",
            "Traffic series refused because the limit of series was reached.",
            (),
            "sum",
        ),
        Declaration(
            "weft_registry_version", "gauge", "Version of the registry of workloads that is in use.", (), "max"
        ),
        Declaration(
            "weft_jwks_age_seconds",
            "gauge",
            "Seconds since the oldest of the issuers' key sets was fetched.",
            (),
            "max",
        ),
        Declaration("weft_jwks_fetch_failed_total", "counter", "Fetches of issuers' key sets that failed.", (), "sum"),
        Declaration(
            "weft_endpoint_refused_total",
            "counter",
            "Endpoints not used because their identity does not fit their cluster.",
            (),
            "sum",
        ),
        Declaration("dns_requests_total", "counter", "DNS queries of the application.", (), "sum"),
        Declaration(
            "dns_upstream_requests_total", "counter", "DNS queries that other resolvers were asked.", (), "sum"
        ),
        Declaration(
            "dns_upstream_failures_total", "counter", "DNS queries that no other resolver answered.", (), "sum"
        ),
        Declaration(
            "dns_upstream_request_duration_seconds",
            "histogram",
            "How long other resolvers took to answer a DNS query, in seconds.",
            ("le",),
            "sum",
            (0.001, 0.005, 0.01, 0.1, 1, 5),
        ),
        Declaration(
            "envoy_cluster_outlier_detection_ejections_active",
            "gauge",
            "Endpoints that outlier detection leaves out now.",
            ("cluster_name",),
            "max",
        ),
        Declaration(
            "envoy_cluster_outlier_detection_ejections_enforced_total",
            "counter",
            "Endpoints that outlier detection has left out, for any cause.",
            ("cluster_name",),
            "sum",
        ),
        Declaration(
            "envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx",
            "counter",
            "Endpoints left out for 5xx in a row.",
            ("cluster_name",),
            "sum",
        ),
        Declaration(
            "envoy_cluster_outlier_detection_ejections_enforced_consecutive_gateway_failure",
            "counter",
            "Endpoints left out for 502, 503 and 504 in a row.",
            ("cluster_name",),
            "sum",
        ),
        Declaration(
            "envoy_cluster_outlier_detection_ejections_enforced_consecutive_local_origin_failure",
            "counter",
            "Endpoints left out for connections that failed in a row.",
            ("cluster_name",),
            "sum",
        ),
        Declaration(
            "envoy_cluster_outlier_detection_ejections_overflow",
            "counter",
            "Endpoints that stayed in use because too many were left out already.",
            ("cluster_name",),
            "sum",
        ),
        Declaration(
            "envoy_cluster_upstream_cx_overflow",
            "counter",
            "Connections that a cluster's limit of connections did not allow.",
            ("cluster_name",),
            "sum",
        ),
        Declaration(
            "envoy_cluster_upstream_rq_pending_overflow",
            "counter",
            "Requests that a cluster's limits of requests, pending or in flight, refused.",
            ("cluster_name",),
            "sum",
        ),
        Declaration(
            "envoy_cluster_upstream_rq_retry_overflow",
            "counter",
            "Retries that were not made because a cluster has too many under way.",
            ("cluster_name",),
            "sum",
        ),
        Declaration(
            "envoy_cluster_upstream_cx_none_healthy",
            "counter",
            "Requests, connections and UDP sessions for which a cluster had no endpoint.",
            ("cluster_name",),
            "sum",
        ),
        Declaration(
            "envoy_udp_downstream_sess_total",
            "counter",
            "UDP sessions begun, by listener.",
            ("udp_prefix",),
            "sum",
        ),
        Declaration(
            "envoy_udp_downstream_sess_active",
            "gauge",
            "UDP sessions open now.",
            ("udp_prefix",),
            "sum",
        ),
        Declaration(
            "envoy_udp_downstream_sess_rx_datagrams",
            "counter",
            "Datagrams from clients.",
            ("udp_prefix",),
            "sum",
        ),
        Declaration(
            "envoy_udp_downstream_sess_rx_bytes",
            "counter",
            "Bytes in datagrams from clients.",
            ("udp_prefix",),
            "sum",
        ),
        Declaration(
            "envoy_udp_downstream_sess_tx_datagrams",
            "counter",
            "Datagrams to clients.",
            ("udp_prefix",),
            "sum",
        ),
        Declaration(
            "envoy_udp_downstream_sess_tx_bytes",
            "counter",
            "Bytes in datagrams to clients.",
            ("udp_prefix",),
            "sum",
        ),
        Declaration(
            "envoy_udp_downstream_sess_rx_errors",
            "counter",
            "Datagrams that could not be received, and endpoints that refused theirs (ICMP port unreachable).",
            ("udp_prefix",),
            "sum",
        ),
        Declaration(
            "envoy_udp_downstream_sess_tx_errors",
            "counter",
            "Datagrams that could not be passed on.",
            ("udp_prefix",),
            "sum",
        ),
        Declaration(
            "envoy_udp_downstream_sess_no_route",
            "counter",
            "Datagrams dropped because no destination is there for them.",
            ("udp_prefix",),
            "sum",
        ),
        Declaration(
            "envoy_udp_idle_timeout",
            "counter",
            "UDP sessions that ended because they were silent.",
            ("udp_prefix",),
            "sum",
        ),
    )
}
"""All metrics of weft's proxies, in the order in which they are printed."""


class Instruments:
    """The ``weft_*`` values of one process. A name that is not declared, or a wrong number of labels, is a bug (KeyError, AssertionError)."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[tuple[str, Labels], float] = {}

    def add(self, name: str, *labels: str, amount: float = 1) -> None:
        """Counts up."""
        key = self._key(name, labels)
        self._values[key] = self._values.get(key, 0) + amount

    def set(self, name: str, value: float, *labels: str) -> None:
        """Sets a gauge."""
        self._values[self._key(name, labels)] = value

    def raise_to(self, name: str, value: float, *labels: str) -> None:
        """Sets a gauge where ``value`` is larger than what it holds."""
        key = self._key(name, labels)
        if value > self._values.get(key, float("-inf")):
            self._values[key] = value

    def observe(self, name: str, value: float) -> None:
        """Counts a value into a histogram."""
        bounds = DECLARED[name].bounds
        bound = next((format(one, "g") for one in bounds if value <= one), "+Inf")
        for part, amount in ((bound, 1.0), ("sum", value)):
            self._values[name, (part,)] = self._values.get((name, (part,)), 0) + amount

    def forget(self, name: str) -> None:
        """Drops all series of one name; used before an info metric is set to new labels."""
        for key in [key for key in self._values if key[0] == name]:
            del self._values[key]

    def value(self, name: str, *labels: str) -> float:
        """What a series holds; 0 where it was never set."""
        return self._values.get(self._key(name, labels), 0)

    def samples(self) -> list[OwnSample]:
        """A copy of all values."""
        return [OwnSample(name, labels, value) for (name, labels), value in self._values.items()]

    @staticmethod
    def _key(name: str, labels: Labels) -> tuple[str, Labels]:
        assert len(labels) == len(DECLARED[name].labels), f"{name} has labels {DECLARED[name].labels}, not {labels}"
        return name, labels
