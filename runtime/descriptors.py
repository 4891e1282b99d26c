"""A worker's file descriptors: as many as the machine allows, in a table that does not grow under traffic.

Linux doubles a process's descriptor table when it is full, and where the process has threads it waits for an RCU grace period first: whoever
opens or accepts the connection sleeps for 5 to 15 ms, and with it the whole lane. (fs/file.c, expand_fdtable; seen as the longest pause of
the lane in every measurement.) A table made large before the first thread starts costs eight bytes for each place.
"""

from __future__ import annotations

import fcntl
import os
import resource
from contextlib import suppress
from pathlib import Path

TABLE = 65_536
"""Places made at the start, where so many are allowed; a worker with more connections waits for the table as any process does."""


def widen_descriptors() -> int:
    """Raises this process's limit of descriptors to the hard one and makes the table large; how many it may open now.

    To be called before the first thread. Never fails: a machine that refuses leaves the limit, or the table, as it was.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    most = soft if soft != resource.RLIM_INFINITY else TABLE
    with Path(os.devnull).open("rb") as source, suppress(OSError):
        # The table grows to the descriptor asked for, and keeps its size when that is closed.
        os.close(fcntl.fcntl(source.fileno(), fcntl.F_DUPFD_CLOEXEC, min(most, TABLE) - 1))
    return most
