"""An EnvoyFilter's patches are answered one by one, with what serves the purpose of each."""

from __future__ import annotations

import json

import pytest

from compiler.carried_leaves import CARRIED, REFUSED
from compiler.envoy_answers import ADDED, CONFIGURED, FIELDS, FILTERS, PARTS, REMOVED, Instead
from tests.compiler.compiled import compilation

HTTP = "type.googleapis.com/envoy.extensions.filters.http"


def answer(**patch: object) -> str:
    """The next step that is given for one patch."""
    document = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "f", "namespace": "shop"},
        "spec": {"configPatches": [patch]},
    }
    found = [item for item in compilation(json.dumps(document)).diagnostics if item.code == "WFT0200"]
    assert len(found) == 1, found
    assert found[0].help
    return found[0].help


def http_filter(name: str, **config: object) -> str:
    value = {"name": name, "typed_config": config}
    return answer(applyTo="HTTP_FILTER", patch={"operation": "INSERT_BEFORE", "value": value})


def manager(**config: object) -> str:
    name = "envoy.filters.network.http_connection_manager"
    return answer(
        applyTo="NETWORK_FILTER",
        match={"listener": {"filterChain": {"filter": {"name": name}}}},
        patch={"operation": "MERGE", "value": {"typed_config": config}},
    )


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("envoy.filters.http.lua", {}, "a TrafficExtension with `lua`"),
        ("envoy.lua", {}, "a TrafficExtension with `lua`"),
        ("envoy.filters.http.ext_authz", {}, "action CUSTOM"),
        ("envoy.filters.http.jwt_authn", {}, "a RequestAuthentication"),
        ("envoy.filters.http.local_ratelimit", {}, "a RateLimit of weft/v1"),
        ("envoy.filters.http.ratelimit", {}, "Nothing does this: a RateLimit of weft/v1 limits in each proxy"),
        ("mine", {"@type": f"{HTTP}.local_ratelimit.v3.LocalRateLimit"}, "a RateLimit of weft/v1"),
        (
            "mine",
            {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": f"{HTTP}.wasm.v3.Wasm"},
            "a WasmPlugin",
        ),
        ("my-default-filter", {}, "a WasmPlugin"),
        ("envoy.filters.http.compressor", {}, "Nothing does this"),
        ("envoy.filters.http.fault", {}, "`fault` of a VirtualService"),
        ("envoy.filters.http.cors", {}, "`corsPolicy`"),
        ("envoy.filters.http.header_mutation", {}, "`headers` of a VirtualService"),
        ("envoy.filters.http.router", {"suppress_envoy_headers": True}, "`defaultConfig.proxyHeaders`"),
    ],
)
def test_a_filter_is_answered_by_its_name_or_by_its_configurations_type(
    name: str, config: dict[str, object], expected: str
) -> None:
    assert expected in http_filter(name, **config)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("access_log", "`accessLogging` of a Telemetry"),
        ("accessLog", "`accessLogging` of a Telemetry"),
        ("xff_num_trusted_hops", "`defaultConfig.gatewayTopology.numTrustedProxies`"),
        ("forward_client_cert_details", "forwardClientCertDetails"),
        ("normalize_path", "`pathNormalization` of the MeshConfig"),
        ("tracing", "`tracing` of a Telemetry"),
        ("request_timeout", "`timeout` of a VirtualService"),
        ("http_protocol_options", "preserveHttp1HeaderCase"),
        ("upgrade_configs", "WebSocket passes"),
        ("local_reply_config", "Nothing does what `local_reply_config` does"),
        ("unheard_of", "Nothing does what `unheard_of` does"),
    ],
)
def test_a_setting_of_the_connection_manager_is_answered_by_its_field(field: str, expected: str) -> None:
    assert expected in manager(**{field: 1})


def test_every_field_of_a_patch_has_its_answer_and_equal_answers_come_once() -> None:
    said = manager(access_log=[], use_remote_address=True, xff_num_trusted_hops=1)
    assert said.count("Use ") == 2
    assert "`use_remote_address`, `xff_num_trusted_hops`" in said


@pytest.mark.parametrize(
    ("part", "value", "expected"),
    [
        ("CLUSTER", {"outlier_detection": {}}, "`trafficPolicy.outlierDetection` of a DestinationRule"),
        ("CLUSTER", {"connect_timeout": "1s"}, "`trafficPolicy.connectionPool.tcp.connectTimeout`"),
        ("CLUSTER", {"lbPolicy": "RING_HASH"}, "`trafficPolicy.loadBalancer`"),
        ("CLUSTER", {"transport_socket": {}}, "`trafficPolicy.tls`"),
        ("CLUSTER", {"health_checks": []}, "Nothing does what `health_checks` does"),
        ("HTTP_ROUTE", {"route": {"timeout": "3s"}}, "`timeout` of a VirtualService"),
        ("HTTP_ROUTE", {"route": {"retry_policy": {}}}, "`retries` of a VirtualService"),
        ("HTTP_ROUTE", {"request_headers_to_add": []}, "`headers` of a VirtualService"),
        (
            "HTTP_ROUTE",
            {"typed_per_filter_config": {"envoy.filters.http.local_ratelimit": {}}},
            "a RateLimit of weft/v1",
        ),
        ("VIRTUAL_HOST", {"rate_limits": []}, "a RateLimit of weft/v1"),
        ("ROUTE_CONFIGURATION", {"response_headers_to_remove": ["server"]}, "`headers` of a VirtualService"),
        ("LISTENER", {"listener_filters": []}, "proxyProtocol"),
        ("FILTER_CHAIN", {"transport_socket": {}}, "`tls` of a Gateway's server"),
        ("BOOTSTRAP", {"stats_config": {}}, "`metrics` of a Telemetry"),
        ("BOOTSTRAP", {}, "bootstrap file"),
    ],
)
def test_a_merge_is_answered_by_the_fields_that_it_sets(part: str, value: dict[str, object], expected: str) -> None:
    assert expected in answer(applyTo=part, patch={"operation": "MERGE", "value": value})


@pytest.mark.parametrize(
    ("part", "operation", "expected"),
    [
        ("CLUSTER", "ADD", "a ServiceEntry"),
        ("CLUSTER", "REMOVE", "`egress.hosts` of a Sidecar"),
        ("HTTP_ROUTE", "REMOVE", "leave the rule out"),
        ("VIRTUAL_HOST", "ADD", "a VirtualService"),
    ],
)
def test_what_a_patch_does_decides_its_answer(part: str, operation: str, expected: str) -> None:
    assert expected in answer(applyTo=part, patch={"operation": operation, "value": {"name": "x"}})


def test_a_filter_is_taken_away_with_the_resource_that_asks_for_it() -> None:
    assert "remove that resource" in answer(
        applyTo="HTTP_FILTER",
        match={"listener": {"filterChain": {"filter": {"subFilter": {"name": "envoy.filters.http.fault"}}}}},
        patch={"operation": "REMOVE"},
    )


def test_a_patch_for_gateways_says_how_its_answer_is_bound() -> None:
    patch = {"operation": "INSERT_BEFORE", "value": {"name": "envoy.filters.http.cors"}}
    assert "Bind it to the gateway" in answer(applyTo="HTTP_FILTER", match={"context": "GATEWAY"}, patch=patch)
    assert "Bind it" not in answer(applyTo="HTTP_FILTER", match={"context": "SIDECAR_OUTBOUND"}, patch=patch)


def every_answer() -> set[Instead]:
    tables = [*FIELDS.values(), *(table for _, table in CONFIGURED), PARTS, ADDED, REMOVED, dict(FILTERS)]
    return {row for table in tables for row in table.values()}


def test_answers_name_kinds_and_places_that_there_are() -> None:
    known = {kind: CARRIED[kind] | REFUSED.get(kind, frozenset()) for kind in CARRIED}
    for row in every_answer():
        if row.kind:
            assert row.kind in known, row
        if row.path and "spec" not in known[row.kind]:
            places = known[row.kind]
            assert any(one.startswith(row.path) or row.path.startswith(f"{one}.") for one in places), row


def test_what_is_not_carried_yet_is_said_with_the_answer() -> None:
    assert "does not carry that yet" in http_filter("envoy.filters.http.wasm")
    assert "does not carry that yet" not in http_filter("envoy.filters.http.cors")
