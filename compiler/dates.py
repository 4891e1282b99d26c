"""What a check may know of the date. A compile knows nothing of it, so that one commit is one digest on every day."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Dates(msgspec.Struct, frozen=True):
    """The present, with its time zone, and how many days before its end a certificate is reported: as an error where ``fails``."""

    now: datetime
    expiry_days: int = 30
    fails: bool = False
