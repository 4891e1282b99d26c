"""Why something from a store is not believed: one exception, whose closed reason is also the metric label."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The closed set of reasons. The value is the label of ``weft_fetch_problem_total``."""

    EXPIRED = "expired"
    """Authentic, but older than its signer promised to keep it: a frozen store, or a signer that stopped."""

    ROLLBACK = "rollback"
    """Authentic, but older than what was already seen, or not of one publication (mixed)."""

    WRONG_SIGNATURE = "wrong_signature"
    """No key that the root lists for the role has signed this."""

    THRESHOLD = "threshold"
    """Fewer keys have signed than the root asks for."""

    UNKNOWN_ROOT = "unknown_root"
    """The root does not sign itself, or a newer root is not signed by the pinned one's keys."""

    MISSING = "missing"
    """A file that signed metadata names is not in the store, or the channel has no release."""

    DIGEST = "digest"
    """A file's bytes are not those that signed metadata pins: truncated, flipped or swapped."""

    TOO_LARGE = "too_large"
    """A file is larger than its role may be; it was not read to its end."""

    UNDECODABLE = "undecodable"
    """Signed or pinned, but not of the shape that its place asks for."""

    FORMAT = "format"
    """The snapshot has another format version than this weft reads."""

    FEATURE = "feature"
    """The snapshot needs a feature that this weft does not have."""

    NO_SLICE = "no_slice"
    """The snapshot has no slice that fits the proxy's selector."""

    UNREACHABLE = "unreachable"
    """The store did not answer. Says nothing about its contents."""

    STATE = "state"
    """The proxy's own state directory could not be read or written."""


class Untrusted(Exception):  # noqa: N818  the word says it: what was read is not to be trusted
    """Something from a store (or saved from one) is not to be used; ``reason`` is closed, the message names the file."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
