"""``python -m benchmarks.paced``: requests at a fixed rate whatever the answers take, and every reply is looked at.

wrk can wait between the requests of a connection, but then asks less of a proxy that is slower for a moment, and shows a script only one of two
headers of the same name. This is an open loop: request k is due at k/rate, is sent on any idle connection, and its time counts from when it was due.
The marks (``judging.Marks``, JSON) come in the first line of the standard input; the load ends when that is closed. Prints ``Seen`` as JSON.
"""

from __future__ import annotations

import argparse
import re
import select
import socket
import sys
import time
from collections import deque

import msgspec

from benchmarks.judging import Judge, Marks

LAST_REPLIES_S = 10.0
_READ = 65536
_STATUS = slice(9, 12)
"""Where a status stands in ``HTTP/1.1 200``."""


class Seen(msgspec.Struct):
    """What the load saw.

    ``failed`` has when each request that got no whole reply had been sent, in monotonic seconds, and why; ``refused`` has by status when those
    had been sent that were not answered 200; ``wrong`` counts by the verdict; ``changes`` is by hop how often the named snapshot changed.
    ``opened`` counts connections, ``behind_ms`` is how far the load itself was behind its schedule at most.
    """

    requests: int = 0
    seconds: float = 0.0
    failed: list[tuple[float, str]] = []
    refused: dict[str, list[float]] = {}
    wrong: dict[str, int] = {}
    changes: list[int] = []
    opened: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    longest_ms: float = 0.0
    behind_ms: float = 0.0

    @property
    def rate(self) -> float:
        """Whole replies per second."""
        return self.requests / self.seconds if self.seconds else 0.0


class Connection:
    """One kept connection and what it waits for."""

    __slots__ = ("before", "due", "received", "sent", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = b""
        self.due = 0.0
        self.sent = 0.0
        self.before: tuple[int, ...] = ()


class Load:
    """The loop. Owns its connections."""

    def __init__(self, port: int, request: bytes, rate: float, marks: Marks) -> None:
        self.seen = Seen()
        self._port = port
        self._request = request
        self._step = 1 / rate
        self._judge = Judge(marks)
        names = "|".join(sorted({"content-length", "connection", *marks.names}))
        self._fields = re.compile(rf"\r\n({names}): ([^\r\n]*)", re.IGNORECASE)
        self._poll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._idle: deque[Connection] = deque()
        self._took: list[float] = []

    def run(self, connections: int, stop: int) -> Seen:
        """Loads until the descriptor ``stop`` can be read, then waits for the last replies."""
        for _ in range(connections):
            self._connect()
        self._poll.register(stop, select.EPOLLIN)
        begin = due = time.monotonic()
        end = 0.0
        while not end or (len(self._idle) < len(self._open) and time.monotonic() < end + LAST_REPLIES_S):
            now = time.monotonic()
            if not end:
                due = self._send_due(due, now)
            for number, _ in self._poll.poll(max(0.0, due - now) if self._idle and not end else 0.01):
                if number == stop:
                    end = time.monotonic()
                    self._poll.unregister(stop)
                else:
                    self._receive(self._open[number])
        for one in self._open.values():
            if one.due:
                self.seen.failed.append((one.sent, "no reply"))
            one.socket.close()
        return self._summed(end - begin)

    def _send_due(self, due: float, now: float) -> float:
        while due <= now and self._idle:
            one = self._idle.popleft()
            one.due, one.sent, one.before = due, now, tuple(self._judge.newest)
            self.seen.behind_ms = max(self.seen.behind_ms, (now - due) * 1000)
            try:
                one.socket.send(self._request)
            except OSError as error:
                self._lost(one, repr(error))
            due += self._step
        return due

    def _receive(self, one: Connection) -> None:
        try:
            data = one.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(one, repr(error))
            return
        if not data:
            self._lost(one, f"closed after {len(one.received)} bytes")
            return
        one.received += data
        head, found, body = one.received.partition(b"\r\n\r\n")
        if found:
            text = head.decode("latin-1")
            pairs = [(name.lower(), value) for name, value in self._fields.findall(text)]
            said = dict(pairs)
            if len(body) >= int(said.get("content-length", "0")):
                self._replied(one, text[_STATUS], pairs)
                if said.get("connection", "").lower() == "close":
                    self._lost(one, "")

    def _replied(self, one: Connection, status: str, pairs: list[tuple[str, str]]) -> None:
        seen = self.seen
        if status == "200":
            if verdict := self._judge.verdict(pairs, one.before):
                seen.wrong[verdict] = seen.wrong.get(verdict, 0) + 1
        else:
            seen.refused.setdefault(status, []).append(one.sent)
        seen.requests += 1
        self._took.append(time.monotonic() - one.due)
        one.received = b""
        one.due = 0.0
        self._idle.append(one)

    def _lost(self, one: Connection, why: str) -> None:
        """A connection that is over; another takes its place. One that waited for a reply is a failed request."""
        if one.due:
            self.seen.failed.append((one.sent, why))
        else:
            self._idle.remove(one)
        self._poll.unregister(one.socket)
        del self._open[one.socket.fileno()]
        one.socket.close()
        self._connect()

    def _connect(self) -> None:
        one = Connection(self._port)
        self._open[one.socket.fileno()] = one
        self._idle.append(one)
        self._poll.register(one.socket, select.EPOLLIN)
        self.seen.opened += 1

    def _summed(self, seconds: float) -> Seen:
        seen, took = self.seen, sorted(self._took)
        seen.seconds = seconds
        seen.changes = self._judge.changes
        if took:
            seen.p50_ms = took[len(took) // 2] * 1000
            seen.p99_ms = took[int(len(took) * 0.99)] * 1000
            seen.longest_ms = took[-1] * 1000
        return seen


def main() -> None:
    """Reads the marks, loads, prints what was seen."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paced", description=__doc__)
    parser.add_argument("port", type=int, help="of 127.0.0.1")
    parser.add_argument("host", help="the Host that is asked for")
    parser.add_argument("rate", type=float, help="requests in a second")
    parser.add_argument("--connections", type=int, default=64)
    asked = parser.parse_args()
    marks = msgspec.json.decode(sys.stdin.buffer.readline(), type=Marks)
    request = f"GET / HTTP/1.1\r\nhost: {asked.host}\r\n\r\n".encode()
    seen = Load(asked.port, request, asked.rate, marks).run(asked.connections, sys.stdin.fileno())
    sys.stdout.write(msgspec.json.encode(seen).decode())


if __name__ == "__main__":
    main()
