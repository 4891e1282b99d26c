"""The swap row: releases of a 10,000-route slice published under load; nothing may fail and the lane may not pause."""

from __future__ import annotations

import msgspec


class SwapResult(msgspec.Struct, frozen=True):
    """What publishing under load did. Times in milliseconds; ``longest_pause_ms`` is measured inside the proxy."""

    swaps: int
    routes: int
    requests: int
    failed: int
    longest_pause_ms: float
    live_p50_ms: float
    live_p99_ms: float
