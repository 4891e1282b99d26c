"""A slice's deadlines and bounds as a connection's limits."""

from __future__ import annotations

from runtime.http2.connection import Limits
from snapshot.section import Deadlines


def limits_of(deadlines: Deadlines) -> Limits:
    """The limits that a proxy's slice sets for each of its HTTP/2 connections."""
    return Limits(
        max_streams=deadlines.max_streams,
        stream_window_bytes=deadlines.stream_window_bytes,
        connection_window_bytes=deadlines.connection_window_bytes,
        max_head_bytes=deadlines.max_head_bytes,
        max_headers=deadlines.max_headers,
    )
