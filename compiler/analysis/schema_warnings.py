"""What Istio's validation accepts with a warning, where no other code speaks of it: settings without effect, or with another than it seems."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Span
from compiler.link.authentication import effective_mode
from compiler.link.inbound import exposed_ports
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor, Located
from compiler.resources.protocol import is_http, parse_protocol
from compiler.resources.tls_parameters import CIPHER_SUITES, CURVES
from compiler.resources.written import Written, key_span

Warned = tuple[Span, str]
LARGE_BODY = 100 * 1024
_CERTIFIED = (
    "serverCertificate",
    "privateKey",
    "caCertificates",
    "credentialName",
    "credentialNames",
    "tlsCertificates",
)
_HTTP_SOURCES = ("requestPrincipals", "notRequestPrincipals")
_HTTP_OPERATIONS = ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths")


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0133 at the setting."""
    for kind, look in _BY_KIND.items():
        for item in mesh.written(kind):
            for span, message in look(item):
                yield diagnostic("IST0133", message, span, resource=item.meta.id)
    for sidecar in mesh.sidecars:
        for listener in sidecar.ingress:
            mode = effective_mode(mesh, sidecar.meta.namespace, sidecar.selector or (), listener.port)
            if listener.tls is not None and mode != "DISABLE":
                message = (
                    f"`tls` has no effect on port {listener.port}: the mesh's own TLS is {mode} there, not DISABLE"
                )
                yield diagnostic("IST0133", message, listener.tls.span, resource=sidecar.meta.id)
    for policy in mesh.written("AuthorizationPolicy"):
        if policy.spec.text("action") == "DENY" and _may_serve_bytes(mesh, policy):
            for span, message in _denials(policy):
                yield diagnostic("IST0133", message, span, resource=policy.meta.id)


def _may_serve_bytes(mesh: Mesh, policy: Written) -> bool:
    """Whether a workload that a policy is for has a port that is not HTTP; yes where Git has none of its workloads."""
    selector = policy.spec.at("selector")
    labels = set(selector.labels("matchLabels")) if selector else set()
    home = policy.meta.namespace
    everywhere = home == mesh.config.root_namespace
    selected = [
        item for item in mesh.workloads if (everywhere or item.meta.namespace == home) and labels <= set(item.labels)
    ]
    ports = [port for workload in selected for _, port in exposed_ports(mesh, workload)]
    return not ports or any(not is_http(port.protocol) for port in ports)


def _gateway(item: Written) -> Iterator[Warned]:
    for server in item.spec.each("servers"):
        port, tls = server.at("port"), server.at("tls")
        if port is None or tls is None:
            continue
        if tls.flag("httpsRedirect") and not is_http(parse_protocol(port.text("protocol"))):
            message = f"`httpsRedirect` redirects plain HTTP, and this server speaks {port.text('protocol')}"
            yield key_span(tls, "httpsRedirect") or tls.span, message
        yield from _server_tls(tls)


def _mesh_config(item: Written) -> Iterator[Warned]:
    for field in ("meshMTLS", "tlsDefaults"):
        tls = item.spec.at(field)
        if tls is not None:
            yield from _parameters(tls)


def _parameters(tls: Cursor) -> Iterator[Warned]:
    """Suites and curves that nobody knows, or that stand twice."""
    for field, what, known in (("cipherSuites", "cipher suite", CIPHER_SUITES), ("ecdhCurves", "curve", CURVES)):
        seen: set[str] = set()
        for name in tls.references(field):
            # A list may also add, remove and reorder suites (OpenSSL's form of cipher lists).
            if name.value.lstrip("+-!") not in known:
                yield name.span, f"`{name.value}` is no {what} that is known; it is ignored"
            elif name.value in seen:
                yield name.span, f"`{name.value}` is named twice"
            seen.add(name.value)


def _server_tls(tls: Cursor) -> Iterator[Warned]:
    yield from _parameters(tls)
    if tls.text("mode") == "PASSTHROUGH":
        for field in _CERTIFIED:
            if tls.has(field):
                yield (
                    key_span(tls, field) or tls.span,
                    f"`{field}` has no effect: TLS that passes through ends elsewhere",
                )


def _virtual_service(item: Written) -> Iterator[Warned]:
    for gateway in item.spec.references("gateways"):
        if "." in gateway.value and "/" not in gateway.value:
            yield gateway.span, f"`{gateway.value}` is the old form of a gateway's name; write `namespace/name`"
    for rule in item.spec.each("http"):
        body = (rule.at("directResponse") or rule.empty("directResponse")).at("body")
        if body is not None and max(len(body.text("string")), len(body.text("bytes")) * 3 // 4) > LARGE_BODY:
            yield body.span, "the body is larger than 100 KiB; it stands in the configuration of every proxy"
    for connection in item.spec.each("tls"):
        for match in connection.each("match"):
            for host in match.references("sniHosts"):
                if _is_address(host.value):
                    yield host.span, f"`{host.value}` is an address, and clients send names alone (RFC 6066, section 3)"


def _destination_rule(item: Written) -> Iterator[Warned]:
    policies = [item.spec.at("trafficPolicy"), *(subset.at("trafficPolicy") for subset in item.spec.each("subsets"))]
    for policy in policies:
        for level in [policy, *policy.each("portLevelSettings")] if policy else ():
            detection = level.at("outlierDetection")
            if detection is not None and detection.has("consecutiveErrors"):
                span = key_span(detection, "consecutiveErrors") or detection.span
                yield (
                    span,
                    "`consecutiveErrors` is deprecated; write `consecutive5xxErrors` or `consecutiveGatewayErrors`",
                )


def _service_entry(item: Written) -> Iterator[Warned]:
    spec = item.spec
    resolution = spec.text("resolution", "NONE")
    selects = spec.has("workloadSelector")
    for host in spec.references("hosts"):
        if host.value.startswith("*") and not host.value.startswith("*.") and host.value != "*":
            yield (
                host.span,
                f"`{host.value}` is a part of a name; only whole labels are matched: write `*.` and the rest",
            )
    if selects and spec.has("endpoints"):
        yield key_span(spec, "endpoints") or spec.span, "`endpoints` has no effect beside `workloadSelector`"
    if selects and resolution == "NONE":
        span = key_span(spec, "resolution") or key_span(spec, "workloadSelector") or spec.span
        yield span, "with resolution NONE the selected workloads are not called: write STATIC"
    for port in spec.each("ports"):
        if port.has("targetPort") and resolution == "NONE":
            yield key_span(port, "targetPort") or port.span, "`targetPort` has no effect with resolution NONE"
    if len(spec.texts("hosts")) > 1 and spec.texts("addresses") and resolution.startswith("DNS"):
        for port in spec.each("ports"):
            if not is_http(parse_protocol(port.text("protocol"))):
                where = f"port {port.number('number')}"
                yield (
                    port.span,
                    f"several hosts with the same addresses cannot be told apart on {where}, which is not HTTP",
                )
    for endpoint in spec.each("endpoints"):
        if endpoint.has("network") and not endpoint.has("address"):
            yield endpoint.span, "an endpoint of a network without an address is found at the network's gateway alone"


def _workload_entry(item: Written) -> Iterator[Warned]:
    if item.spec.has("network") and not item.spec.has("address"):
        span = key_span(item.spec, "network") or item.spec.span
        yield span, "a workload of a network without an address is found at the network's gateway alone"


def _sidecar(item: Written) -> Iterator[Warned]:
    for egress in item.spec.each("egress"):
        yield from _repeated_hosts(egress.references("hosts"), item.meta.namespace)
    for ingress in item.spec.each("ingress"):
        port, pool = ingress.at("port"), ingress.at("connectionPool")
        if (
            port is not None
            and pool is not None
            and pool.has("http")
            and not is_http(parse_protocol(port.text("protocol")))
        ):
            message = f"settings for HTTP have no effect on a port that speaks {port.text('protocol')}"
            yield key_span(pool, "http") or pool.span, message


def _repeated_hosts(hosts: tuple[Located, ...], own: str) -> Iterator[Warned]:
    parts = [(located, *located.value.partition("/")[::2]) for located in hosts]
    whole = Counter(own if namespace == "." else namespace for _, namespace, host in parts if host == "*")
    for located, namespace, host in parts:
        if host != "*" and (own if namespace == "." else namespace) in whole:
            yield located.span, f"`{located.value}` is among all hosts of its namespace, which are listed too"


def _denials(item: Written) -> Iterator[Warned]:
    for rule in item.spec.each("rules"):
        field = _http_only(rule)
        if field:
            message = f"`{field}` is of HTTP: on TCP ports this DENY denies whatever the rest of it matches; say which `ports`"
            yield rule.span, message


def _http_only(rule: Cursor) -> str:
    """A field of a rule that only HTTP has, where the rule names no ports."""
    operations = [entry.at("operation") for entry in rule.each("to")]
    if any(operation.has("ports") for operation in operations if operation):
        return ""
    if any(condition.text("key") == "destination.port" for condition in rule.each("when")):
        return ""
    sources = [entry.at("source") for entry in rule.each("from")]
    asked = [(one, _HTTP_SOURCES) for one in sources] + [(one, _HTTP_OPERATIONS) for one in operations]
    named = (field for one, fields in asked if one for field in fields if one.has(field))
    keys = (condition.text("key") for condition in rule.each("when"))
    return next(named, "") or next((key for key in keys if key.startswith("request.")), "")


def _telemetry(item: Written) -> Iterator[Warned]:
    yield from _selecting(item)
    for tracing in item.spec.each("tracing"):
        for provider in tracing.each("providers")[1:]:
            yield provider.span, "one provider of traces is used; further ones have no effect"


def _selecting(item: Written) -> Iterator[Warned]:
    for field, labels in (("selector", "matchLabels"), ("workloadSelector", "labels")):
        selector = item.spec.at(field)
        if selector is not None and not selector.labels(labels) and not selector.has("matchExpressions"):
            yield (
                key_span(item.spec, field) or selector.span,
                f"`{field}` without labels selects everything; leave it out",
            )


def _both(look: Callable[[Written], Iterator[Warned]]) -> Callable[[Written], Iterator[Warned]]:
    def found(item: Written) -> Iterator[Warned]:
        yield from _selecting(item)
        yield from look(item)

    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_BY_KIND: dict[str, Callable[[Written], Iterator[Warned]]] = {
    "Gateway": _gateway,
    "VirtualService": _virtual_service,
    "DestinationRule": _destination_rule,
    "ServiceEntry": _both(_service_entry),
    "WorkloadEntry": _workload_entry,
    "Sidecar": _both(_sidecar),
    "AuthorizationPolicy": _selecting,
    "RequestAuthentication": _selecting,
    "PeerAuthentication": _selecting,
    "Telemetry": _telemetry,
    "WasmPlugin": _selecting,
    "EnvoyFilter": _selecting,
    "MeshConfig": _mesh_config,
}
