"""Budgets against peers that cost much and ask little: resets, and frames that carry nothing.

A score rises with each such frame, falls with each useful one and with time; beyond its limit the connection is ended with ENHANCE_YOUR_CALM.
The figures let every client we know live (gRPC keep-alives, downloads with small windows, browsers that cancel) and end a flood
within its first thousands of frames: rapid reset (CVE-2023-44487), its server-made twin (CVE-2025-8671), PING, SETTINGS, PRIORITY,
empty DATA and WINDOW_UPDATE floods (CVE-2019-9512 to 9518).
"""

from __future__ import annotations

_RESET_LIMIT = 200
_CONTROL_LIMIT = 2000
_RESETS_FORGIVEN_PER_S = 5
_CONTROLS_FORGIVEN_PER_S = 50
_USEFUL_FORGIVES = 8


class Budget:
    """One connection's scores. Owns no clock: ``now`` is in seconds and only its differences count."""

    __slots__ = ("_control", "_resets", "_since")

    def __init__(self) -> None:
        self._control = 0
        self._resets = 0
        self._since = 0.0

    def pass_time(self, now: float) -> None:
        """Forgives what the time since the last call is worth."""
        passed = now - self._since
        if passed >= 1.0:
            self._since = now
            self._resets = max(0, self._resets - int(passed * _RESETS_FORGIVEN_PER_S))
            self._control = max(0, self._control - int(passed * _CONTROLS_FORGIVEN_PER_S))

    def spend_control(self) -> bool:
        """Counts a frame that carries nothing; False beyond the limit."""
        self._control += 1
        return self._control <= _CONTROL_LIMIT

    def spend_reset(self) -> bool:
        """Counts a stream that ended before its exchange did; False beyond the limit."""
        self._resets += 1
        return self._resets <= _RESET_LIMIT

    def earn(self) -> None:
        """Counts a frame that carries something, in either direction."""
        if self._control:
            self._control = max(0, self._control - _USEFUL_FORGIVES)

    def earn_exchange(self) -> None:
        """Counts an exchange that ran to its end."""
        if self._resets:
            self._resets -= 1
