"""DestinationRule: what happens after routing, per host, subset and port."""

from __future__ import annotations

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document
from compiler.resources.cursor import Cursor, Labels, Located, Positions
from compiler.resources.load_balancer import LoadBalancer, read_load_balancer, read_outlier
from compiler.resources.meta import BY_DEFAULT, Meta, open_document
from policies.balancing import KeepAlive, OutlierDetection, RetryBudget
from policies.source import SourceRef
from policies.traffic import PER_MILLION, Tunnel
from snapshot.section import PoolLimits
from snapshot.slots import KeyFiles

_UPGRADES = {"UPGRADE": True, "DO_NOT_UPGRADE": False}


class ClientTls(msgspec.Struct, frozen=True):
    """``tls``: mode DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL, and what the upstream's certificate must be."""

    mode: str
    server_name: str
    names: tuple[str, ...]
    credential: Located | None
    skip_verify: bool
    span: Span
    files: KeyFiles = KeyFiles()


class ConnectionPool(msgspec.Struct, frozen=True):
    """``connectionPool``: bounds (a connect timeout of 0 is the mesh's), and which HTTP version the cluster speaks.

    ``upgrade`` to HTTP/2 is None where the rule leaves it to the mesh.
    """

    limits: PoolLimits
    upgrade: bool | None
    same_as_downstream: bool


class TrafficPolicy(msgspec.Struct, frozen=True):
    """``trafficPolicy``; None is not written. ``ports`` replace the rest for one port each, inheriting nothing (Istio)."""

    balancer: LoadBalancer | None = None
    outlier: OutlierDetection | None = None
    pool: ConnectionPool | None = None
    tls: ClientTls | None = None
    retry_budget: RetryBudget | None = None
    proxy_protocol: str = ""
    tunnel: Tunnel | None = None
    ports: tuple[tuple[int, TrafficPolicy], ...] = ()

    def over(self, outer: TrafficPolicy | None) -> TrafficPolicy:
        """This policy where it says something, ``outer`` where it does not."""
        if outer is None:
            return self
        return TrafficPolicy(
            balancer=self.balancer or outer.balancer,
            outlier=self.outlier or outer.outlier,
            pool=self.pool or outer.pool,
            tls=self.tls or outer.tls,
            retry_budget=self.retry_budget or outer.retry_budget,
            proxy_protocol=self.proxy_protocol or outer.proxy_protocol,
            tunnel=self.tunnel or outer.tunnel,
            ports=self.ports or outer.ports,
        )

    def at_port(self, number: int) -> TrafficPolicy:
        """What holds on one port."""
        found = dict(self.ports).get(number)
        if found is None:
            return self
        return msgspec.structs.replace(
            found, retry_budget=self.retry_budget, proxy_protocol=self.proxy_protocol, tunnel=self.tunnel
        )


class Subset(msgspec.Struct, frozen=True):
    """A named part of a host's endpoints."""

    name: str
    labels: Labels
    policy: TrafficPolicy | None
    source: SourceRef
    span: Span


class DestinationRule(msgspec.Struct, frozen=True):
    """A DestinationRule. ``selector`` are the labels of the clients of its own namespace that it is for, None where it is for all. One that ``fails``
    stands in for a broken one: its host has no endpoints."""

    meta: Meta
    host: Located
    export_to: tuple[str, ...]
    policy: TrafficPolicy | None
    subsets: tuple[Subset, ...]
    fails: bool = False
    selector: Labels | None = None


def read_destination_rule(document: Document, positions: Positions) -> DestinationRule:
    """A DestinationRule document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    assert spec is not None
    host = spec.located("host")
    assert host is not None
    chosen = spec.at("workloadSelector")
    return DestinationRule(
        meta=meta,
        selector=(chosen.labels("matchLabels") or None) if chosen else None,
        host=host,
        export_to=spec.texts("exportTo") or BY_DEFAULT,
        policy=_policy(spec.at("trafficPolicy")),
        subsets=tuple(
            Subset(
                subset.text("name"),
                subset.labels("labels"),
                _policy(subset.at("trafficPolicy")),
                subset.source(),
                subset.span,
            )
            for subset in spec.each("subsets")
        ),
    )


def _policy(policy: Cursor | None) -> TrafficPolicy | None:
    if policy is None:
        return None
    ports = []
    for level in policy.each("portLevelSettings"):
        port, settings = level.at("port"), _policy(level)
        if port is not None and settings is not None:
            ports.append((port.number("number"), settings))
    return TrafficPolicy(
        balancer=read_load_balancer(policy.at("loadBalancer")),
        outlier=read_outlier(policy.at("outlierDetection")),
        pool=read_pool(policy.at("connectionPool")),
        tls=_tls(policy.at("tls")),
        retry_budget=_retry_budget(policy.at("retryBudget")),
        proxy_protocol=_proxy_protocol(policy.at("proxyProtocol")),
        tunnel=_tunnel(policy.at("tunnel")),
        ports=tuple(ports),
    )


def _tunnel(wanted: Cursor | None) -> Tunnel | None:
    if wanted is None:
        return None
    host = wanted.text("targetHost")
    shown = f"[{host}]" if ":" in host else host
    return Tunnel(f"{shown}:{wanted.number('targetPort')}", wanted.text("protocol") or "CONNECT")


def _proxy_protocol(wanted: Cursor | None) -> str:
    """The version with which connections begin, "" for none; 1 where none is written."""
    return wanted.text("version", "V1").lower() if wanted is not None else ""


def read_pool(pool: Cursor | None) -> ConnectionPool | None:
    """``connectionPool``, of a traffic policy or of a Sidecar."""
    if pool is None:
        return None
    tcp, http = pool.at("tcp"), pool.at("http")
    pings = http.at("http2KeepAlive") if http else None
    defaults = PoolLimits()
    limits = PoolLimits(
        max_connections=tcp.number("maxConnections") if tcp else 0,
        max_pending_requests=http.number("http1MaxPendingRequests") if http else 0,
        max_requests=http.number("http2MaxRequests") if http else 0,
        max_requests_per_connection=http.number("maxRequestsPerConnection") if http else 0,
        connect_timeout_ms=(tcp.duration_ms("connectTimeout") if tcp else None) or 0,
        idle_timeout_ms=(http.duration_ms("idleTimeout") if http else None)
        or (tcp.duration_ms("idleTimeout") if tcp else None)
        or defaults.idle_timeout_ms,
        tcp_idle_ms=(tcp.duration_ms("idleTimeout") if tcp else None) or 0,
        max_retries=http.number("maxRetries") if http else 0,
        max_duration_ms=(tcp.duration_ms("maxConnectionDuration") if tcp else None) or 0,
        max_streams=http.number("maxConcurrentStreams") if http else 0,
        ping_ms=(pings.duration_ms("interval") if pings else None) or 0,
        ping_timeout_ms=(pings.duration_ms("timeout") if pings else None) or 0,
        keep_alive=read_keep_alive(tcp.at("tcpKeepalive")) if tcp else None,
    )
    return ConnectionPool(
        limits=limits,
        upgrade=_UPGRADES.get(http.text("h2UpgradePolicy")) if http is not None else None,
        same_as_downstream=http is not None and http.flag("useClientProtocol"),
    )


def read_keep_alive(written: Cursor | None) -> KeepAlive | None:
    """A ``tcpKeepalive``, whose times are whole seconds to the operating system."""
    if written is None:
        return None
    time_ms, interval_ms = written.duration_ms("time") or 0, written.duration_ms("interval") or 0
    return KeepAlive(written.number("probes"), -(-time_ms // 1000), -(-interval_ms // 1000))


def _retry_budget(written: Cursor | None) -> RetryBudget | None:
    if written is None:
        return None
    default, percent = RetryBudget(), written.fraction("percent")
    return RetryBudget(
        default.per_million if percent is None else round(percent * PER_MILLION / 100),
        written.number("minRetryConcurrency", default.minimum),
    )


def _tls(tls: Cursor | None) -> ClientTls | None:
    if tls is None:
        return None
    return ClientTls(
        mode=tls.text("mode", "DISABLE"),
        server_name=tls.text("sni"),
        names=tls.texts("subjectAltNames"),
        credential=tls.located("credentialName"),
        skip_verify=tls.flag("insecureSkipVerify"),
        span=tls.span,
        files=KeyFiles(
            tls.text("clientCertificate"), tls.text("privateKey"), tls.text("caCertificates"), tls.text("caCrl")
        ),
    )
