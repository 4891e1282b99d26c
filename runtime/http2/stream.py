"""One stream's state: what each side has ended, and what may still flow each way."""

from __future__ import annotations

NO_LENGTH = -1


class Stream:
    """Owned by its connection. Windows are in bytes; ``remaining`` is what the announced content length still leaves, NO_LENGTH without one."""

    __slots__ = (
        "acknowledged",
        "blocked",
        "head_received",
        "head_request",
        "id",
        "local_ended",
        "receive_window",
        "remaining",
        "remote_ended",
        "send_window",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.send_window = send_window
        self.receive_window = receive_window
        self.acknowledged = 0  # Consumed by us, not yet announced to the peer.
        self.remaining = NO_LENGTH
        self.blocked = False  # send_data took less than it was given.
        self.head_received = False
        self.head_request = False  # The reply to HEAD has a length and no body.
        self.remote_ended = False
        self.local_ended = False
