"""Which machine speaks which protocol: the one registration table of the data plane."""

from __future__ import annotations

from runtime.http.downstream import Http1Downstream
from runtime.http.upstream import Http1Upstream
from runtime.http2.downstream import Http2Downstream
from runtime.http2.upstream import Http2Upstream
from runtime.plane import Plane
from runtime.tcp.relay import TcpRelay
from runtime.tcp.upstream import TcpUpstream


def install(plane: Plane) -> None:
    """Gives the plane its machines."""
    plane.downstream_machines = {"http1": Http1Downstream, "http2": Http2Downstream, "tcp": TcpRelay}
    plane.upstream_machines = {"http1": Http1Upstream, "http2": Http2Upstream, "tcp": TcpUpstream}
