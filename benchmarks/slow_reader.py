"""``python -m benchmarks.slow_reader``: how much one slow reader of an HTTP/2 stream costs the other streams of its connection, through each engine.

One connection carries requests of 20 KB, eight at a time. In every second round another stream of the same connection takes a large body
meanwhile, slowly: its window opens by a few KiB every 20 ms. Client and origin have the load's core, each a process of its own. The rounds
alternate, so that a drift of the machine hits both alike; medians of pairs count. Exit 1 where the others took more than LIMIT times as long, or an
answer was not whole.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.certificates import make_certificates
from benchmarks.hop import Hop, Target
from benchmarks.processes import LOAD_CORE, Server, free_port
from benchmarks.streaming import peak, reset_peak
from benchmarks.targets.weft import Weft
from benchmarks.works import HOST
from policies.head import RequestHead
from runtime.http2.client import Http2Client
from runtime.http2.events import DataReceived, RequestReceived, StreamReset
from runtime.http2.server import Http2Server

LIMIT = 1.10
BODY = 20_000
LARGE = 1 << 30
IN_FLIGHT = 8
STEP_BYTES = 8_192
STEP_S = 0.02
PATH = "/route-0/"
_READ = 262_144
_PIECE = bytes(65_536)
TARGETS: tuple[Target, ...] = (Weft(), Weft("envoy"))


class Beside(msgspec.Struct, frozen=True):
    """One engine. Times are of one request, in microseconds, the median of the rounds; ``slow_kib`` is what the slow reader took in all.

    ``ratio`` says how many times as long the others took beside the slow one: the median over pairs of rounds that follow each other.
    """

    target: str
    alone_us: float
    beside_us: float
    ratio: float
    slow_kib: int
    grew_mib: float


class Connection:
    """One connection to a proxy. ``slow`` is the stream that is read slowly, 0 for none; ``slow_bytes`` is what it has taken."""

    def __init__(self, port: int) -> None:
        self._codec = Http2Client()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left: dict[int, int] = {}
        self._held = 0
        self._next_step = 0.0
        self.slow = 0
        self.slow_bytes = 0

    def start_slow(self) -> None:
        """Asks for the large body and takes what the first window holds."""
        self.slow = self._ask("slow")
        self.slow_bytes = self._held = 0
        while self.slow_bytes < 65_535:
            self._step()

    def stop_slow(self) -> None:
        """Gives the rest of it up."""
        slow, self.slow = self.slow, 0
        self._codec.acknowledge(slow, self._held)
        self._codec.reset(slow)

    def run(self, requests: int) -> float:
        """Sends so many requests, IN_FLIGHT at a time, and returns the seconds that one took; raises RuntimeError where an answer is not whole."""
        begun = time.perf_counter()
        asked = 0
        while asked < requests or self._left:
            while asked < requests and len(self._left) < IN_FLIGHT:
                self._left[self._ask("small")] = BODY
                asked += 1
            self._step()
        return (time.perf_counter() - begun) / requests

    def close(self) -> None:
        """Ends it."""
        self._socket.close()

    def _ask(self, query: str) -> int:
        head = RequestHead("GET", "http", HOST, HOST, PATH, query, [])
        return self._codec.send_head(head, [], end=True)

    def _step(self) -> None:
        now = time.perf_counter()
        if self.slow and self._held and now >= self._next_step:
            self._next_step = now + STEP_S
            given = min(self._held, STEP_BYTES)
            self._held -= given
            self._codec.acknowledge(self.slow, given)
        if out := self._codec.data_to_send():
            self._socket.sendall(out)
        data = self._socket.recv(_READ)
        if not data:
            raise RuntimeError("the proxy closed the connection")
        for event in self._codec.receive_data(data, now):
            if isinstance(event, DataReceived):
                self._take(event)
            elif isinstance(event, StreamReset) and event.stream_id in self._left:
                raise RuntimeError(f"stream {event.stream_id} was reset: {event.code}")

    def _take(self, event: DataReceived) -> None:
        if event.stream_id == self.slow:
            self._held += event.flow_bytes
            self.slow_bytes += len(event.data)
            return
        self._codec.acknowledge(event.stream_id, event.flow_bytes)
        left = self._left.get(event.stream_id)
        if left is None:
            return
        self._left[event.stream_id] = left - len(event.data)
        if event.ended and self._left.pop(event.stream_id):
            raise RuntimeError(f"stream {event.stream_id} ended early")


def serve(port: int) -> None:
    """The origin: BODY bytes to each request, LARGE ones where the query is ``slow``."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    codec = Http2Server()
    left: dict[int, int] = {}
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(codec.data_to_send())
        while data := connection.recv(_READ):
            for event in codec.receive_data(data, time.monotonic()):
                if isinstance(event, RequestReceived):
                    size = LARGE if event.head.query == "slow" else BODY
                    codec.send_head(event.stream_id, 200, [], content_length=size, end=False)
                    left[event.stream_id] = size
                elif isinstance(event, StreamReset):
                    left.pop(event.stream_id, None)
            for stream in list(left):
                _send(codec, stream, left)
            connection.sendall(codec.data_to_send())


def _send(codec: Http2Server, stream: int, left: dict[int, int]) -> None:
    while left[stream]:
        piece = _PIECE[: left[stream]]
        sent = codec.send_data(stream, piece, end=len(piece) == left[stream])
        left[stream] -= sent
        if sent < len(piece):
            return
    del left[stream]


def measure(target: Target, folder: Path, *, rounds: int, requests: int) -> Beside:
    """Starts the proxy and its origin, and lets the rounds alternate; raises RuntimeError where something does not start or breaks."""
    hop = Hop("slow-reader", free_port(), free_port(), make_certificates(folder), http2=True)
    command = [sys.executable, "-m", "benchmarks.slow_reader", "--origin", str(hop.upstream)]
    origin = Server(command, folder=Path.cwd(), name=str(folder / "origin"), core=LOAD_CORE)
    proxy = target.start(hop, folder)
    alone, beside, slow = [], [], 0
    try:
        origin.wait_port(hop.upstream)
        proxy.wait_port(hop.port)
        connection = Connection(hop.port)
        connection.run(requests)
        before = reset_peak(proxy)
        for _ in range(rounds):
            alone.append(connection.run(requests))
            connection.start_slow()
            beside.append(connection.run(requests))
            connection.stop_slow()
            slow += connection.slow_bytes
        grew = (peak(proxy) - before) / 1024
        connection.close()
    finally:
        proxy.stop()
        origin.stop()
    ratio = median(one / other for one, other in zip(beside, alone, strict=True))
    return Beside(target.name, median(alone) * 1e6, median(beside) * 1e6, ratio, slow >> 10, grew)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line per engine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_reader", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="rounds with and without the slow reader (31)")
    parser.add_argument("--requests", type=int, default=800, help="requests of a round (800)")
    parser.add_argument("--origin", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.origin:
        serve(options.origin)
        return 0
    os.sched_setaffinity(0, {LOAD_CORE})
    worst = 0
    print(f"{'target':12} {'alone us':>9} {'beside us':>10} {'ratio':>6} {'slow KiB':>9} {'grew MiB':>9}")
    for target in TARGETS:
        with tempfile.TemporaryDirectory(prefix="weft-slow-") as folder:
            one = measure(target, Path(folder), rounds=options.rounds, requests=options.requests)
        worst = max(worst, int(one.ratio > LIMIT))
        print(
            f"{one.target:12} {one.alone_us:9.0f} {one.beside_us:10.0f} {one.ratio:6.3f} {one.slow_kib:9} {one.grew_mib:9.1f}"
        )
    return worst


if __name__ == "__main__":
    sys.exit(main())
