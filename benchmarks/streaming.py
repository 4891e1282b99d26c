"""``python -m benchmarks.streaming``: a large body up and down through each engine, and by how much its memory grows meanwhile.

The client is curl, the origin a few lines over a socket; neither keeps anything. Memory is the peak of what was resident (VmHWM, set back before
each body) over what was resident before, summed over all processes of the proxy. Exit 1 where a body came out with another length, or
memory grew by more than LIMIT_MIB.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.certificates import make_certificates
from benchmarks.hop import Hop, Target
from benchmarks.processes import Server, free_port
from benchmarks.targets.weft import Weft
from runtime.http2.events import DataReceived, RequestReceived
from runtime.http2.server import Http2Server

LIMIT_MIB = 32.0
PIECE = bytes(262_144)
TIMEOUT_S = 300.0
TARGETS: tuple[Target, ...] = (Weft(), Weft("envoy"))


class Streamed(msgspec.Struct, frozen=True):
    """One body through one engine. ``grew_mib`` is peak over before; ``whole`` says that every byte arrived."""

    target: str
    protocol: str
    direction: str
    mib: int
    seconds: float
    grew_mib: float
    whole: bool


class Origin:
    """Takes bodies and counts them, or sends one of ``size`` bytes to a GET. ``received`` is the length of the last body that it took."""

    def __init__(self, size: int, *, http2: bool) -> None:
        self.size = size
        self.received = 0
        self._http2 = http2
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accepts no more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            serve = self._speak_http2 if self._http2 else self._speak_http1
            threading.Thread(target=_ignoring_loss, args=(serve, sock), daemon=True).start()

    def _speak_http1(self, sock: socket.socket) -> None:
        while head := _read_head(sock):
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            if head.startswith(b"GET"):
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self.size)
                for at in range(0, self.size, len(PIECE)):
                    sock.sendall(PIECE[: self.size - at])
                continue
            left = length
            while left and (data := sock.recv(min(left, len(PIECE)))):
                left -= len(data)
            self.received = length - left
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    def _speak_http2(self, sock: socket.socket) -> None:
        codec = Http2Server()
        left: dict[int, int] = {}
        sock.sendall(codec.data_to_send())
        while data := sock.recv(len(PIECE)):
            for event in codec.receive_data(data, time.monotonic()):
                if isinstance(event, RequestReceived):
                    self.received = 0
                    if event.ended:
                        codec.send_head(event.stream_id, 200, [], content_length=self.size, end=False)
                        left[event.stream_id] = self.size
                elif isinstance(event, DataReceived):
                    self.received += len(event.data)
                    codec.acknowledge(event.stream_id, event.flow_bytes)
                    if event.ended:
                        codec.send_head(event.stream_id, 200, [], content_length=0, end=True)
                for stream in list(left):
                    self._send(codec, stream, left)
            sock.sendall(codec.data_to_send())

    def _send(self, codec: Http2Server, stream: int, left: dict[int, int]) -> None:
        while left[stream]:
            piece = PIECE[: left[stream]]
            sent = codec.send_data(stream, piece, end=len(piece) == left[stream])
            left[stream] -= sent
            if sent < len(piece):
                return
        del left[stream]


def _ignoring_loss(serve: object, sock: socket.socket) -> None:
    """A proxy that ends resets its connections; the count says what arrived."""
    with sock:
        try:
            serve(sock)  # type: ignore[operator]
        except ConnectionError:
            return


def _read_head(sock: socket.socket) -> bytes:
    """One request's head; what follows stays in the socket."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def stream(target: Target, *, http2: bool, mib: int, folder: Path) -> list[Streamed]:
    """One body up and one down through a proxy that is started for them; raises RuntimeError where it does not start."""
    size = mib << 20
    origin = Origin(size, http2=http2)
    zeroes = folder / "zeroes"
    with zeroes.open("wb") as file:
        file.truncate(size)  # Sparse: it takes no room.
    hop = Hop("streaming", free_port(), origin.port, make_certificates(folder), http2=http2)
    server = target.start(hop, folder)
    try:
        server.wait_port(hop.port)
        url = f"http://127.0.0.1:{hop.port}/route-0/"
        _curl(url, None, http2=http2)
        found = []
        for direction in ("up", "down"):
            before = reset_peak(server)
            begun = time.monotonic()
            moved = _curl(url, zeroes if direction == "up" else None, http2=http2)
            took = time.monotonic() - begun
            arrived = origin.received if direction == "up" else moved
            grew = (peak(server) - before) / 1024
            protocol = "http2" if http2 else "http1"
            found.append(Streamed(target.name, protocol, direction, mib, took, grew, arrived == size))
        return found
    finally:
        server.stop()
        origin.close()


def _curl(url: str, upload: Path | None, *, http2: bool) -> int:
    """Sends the file where there is one, throws the reply away; how many bytes came."""
    version = "--http2-prior-knowledge" if http2 else "--http1.1"
    more = ["-T", str(upload), "-H", "expect:"] if upload is not None else []
    command = [
        "curl",
        "-sS",
        version,
        "-H",
        "host: bench.test",
        *more,
        "-o",
        "/dev/null",
        "-w",
        "%{size_download}",
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return int(done.stdout or 0)


def reset_peak(server: Server) -> int:
    """Sets the peaks of all processes back (proc(5), clear_refs); what is resident now, in KiB."""
    for pid in server.pids():
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status(server, "VmRSS")


def peak(server: Server) -> int:
    """The most that was resident since the peaks were set back, in KiB."""
    return _status(server, "VmHWM")


def _status(server: Server, field: str) -> int:
    lines = (line for pid in server.pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line per body."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of each body (1024)")
    options = parser.parse_args(arguments)
    worst = 0
    print(f"{'target':10} {'protocol':8} {'way':4} {'MiB':>6} {'s':>6} {'MiB/s':>7} {'grew MiB':>9}")
    for target in TARGETS:
        for http2 in (False, True):
            with tempfile.TemporaryDirectory(prefix="weft-stream-") as folder:
                for one in stream(target, http2=http2, mib=options.mib, folder=Path(folder)):
                    speed = one.mib / one.seconds
                    fault = "" if one.whole else "  TRUNCATED"
                    worst = max(worst, int(not one.whole or one.grew_mib > LIMIT_MIB))
                    print(
                        f"{one.target:10} {one.protocol:8} {one.direction:4} {one.mib:6} {one.seconds:6.1f} {speed:7.0f} "
                        f"{one.grew_mib:9.1f}{fault}"
                    )
    return worst


if __name__ == "__main__":
    sys.exit(main())
