"""How a proxy finds out whether its application can take requests, as data (Istio's WorkloadGroup, Kubernetes' rules)."""

from __future__ import annotations

import msgspec


class HttpProbe(msgspec.Struct, frozen=True, tag="http", omit_defaults=True):
    """A GET that is answered 200 to 399. An empty ``host`` is the application's address."""

    port: int
    path: str = "/"
    host: str = ""
    https: bool = False
    headers: tuple[tuple[str, str], ...] = ()


class TcpProbe(msgspec.Struct, frozen=True, tag="tcp", omit_defaults=True):
    """A connection that is accepted."""

    port: int
    host: str = ""


class GrpcProbe(msgspec.Struct, frozen=True, tag="grpc", omit_defaults=True):
    """The standard health service (grpc.health.v1) says SERVING of a service; "" is the server as a whole."""

    port: int
    service: str = ""


class ExecProbe(msgspec.Struct, frozen=True, tag="exec"):
    """A command that ends with 0, run beside the proxy."""

    command: tuple[str, ...]


class Probe(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked, and how often. Ready after so many ``successes`` in a row, not ready after so many ``failures``."""

    ask: HttpProbe | TcpProbe | GrpcProbe | ExecProbe
    initial_delay_ms: int = 0
    period_ms: int = 10_000
    timeout_ms: int = 1_000
    successes: int = 1
    failures: int = 3
