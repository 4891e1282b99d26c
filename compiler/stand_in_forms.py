"""The form of each kind's stand-in: what is kept of a broken resource, and the refusal that the rest of it is replaced by.

A form that cannot tell whom the resource is about raises UnreadableScopeError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compiler.broken import Broken, UnreadableScopeError, Value
from compiler.node import Mapping, Node, Scalar, Sequence, find
from compiler.resources.meta import GATEWAY_API

NOWHERE = "nowhere.invalid"
"""A host that no mesh has (RFC 2606); connections to it are closed."""

KNOWS_NOBODY: dict[str, Value] = {"egress": [{"hosts": ["~/*"]}], "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}
"""The ``spec`` of a Sidecar whose proxies know no host."""

_CONTAINERS: Value = [{"name": "broken", "image": "broken"}]
_SELECTORS = ("selector", "targetRefs", "targetRef")


def _virtual_service(broken: Broken) -> dict[str, Value]:
    """503 for what its matches take; for its hosts altogether where the matches cannot be read and no other VirtualService can share them."""
    hosts = broken.needed("hosts")
    scope = broken.optional("gateways")
    refusal: dict[str, Value] = {"directResponse": {"status": 503}}
    http: list[Value] = []
    try:
        for rule in broken.items("http"):
            match = broken.kept("match", within=rule)
            http.append(refusal if match is None else {"match": match, **refusal})
    except UnreadableScopeError:
        if _names(scope.get("gateways")) - {"mesh"}:
            raise
        http = [refusal]
    route: Value = [{"destination": {"host": NOWHERE}}]
    connections: dict[str, Value] = {
        "tcp": [{"route": route}],
        "tls": [{"match": [{"sniHosts": hosts}], "route": route}],
    }
    return {"hosts": hosts, **scope, **broken.either("exportTo"), "http": http, **connections}


def _destination_rule(broken: Broken) -> dict[str, Value]:
    subsets: list[Value] = []
    for subset in broken.items("subsets") if "subsets" in broken.spec.entries else ():
        if "name" in subset.entries and broken.is_clean(subset, "name"):
            subsets.append({"name": subset.entries["name"]})
    return {"host": broken.needed("host"), **broken.either("exportTo"), **({"subsets": subsets} if subsets else {})}


def _service_entry(broken: Broken) -> dict[str, Value]:
    scope: dict[str, Value] = {"hosts": broken.needed("hosts"), "ports": broken.needed("ports")}
    scope |= broken.optional("addresses", "location") | broken.either("exportTo")
    return {**scope, "resolution": "STATIC"}


def _gateway(broken: Broken) -> dict[str, Value]:
    servers: list[Value] = []
    for server in broken.items("servers"):
        kept: dict[str, Value] = {field: broken.needed(field, within=server) for field in ("port", "hosts")}
        tls = broken.kept("tls", within=server)
        servers.append(kept if tls is None else {**kept, "tls": tls})
    return {"selector": broken.needed("selector"), "servers": servers}


def _authorization_policy(broken: Broken) -> dict[str, Value]:
    """Denies whatever the policy is about, and the whole namespace where that cannot be read: it must not let in by mistake."""
    scope = next((found for field in _SELECTORS if (found := broken.either(field))), {})
    return {**scope, "action": "DENY", "rules": [{}]}


def _request_authentication(broken: Broken) -> dict[str, Value]:
    """Refuses every token where the policy is about, in the whole namespace where that cannot be read: nobody has the keys of this issuer."""
    scope = next((found for field in _SELECTORS if (found := broken.either(field))), {})
    return {**scope, "jwtRules": [{"issuer": NOWHERE}]}


def _peer_authentication(broken: Broken) -> dict[str, Value]:
    return {**broken.optional("selector"), "mtls": {"mode": "STRICT"}}


def _sidecar(broken: Broken) -> dict[str, Value]:
    return {**broken.optional("workloadSelector"), **KNOWS_NOBODY}


def _http_route(broken: Broken) -> dict[str, Value]:
    """A rule without backends answers 500, and keeps what it takes."""
    rules: list[Value] = []
    for rule in broken.items("rules"):
        matches = broken.kept("matches", within=rule)
        rules.append({} if matches is None else {"matches": matches})
    return {"parentRefs": broken.needed("parentRefs"), **broken.optional("hostnames"), "rules": rules}


def _connection_route(broken: Broken) -> dict[str, Value]:
    """Its connections are closed, because its backend does not exist."""
    rules: Value = [{"backendRefs": [{"name": "nowhere", "port": 1}]}]
    return {"parentRefs": broken.needed("parentRefs"), **broken.optional("hostnames"), "rules": rules}


def _rate_limit(broken: Broken) -> dict[str, Value]:
    """One request a year for all that it limits: what limits are meant to protect is not left open."""
    return {"targetRefs": broken.needed("targetRefs"), "limits": [{"requests": 1, "per": "8760h"}]}


def _service(broken: Broken) -> dict[str, Value]:
    """The ports that can be read, so that clients' listeners stay, and nothing behind them: a workload must not be reached by a protocol that
    was not meant, past policies that read another. ``fails`` says the rest (compiler/resources/load.py).
    """
    if broken.is_whole:
        return dict(broken.spec.entries)
    written = broken.spec.entries.get("ports")
    ports: list[Value] = []
    for index, port in enumerate(written if isinstance(written, Sequence) else ()):
        if isinstance(port, Mapping) and "port" in port.entries and broken.is_clean(port, "port"):
            kept = (
                key for key in ("name", "port", "appProtocol") if key in port.entries and broken.is_clean(port, key)
            )
            ports.append({"name": f"port-{index}", **{key: port.entries[key] for key in kept}})
    return {"ports": ports} if ports else {}


def _workload(broken: Broken) -> dict[str, Value]:
    """Its labels and its account say which proxy it is; ``fails`` closes that (compiler/resources/load.py)."""
    template = broken.spec.entries.get("template")
    if not isinstance(template, Mapping):
        raise UnreadableScopeError("template")
    return {"selector": {}, "template": _pod_template(broken, template)}


def _cron_job(broken: Broken) -> dict[str, Value]:
    place: Node | None = find(broken.spec, ("jobTemplate", "spec", "template"))
    if not isinstance(place, Mapping):
        raise UnreadableScopeError("jobTemplate")
    return {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": _pod_template(broken, place)}}}


def _pod(broken: Broken) -> dict[str, Value]:
    return {**_account(broken, broken.spec), "containers": _CONTAINERS}


def _pod_template(broken: Broken, template: Mapping) -> dict[str, Value]:
    metadata, spec = template.entries.get("metadata"), template.entries.get("spec")
    kept: dict[str, Value] = {}
    if isinstance(metadata, Mapping):
        labels = broken.kept("labels", within=metadata)
        kept = {} if labels is None else {"labels": labels}
    account = _account(broken, spec) if isinstance(spec, Mapping) else {}
    return {"metadata": kept, "spec": {**account, "containers": _CONTAINERS}}


def _account(broken: Broken, spec: Mapping) -> dict[str, Value]:
    held = {field: broken.kept(field, within=spec) for field in ("serviceAccountName", "serviceAccount")}
    return {field: node for field, node in held.items() if node is not None}


def _workload_entry(broken: Broken) -> dict[str, Value]:
    """At no address: no endpoint of any service."""
    return {"address": NOWHERE, **broken.either("labels")}


def _workload_group(broken: Broken) -> dict[str, Value]:
    """Its labels and its account say which proxies it is for; ``fails`` closes those."""
    template = broken.spec.entries.get("template")
    if not isinstance(template, Mapping):
        raise UnreadableScopeError("template")
    kept = {field: broken.kept(field, within=template) for field in ("labels", "serviceAccount")}
    metadata = broken.kept("metadata")
    return {
        "template": {field: node for field, node in kept.items() if node is not None},
        **({"metadata": metadata} if metadata is not None else {}),
    }


def _api_gateway(broken: Broken) -> dict[str, Value]:
    """Its listeners stay, and no route may attach to them: 404, or a closed connection."""
    nobody: Value = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"weft.invalid/nobody": "nobody"}}}}
    listeners: list[Value] = []
    for listener in broken.items("listeners"):
        kept: dict[str, Value] = {
            field: broken.needed(field, within=listener) for field in ("name", "port", "protocol")
        }
        held = {field: broken.kept(field, within=listener) for field in ("hostname", "tls")}
        kept |= {field: node for field, node in held.items() if node is not None}
        listeners.append({**kept, "allowedRoutes": nobody})
    return {"gatewayClassName": broken.needed("gatewayClassName"), "listeners": listeners}


def _reference_grant(_: Broken) -> dict[str, Value]:
    """Grants nothing to anybody."""
    return {
        "from": [{"group": NOWHERE, "kind": "Nobody", "namespace": "nowhere"}],
        "to": [{"group": NOWHERE, "kind": "Nothing"}],
    }


def _nothing(_: Broken) -> dict[str, Value]:
    return {}


FORMS: dict[str, Callable[[Broken], dict[str, Value]]] = {
    "VirtualService": _virtual_service,
    "DestinationRule": _destination_rule,
    "ServiceEntry": _service_entry,
    "Gateway": _gateway,
    "AuthorizationPolicy": _authorization_policy,
    "RequestAuthentication": _request_authentication,
    "PeerAuthentication": _peer_authentication,
    **dict.fromkeys(("HTTPRoute", "GRPCRoute"), _http_route),
    "Sidecar": _sidecar,
    "RateLimit": _rate_limit,
    **dict.fromkeys(("TLSRoute", "TCPRoute", "UDPRoute"), _connection_route),
    "Service": _service,
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "Job"), _workload),
    "CronJob": _cron_job,
    "Pod": _pod,
    "WorkloadEntry": _workload_entry,
    "WorkloadGroup": _workload_group,
    f"Gateway.{GATEWAY_API}": _api_gateway,
    "ReferenceGrant": _reference_grant,
    "Namespace": _nothing,
}
"""Kind, as sources name it, to the ``spec`` of its stand-in."""

WHOLE: dict[str, dict[str, Value]] = {
    "ServiceAccount": {},
    "Secret": {"type": "Opaque"},
    "Endpoints": {},
    "EndpointSlice": {"addressType": "IPv4", "endpoints": []},
}
"""Kinds without a ``spec``, and what their stand-ins hold: no certificate, no endpoint."""


def _names(node: Any) -> set[object]:
    return {item.value for item in node if isinstance(item, Scalar)} if isinstance(node, Sequence) else set()
