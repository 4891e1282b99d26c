"""When a certificate is replaced, and when a failed attempt is repeated. Pure: time and chance are arguments."""

from __future__ import annotations

from snapshot.live import Svid

JITTER = 0.1
"""Rotation is at half life, give or take this share of it (SPIRE's rule), so that a fleet does not ask at once."""

SOONEST_S = 5.0
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 60.0
URGENT_RETRY_S = 5.0
"""Without a valid certificate nothing may take longer than this to recover."""


def rotate_at(svid: Svid, *, now: float, draw: float) -> float:
    """The time to replace a certificate, seconds since 1970; ``draw`` is in [0, 1).

    Where that has gone by already (a short life, or a clock that is ahead of the authority's), it is after a small part of what is left,
    so that a new certificate is never replaced at once, over and over.
    """
    half = (svid.expires_at - svid.issued_at) / 2
    due = svid.issued_at + half * (1 + JITTER * (2 * draw - 1))
    return max(due, now + min(SOONEST_S, max(svid.expires_at - now, 0.0) / 4))


def retry_after(failures: int, *, valid_for_s: float, draw: float) -> float:
    """Seconds until the next attempt after ``failures`` (at least 1) in a row: doubling, with full jitter in its upper half.

    The less life the certificate has left, the more often it is tried: never fewer than ten times before its end.
    """
    longest = LONGEST_RETRY_S if valid_for_s > 0 else URGENT_RETRY_S
    if valid_for_s > 0:
        longest = min(longest, max(valid_for_s / 10, FIRST_RETRY_S))
    wait = min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 16), longest)
    return wait * (0.5 + 0.5 * draw)
