"""Which protocol a port speaks: appProtocol, then the port's name, then the well-known numbers, else to be found out by looking."""

from __future__ import annotations

AUTO = "auto"
"""Neither declared nor well known: the proxy looks at the first bytes."""

UDP = "UDP"
"""The transport of datagrams. A port's name does not make it one: what is named ``udp-x`` and has the transport TCP carries bytes."""

WELL_KNOWN_TCP = frozenset({25, 53, 3306, 27017})
_KNOWN = frozenset(
    {"tcp", "udp", "http", "http_proxy", "http2", "grpc", "grpc-web", "https", "tls", "mongo", "redis", "mysql"}
)
_KUBERNETES = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
HTTP = frozenset({"http", "http_proxy", "http2", "grpc", "grpc-web"})
HTTP2 = frozenset({"http2", "grpc", "grpc-web"})
TLS = frozenset({"https", "tls"})


def parse_protocol(name: str) -> str:
    """A protocol's name in lower case, or ``auto`` where there is none of this name."""
    folded = name.lower()
    return folded if folded in _KNOWN else AUTO


def detect_protocol(number: int, name: str = "", app_protocol: str = "") -> str:
    """The protocol of a service port. An appProtocol replaces the name altogether, also where it is unknown (Istio)."""
    declared = (app_protocol or name).lower()
    if declared in _KUBERNETES:
        return _KUBERNETES[declared]
    if declared.startswith("grpc-web"):
        return "grpc-web"
    found = parse_protocol(declared.partition("-")[0])
    return "tcp" if found == AUTO and number in WELL_KNOWN_TCP else found


def is_http(protocol: str) -> bool:
    """Whether requests on the port are routed as HTTP."""
    return protocol in HTTP


def cluster_protocol(protocol: str) -> str:
    """What a cluster speaks to such a port: ``http2``, ``http1``, ``tcp``, or ``same`` as downstream where it is not declared."""
    if protocol in HTTP2:
        return "http2"
    if protocol in HTTP:
        return "http1"
    return "same" if protocol == AUTO else "tcp"
