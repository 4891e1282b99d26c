"""From single answers to a verdict: so many in a row change it (Kubernetes' thresholds). Pure."""

from __future__ import annotations


class Streak:
    """Owns the count. ``ready`` is false until the first row of successes: nobody is sent to what has never answered."""

    __slots__ = ("_against", "_failures", "_successes", "ready")

    def __init__(self, *, successes: int, failures: int) -> None:
        self._successes = successes
        self._failures = failures
        self._against = 0
        self.ready = False

    def observe(self, *, good: bool) -> bool:
        """Takes one answer; says whether the verdict changed."""
        if good == self.ready:
            self._against = 0
            return False
        self._against += 1
        if self._against < (self._successes if good else self._failures):
            return False
        self.ready, self._against = good, 0
        return True
