"""Parts of resources, as Istio's tables hand them to one validator -> the whole resource that holds such a part and nothing else of note.

A part is judged by what the whole resource is told. What the original wrote as code is worked out where it is a repeated text or a duration.
A nil item of a list is left out: no YAML that a cluster accepts has one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

Whole = dict[str, Any]
_KB = 1024
_SIZES = {"101*kb": 101 * _KB, "(100*kb)+1": 100 * _KB + 1, "(1*mb)+1": _KB * _KB + 1}


def whole(function: str, arguments: list[Any]) -> Whole | None:
    """The resource that holds what a validator of Istio was called with; None where nothing that is written in YAML holds it."""
    build = _BUILDERS.get(function)
    try:
        return build(*[_plain(argument) for argument in arguments]) if build else None
    except LookupError:
        return None


def proxy_configs(name: str) -> list[Whole]:
    """A MeshConfig for each change that a row of TestValidateMeshConfigProxyConfig makes to a valid one; the table kept its name alone.

    Rows of one name make different changes of one kind; each is held to what they expect.
    """
    return [
        {
            "apiVersion": "weft/v1",
            "kind": "MeshConfig",
            "metadata": {"name": "whole"},
            "spec": {"defaultConfig": change},
        }
        for change in _CHANGES.get(name, ())
    ]


def _lightstep(address: str, token: str) -> Whole:
    return {"tracing": {"lightstep": {"address": address, "accessToken": token}}}


_CHANGES: dict[str, list[Whole]] = {
    "config path invalid": [{"configPath": ""}],
    "binary path invalid": [{"binaryPath": ""}],
    "discovery address invalid": [{"discoveryAddress": "10.0.0.100"}],
    "proxy admin port invalid": [{"proxyAdminPort": 0}, {"proxyAdminPort": 65536}],
    "validate vstatus port": [{"statusPort": 0}, {"statusPort": 65536}],
    "drain duration invalid": [{"drainDuration": "-1s"}],
    "service cluster invalid": [{"serviceCluster": ""}],
    "statsd udp address invalid": [{"statsdUdpAddress": "10.0.0.100"}],
    "envoy metrics service address invalid": [{"envoyMetricsService": {"address": "metrics-service"}}],
    "control plane auth policy invalid": [{"controlPlaneAuthPolicy": 23}],
    "zipkin address is valid": [{"tracing": {"zipkin": {"address": "zipkin.istio-system:9411"}}}],
    "zipkin address with $(HOST_IP) is valid": [{"tracing": {"zipkin": {"address": "$(HOST_IP):9411"}}}],
    "lightstep address invalid": [_lightstep("10.0.0.100", "token")],
    "lightstep address empty but lightstep access token is not": [_lightstep("", "token")],
    "lightstep address is valid but access token is empty": [_lightstep("lightstep-satellite:8080", "")],
    "lightstep access token empty but lightstep address is not": [_lightstep("10.0.0.100:8080", "")],
    "lightstep address and lightstep token both empty": [_lightstep("", "")],
    "datadog without address": [{"tracing": {"datadog": {}}}],
    "custom tags with a literal value": [
        {"tracing": {"customTags": {"clusterID": {"literal": {"value": "cluster1"}}}}}
    ],
    "custom tags with a nil value": [{"tracing": {"customTags": {"clusterID": None}}}],
    "private key provider with empty provider": [{"privateKeyProvider": {}}],
    "private key provider with cryptomb without poll_delay": [{"privateKeyProvider": {"cryptomb": {}}}],
    "private key provider with qat without poll_delay": [{"privateKeyProvider": {"qat": {}}}],
    "private key provider with qat zero poll_delay": [{"privateKeyProvider": {"qat": {"pollDelay": "0s"}}}],
    "private key provider with qat": [{"privateKeyProvider": {"qat": {"pollDelay": "1ms"}}}],
}


def _plain(value: Any) -> Any:
    if isinstance(value, dict) and "$expr" in value:
        return _worked_out(value["$expr"])
    if isinstance(value, dict) and value.keys() == {"type", "value"}:
        return _plain(value["value"])
    if isinstance(value, dict):
        return {name: _bytes(name, _plain(inner)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value if item is not None]
    return value


def _bytes(name: str, value: Any) -> Any:
    """The field ``bytes`` of a body is written in base64."""
    return base64.b64encode(value.encode()).decode() if name == "bytes" else value


def _worked_out(expression: str) -> str:
    """Raises LookupError for code that is no repeated text and no duration."""
    if found := re.fullmatch(r'strings\.Repeat\("(.)", (.+)\)', expression):
        return found[1] * _SIZES[found[2]]
    if found := re.fullmatch(r'time\.ParseDuration\("(.+)"\)', expression):
        return found[1]
    raise LookupError(expression)


def _resource(api_version: str, kind: str, spec: Any, namespace: str = "default") -> Whole:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "whole", "namespace": namespace},
        "spec": spec,
    }


def _virtual_service(rule: Whole, *, delegate: bool = False, **spec: Any) -> Whole:
    hosts = {} if delegate else {"hosts": ["foo.bar"]}
    return _resource("networking.istio.io/v1", "VirtualService", {**hosts, "http": [rule], **spec})


def _rule(**fields: Any) -> Whole:
    """A rule with these fields that are set, and a destination unless it answers by itself."""
    given = {name: value for name, value in fields.items() if value is not None}
    answers = given.keys() & {"redirect", "directResponse", "route"}
    return _virtual_service(given if answers else {"route": [_destination("foo.baz")], **given})


def _destination(host: str) -> Whole:
    return {"destination": {"host": host}}


def _rewritten(rewrite: Whole) -> Whole:
    return _rule(rewrite=rewrite)


def _redirected(redirect: Whole, *_: Any) -> Whole:
    return _virtual_service({"redirect": redirect})


def _server(server: Whole, *_: Any) -> Whole:
    return _resource("networking.istio.io/v1", "Gateway", {"selector": {"istio": "ingress"}, "servers": [server]})


def _served_port(port: Whole, bind: str) -> Whole:
    return _server({"hosts": ["foo.bar.com"], "port": port, **({"bind": bind} if bind else {})})


def _served_tls(tls: Whole) -> Whole:
    return _server({"hosts": ["foo.bar.com"], "port": {"number": 443, "name": "tls", "protocol": "TLS"}, "tls": tls})


def _destination_rule(policy: Any, **spec: Any) -> Whole:
    fields = {"host": "foo.bar", **({"trafficPolicy": policy} if policy is not None else {}), **spec}
    return _resource("networking.istio.io/v1", "DestinationRule", fields)


def _balanced(balancer: Whole, outlier: Any = None) -> Whole:
    return _destination_rule({"loadBalancer": balancer, **({"outlierDetection": outlier} if outlier else {})})


def _balanced_by(field: str) -> Callable[..., Whole]:
    def build(setting: Any, outlier: Any = None) -> Whole:
        return _balanced({"simple": "ROUND_ROBIN", **({field: setting} if setting is not None else {})}, outlier)

    return build


def _mesh(**settings: Any) -> Whole:
    spec = {name: value for name, value in settings.items() if value is not None}
    return {"apiVersion": "weft/v1", "kind": "MeshConfig", "metadata": {"name": "mesh"}, "spec": spec}


def _of_proxies(**settings: Any) -> Whole:
    return _mesh(defaultConfig=settings)


def _service_entry(**spec: Any) -> Whole:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    return _resource("networking.istio.io/v1", "ServiceEntry", {"hosts": ["foo.bar"], "ports": ports, **spec})


def _exported(namespace: str, export_to: list[str], is_entry: Any, has_selector: Any) -> Whole:
    spec: Whole = {"host": "foo.bar", "exportTo": export_to}
    if is_entry:
        return {**_service_entry(exportTo=export_to), "metadata": {"name": "whole", "namespace": namespace}}
    if has_selector:
        spec["workloadSelector"] = {"matchLabels": {"app": "a"}}
    return _resource("networking.istio.io/v1", "DestinationRule", spec, namespace)


def _for_gateway(sni: Any, host: str) -> Whole:
    """A host of a gateway by SNI; every other host is what it is elsewhere (a VirtualService would take an address as well)."""
    if not sni:
        return _destination_rule(None, host=host)
    rule = {"match": [{"sniHosts": [host]}], "route": [_destination("foo.baz")]}
    spec = {"hosts": [host], "gateways": ["gw"], "tls": [rule]}
    return _resource("networking.istio.io/v1", "VirtualService", spec)


def _logged(logging_filter: Whole) -> Whole:
    return _resource("telemetry.istio.io/v1", "Telemetry", {"accessLogging": [{"filter": logging_filter}]})


def _policy_number(number: int) -> Whole:
    """An enum's number; the two that have a meaning are written by name."""
    return _of_proxies(controlPlaneAuthPolicy={0: "NONE", 1: "MUTUAL_TLS"}.get(number, number))


_BUILDERS: dict[str, Callable[..., Whole]] = {
    "validateServer": _server,
    "validateServerPort": _served_port,
    "validateTLSOptions": _served_tls,
    "ValidateStrictHTTPHeaderName": lambda name: _rule(headers={"response": {"remove": [name]}}),
    "ValidateHTTPHeaderNameOrJwtClaimRoute": lambda name: _rule(match=[{"headers": {name: {"exact": "a"}}}]),
    "ValidateHTTPHeaderValue": lambda value: _rule(headers={"request": {"set": {"name": value}}}),
    "validateCORSPolicy": lambda policy: _rule(corsPolicy=policy),
    "validateHTTPStatus": lambda status: _rule(directResponse={"status": status}),
    "validateHTTPFaultInjectionAbort": lambda abort: _rule(fault={"abort": abort} if abort else None),
    "validateHTTPFaultInjectionDelay": lambda delay: _rule(fault={"delay": delay} if delay else None),
    "validateHTTPRewrite": _rewritten,
    "validateURIRegexRewrite": lambda rewrite: _rewritten({"uriRegexRewrite": rewrite}),
    "validateHTTPRetry": lambda retries: _rule(retries=retries),
    "validateHTTPRedirect": _redirected,
    "validateHTTPDirectResponse": lambda response: _virtual_service({"directResponse": response}),
    "validateDestination": lambda destination: _virtual_service({"route": [{"destination": destination}]}),
    "validateRouteDestinations": lambda routes, *_: _virtual_service({"route": routes}),
    "validateHTTPRoute": lambda rule, delegate, *_: _virtual_service(rule, delegate=delegate),
    "ValidatePortName": lambda name: _service_entry(ports=[{"number": 80, "name": name, "protocol": "HTTP"}]),
    "validateTrafficPolicy": lambda _, policy: _destination_rule(policy),
    "validateConnectionPool": lambda pool: _destination_rule({"connectionPool": pool}),
    "validateLoadBalancer": _balanced,
    "validateOutlierDetection": lambda outlier: _destination_rule({"outlierDetection": outlier}),
    "ValidateTLS": lambda _, tls: _destination_rule({"tls": tls}),
    "validateExportTo": _exported,
    "validateTelemetryFilter": _logged,
    "ValidateFQDN": lambda host: _service_entry(resolution="DNS", endpoints=[{"address": host}]),
    "ValidateWildcardDomain": lambda host: _destination_rule(None, host=host),
    "ValidateWildcardDomainForVirtualServiceBoundToGateway": _for_gateway,
    "ValidatePort": lambda port: _virtual_service(
        {"route": [{"destination": {"host": "foo", "port": {"number": port}}}]}
    ),
    "ValidateDuration": lambda duration: _rule(timeout=duration),
    "ValidateIPAddress": lambda address: _served_port({"number": 80, "name": "a", "protocol": "HTTP"}, address),
    "ValidateIPSubnet": lambda block: _service_entry(addresses=[block]),
    "ValidateControlPlaneAuthPolicy": _policy_number,
    "ValidateProxyAddress": lambda address: _of_proxies(discoveryAddress=address),
    "ValidateDrainDuration": lambda duration: _of_proxies(drainDuration=duration),
    "ValidateConnectTimeout": lambda duration: _mesh(connectTimeout=duration),
    "ValidateProtocolDetectionTimeout": lambda duration: _mesh(protocolDetectionTimeout=duration),
    "ValidateTrustDomain": lambda name: _mesh(trustDomain=name),
    "validateMeshConfigDefaultTrafficPolicy": lambda policy: _mesh(defaultTrafficPolicy=policy),
    "validateMeshConfigDefaultInboundHTTPRetryPolicy": lambda policy: _mesh(defaultInboundHttpRetryPolicy=policy),
    "validateConnectionSettings": lambda settings: _of_proxies(connectionSettings=settings),
    "ValidateMeshConfig": lambda settings: _mesh(**settings),
    "validateServiceSettings": lambda settings: _mesh(**settings),
    "ValidateMeshNetworks": lambda networks: {"apiVersion": "weft/v1", "kind": "MeshNetworks", "spec": networks},
    "ValidateLocalityLbSetting": _balanced_by("localityLbSetting"),
    "ValidateZoneAwareLbSetting": _balanced_by("zoneAwareLbSetting"),
    "validateLocalities": lambda places: _mesh(
        localityLbSetting={"distribute": [{"from": place, "to": {"to": 100}} for place in places]}
    ),
}
