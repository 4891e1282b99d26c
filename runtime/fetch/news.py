"""What following a store brings: a verified slice, or a problem while the last verified slice goes on."""

from __future__ import annotations

import msgspec

from snapshot.index import Slice
from snapshot.trust.failure import Reason
from snapshot.trust.release import Release


class VerifiedSlice(msgspec.Struct, frozen=True):
    """This proxy's slice of an authentic release, every byte checked against a digest that a signature pins.

    ``fresh`` is False where the signatures had run out when it was verified (a cold start from disk): authentic, perhaps not the newest.
    ``fetched_at`` (when it was first fetched) and ``fresh_until`` are seconds since 1970.
    """

    release: Release
    slice: Slice
    fresh: bool
    fetched_at: float
    fresh_until: float


class FetchProblem(msgspec.Struct, frozen=True):
    """Why there is no news that may be used. Whatever was verified last stays valid and goes on serving.

    ``reason`` is the metric label (closed), ``message`` names the file and what is wrong with it.
    """

    reason: Reason
    message: str


News = VerifiedSlice | FetchProblem
