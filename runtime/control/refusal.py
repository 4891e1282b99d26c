"""Refusals: one exception, one closed set of reasons, one table from reason to HTTP status."""

from __future__ import annotations

from runtime.control.interface import Reason

STATUS: dict[Reason, int] = {
    Reason.MALFORMED: 400,
    Reason.CSR: 400,
    Reason.ADDRESS: 400,
    Reason.UNAUTHENTICATED: 401,
    Reason.PUBLISH_TOKEN: 403,
    Reason.TOKEN: 403,
    Reason.IDENTITY: 403,
    Reason.NAMING: 403,
    Reason.NOT_FOUND: 404,
    Reason.METHOD: 405,
    Reason.CONFLICT: 409,
    Reason.PRECONDITION: 412,
    Reason.UNAVAILABLE: 503,
}


class Refused(Exception):  # noqa: N818  a reply to the caller, not an error of ours
    """A call that is not granted. The message names the offending value and the next action; it never holds a secret."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def status(self) -> int:
        """The HTTP status of the reply."""
        return STATUS[self.reason]
