"""Istio's metrics with all their labels, bounded, merged over workers, in Prometheus' text."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest

from runtime.telemetry.exposition import exposition, merge
from runtime.telemetry.flags import FLAGS, REPLIES, Failure, grpc_status
from runtime.telemetry.instruments import DECLARED, Instruments
from runtime.telemetry.labels import (
    REQUEST_LABELS,
    TCP_LABELS,
    UNKNOWN,
    WorkloadFacts,
    facts_of_endpoint,
    facts_of_registered,
    request_labels,
    tcp_labels,
)
from runtime.telemetry.metrics import MetricsSnapshot, RequestSeries, TrafficMetrics
from snapshot.live import RegisteredWorkload
from snapshot.section import Endpoint, ServiceName

SERVICE = ServiceName("ratings.shop.svc.cluster.local", "ratings", "shop")
CLIENT = WorkloadFacts("storefront-v1", "shop", "storefront", "v1", "storefront", "v1", "Kubernetes")
RATINGS = WorkloadFacts("ratings-v1", "shop", "ratings", "v1", "ratings", "v1", "Kubernetes")


def labels(code: int = 200, **changes: str) -> tuple[str, ...]:
    return request_labels(
        reporter=changes.get("reporter", "destination"),
        source=CLIENT,
        destination=RATINGS,
        service=SERVICE,
        source_principal="spiffe://cluster.local/ns/shop/sa/storefront",
        destination_principal="spiffe://cluster.local/ns/shop/sa/ratings",
        code=code,
        flags=changes.get("flags", ""),
        mutual_tls=True,
    )


def test_a_request_has_istios_labels_in_istios_order() -> None:
    metrics = TrafficMetrics()
    metrics.request(labels()).observe(3.0, 0, 1024)
    line = next(
        line for line in exposition(metrics.samples()).decode().splitlines() if line.startswith("istio_requests_total")
    )
    assert line == (
        'istio_requests_total{reporter="destination",source_workload="storefront-v1",source_canonical_service="storefront",'
        'source_canonical_revision="v1",source_workload_namespace="shop",'
        'source_principal="spiffe://cluster.local/ns/shop/sa/storefront",source_app="storefront",source_version="v1",'
        'source_cluster="Kubernetes",destination_workload="ratings-v1",destination_workload_namespace="shop",'
        'destination_principal="spiffe://cluster.local/ns/shop/sa/ratings",destination_app="ratings",destination_version="v1",'
        'destination_service="ratings.shop.svc.cluster.local",destination_canonical_service="ratings",'
        'destination_canonical_revision="v1",destination_service_name="ratings",destination_service_namespace="shop",'
        'destination_cluster="Kubernetes",request_protocol="http",response_code="200",grpc_response_status="",'
        'response_flags="-",connection_security_policy="mutual_tls"} 1'
    )


def conformance() -> Path:
    folder = Path(os.environ.get("WEFT_CONFORMANCE", Path(__file__).parents[3] / "shared" / "conformance"))
    if not folder.is_dir():
        if os.environ.get("WEFT_REQUIRE_ALL") == "1":
            pytest.fail(f"no conformance data at {folder}")
        pytest.skip(f"no conformance data at {folder}")
    return folder


@pytest.mark.parametrize(
    ("golden", "names"),
    [("client_request_total", REQUEST_LABELS), ("tcp_client_connection_close", TCP_LABELS)],
)
def test_the_label_names_are_those_of_istios_golden_series(golden: str, names: tuple[str, ...]) -> None:
    text = (conformance() / "golden" / "metrics" / f"{golden}.yaml.tmpl").read_text()
    # A template writes a name twice where only its value varies.
    assert tuple(dict.fromkeys(re.findall(r"^  - name: (\w+)$", text, re.MULTILINE))) == names


def test_a_source_does_not_claim_to_know_the_security_of_the_connection() -> None:
    assert labels(reporter="source")[-1] == "unknown"
    assert labels()[-1] == "mutual_tls"
    plain = tcp_labels(reporter="destination", source=UNKNOWN, destination=RATINGS, service=SERVICE)
    assert plain[-3:] == ("tcp", "-", "none")


def test_a_grpc_request_is_labelled_with_its_status() -> None:
    values = request_labels(reporter="source", source=CLIENT, destination=RATINGS, service=SERVICE, code=200, grpc="14")
    assert values[REQUEST_LABELS.index("request_protocol")] == "grpc"
    assert values[REQUEST_LABELS.index("grpc_response_status")] == "14"


@pytest.mark.parametrize(
    ("pairs", "service", "revision"),
    [
        ({"app": "reviews", "version": "v2"}, "reviews", "v2"),
        ({"app.kubernetes.io/name": "r", "app": "x", "app.kubernetes.io/version": "3", "version": "v2"}, "r", "3"),
        ({"service.istio.io/canonical-name": "c", "service.istio.io/canonical-revision": "9"}, "c", "9"),
        ({}, "reviews-v2", "latest"),
    ],
)
def test_canonical_names_follow_istios_precedence(pairs: dict[str, str], service: str, revision: str) -> None:
    items = tuple(sorted(pairs.items()))
    endpoint = facts_of_endpoint(Endpoint("127.0.0.1", 80, labels=items, workload="reviews-v2", namespace="shop"))
    registered = facts_of_registered(
        RegisteredWorkload("shop", "reviews-v2", "127.0.0.1", items, "spiffe://x/ns/a/sa/b")
    )
    assert (endpoint.canonical_service, endpoint.canonical_revision) == (service, revision)
    assert registered == endpoint


def test_histogram_bounds_are_inclusive_and_cumulative() -> None:
    metrics = TrafficMetrics()
    series = metrics.request(labels())
    for duration in (0.5, 0.6, 1, 4_000_000):
        series.observe(duration, 0, 0)
    text = exposition(metrics.samples()).decode()
    counts = re.findall(r'duration_milliseconds_bucket\{.*,le="([^"]+)"\} (\d+)', text)
    assert counts[:3] == [("0.5", "1"), ("1", "3"), ("5", "3")]
    assert counts[-2:] == [("3600000", "3"), ("+Inf", "4")]
    assert re.search(r"duration_milliseconds_sum\{.*\} 4000002.1$", text, re.MULTILINE)


def test_series_are_bounded_and_the_refused_ones_counted() -> None:
    metrics = TrafficMetrics(max_series=2)
    for code in (200, 201, 202, 203):
        metrics.request(labels(code)).observe(1, 0, 0)
    assert len(metrics.samples().requests) == 2
    assert b"weft_series_dropped_total 2\n" in exposition(metrics.samples())


def test_workers_snapshots_travel_and_add_up() -> None:
    workers = [TrafficMetrics(), TrafficMetrics()]
    for worker in workers:
        worker.request(labels()).observe(2, 10, 20)
        connection = worker.tcp(tcp_labels(reporter="source", source=CLIENT, destination=RATINGS, service=SERVICE))
        connection.opened += 1
        connection.sent += 5
    workers[1].request(labels(503, flags="UH")).observe(1, 0, 0)
    travelled = [
        msgspec.msgpack.decode(msgspec.msgpack.encode(worker.samples()), type=MetricsSnapshot) for worker in workers
    ]
    merged = merge(travelled)
    assert sorted(sum(one.duration) for one in merged.requests) == [1, 2]
    assert (merged.tcp[0].opened, merged.tcp[0].sent) == (2, 10)
    assert sum(travelled[0].requests[0].duration) == 1


def test_a_label_value_cannot_break_out_of_its_quotes() -> None:
    metrics = TrafficMetrics()
    metrics.request(labels(flags='a"\n\\')).observe(1, 0, 0)
    assert 'response_flags="a\\"\\n\\\\"' in exposition(metrics.samples()).decode()


def test_gauges_merge_as_they_are_declared() -> None:
    one, other = Instruments(), Instruments()
    one.set("weft_cert_expiry_seconds", 100, "svid")
    other.set("weft_cert_expiry_seconds", 50, "svid")
    one.raise_to("weft_lane_pause_seconds", 0.002)
    one.raise_to("weft_lane_pause_seconds", 0.001)
    other.add("weft_swap_total", "ok")
    one.add("weft_swap_total", "ok")
    merged = merge([MetricsSnapshot(own=each.samples()) for each in (one, other)])
    assert {(sample.name, sample.value) for sample in merged.own} == {
        ("weft_cert_expiry_seconds", 50),
        ("weft_lane_pause_seconds", 0.002),
        ("weft_swap_total", 2),
    }


def test_an_undeclared_metric_or_wrong_labels_is_a_bug() -> None:
    with pytest.raises(KeyError):
        Instruments().add("weft_nonsense_total")
    with pytest.raises(AssertionError):
        Instruments().add("weft_swap_total")


def test_every_own_metric_has_a_prefix_help_and_a_known_merge() -> None:
    for name, declared in DECLARED.items():
        # What Envoy or Istio counts too has their name; Envoy's have no suffix for counters.
        assert name.startswith(("weft_", "dns_", "envoy_cluster_", "envoy_udp_"))
        assert declared.help.endswith(".")
        assert declared.merge in {"sum", "max", "min"}
        if name.startswith("weft_"):
            assert (declared.kind == "counter") == name.endswith("_total")


def test_every_failure_has_a_reply_whose_flags_are_known() -> None:
    assert set(REPLIES) == set(Failure)
    for failure, reply in REPLIES.items():
        assert reply.details, failure
        assert " " not in reply.details, failure
        assert all(flag in FLAGS for flag in reply.flag.split(",") if flag), failure


@pytest.mark.parametrize(
    ("failure", "status", "flag", "grpc"),
    [
        (Failure.NO_ROUTE, 404, "NR", 12),
        (Failure.NO_HEALTHY_UPSTREAM, 503, "UH", 14),
        (Failure.OVERFLOW, 503, "UO", 14),
        (Failure.UPSTREAM_TIMEOUT, 504, "UT", 14),
        (Failure.RBAC_DENIED, 403, "", 7),
        (Failure.DOWNSTREAM_PROTOCOL, 400, "DPE", 13),
        (Failure.UPSTREAM_CLOSED, 503, "UC", 14),
        (Failure.UPSTREAM_RESET, 503, "UR", 14),
        (Failure.UPSTREAM_REFUSED, 503, "UR", 14),
    ],
)
def test_failures_answer_as_envoy_does(failure: Failure, status: int, flag: str, grpc: int) -> None:
    reply = REPLIES[failure]
    assert (reply.status, reply.flag, grpc_status(reply)) == (status, flag, grpc)


def test_the_request_count_is_the_number_of_observed_durations() -> None:
    series = RequestSeries(labels())
    for _ in range(3):
        series.observe(1, 1, 1)
    assert sum(series.duration) == sum(series.request_size) == sum(series.response_size) == 3
