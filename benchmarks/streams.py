"""Streams that stay open for minutes: WebSockets and gRPC calls in both directions; each sends a little now and then, and waits for it to return."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

# Read when it is imported: else it says on the standard error stream that it looks on while other processes are started.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc

PAUSE_S = 0.4
ANSWER_S = 10.0
METHOD = "/bench.Echo/Talk"
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


class Origins:
    """The far ends: what a WebSocket or a call sends comes back. Owns both servers until ``close``."""

    def __init__(self, chat: int, calls: int, *, streams: int) -> None:
        self._chat = socket.create_server(("127.0.0.1", chat))
        threading.Thread(target=self._accept, daemon=True).start()
        handler = grpc.stream_stream_rpc_method_handler(lambda messages, _context: messages)
        talk = grpc.method_handlers_generic_handler("bench.Echo", {"Talk": handler})
        self._calls = grpc.server(ThreadPoolExecutor(streams + 2), handlers=[talk])
        self._calls.add_insecure_port(f"127.0.0.1:{calls}")
        self._calls.start()

    def close(self) -> None:
        """Ends both."""
        self._chat.close()
        self._calls.stop(0)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self._chat.accept()
                threading.Thread(target=_echo, args=(stream,), daemon=True).start()


def _echo(stream: socket.socket) -> None:
    with stream, contextlib.suppress(OSError):
        _until_head(stream)
        stream.sendall(_SWITCHING)
        while data := stream.recv(4096):
            stream.sendall(data)


def _until_head(stream: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        data = stream.recv(4096)
        if not data:
            raise ConnectionError(f"closed after {received!r}")
        received += data
    return received


class Streams:
    """So many WebSockets and as many calls through a proxy. ``messages`` came back; ``broken`` says of each stream that ended why."""

    def __init__(self, port: int, chat: str, calls: str, *, each: int) -> None:
        self.messages = 0
        self.broken: list[str] = []
        self._port = port
        self._chat = chat
        self._over = threading.Event()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.default_authority", calls)])
        targets = [self._websocket] * each + [self._call] * each
        self._threads = [threading.Thread(target=self._run, args=(target,), daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends all of them."""
        self._over.set()
        for thread in self._threads:
            thread.join(ANSWER_S)
        self._channel.close()

    def _run(self, target: object) -> None:
        try:
            target()  # type: ignore[operator]
        except (OSError, grpc.RpcError, queue.Empty) as error:
            if not self._over.is_set():
                self.broken.append(f"{type(error).__name__}: {error}")

    def _websocket(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_S) as stream:
            head = f"GET / HTTP/1.1\r\nhost: {self._chat}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            stream.sendall(head.encode())
            if b" 101 " not in _until_head(stream):
                raise ConnectionError("no upgrade")
            while not self._over.wait(PAUSE_S):
                stream.sendall(b"ping")
                if stream.recv(4) != b"ping":
                    raise ConnectionError("closed")
                self.messages += 1

    def _call(self) -> None:
        sending: queue.Queue[bytes | None] = queue.Queue()

        def messages() -> Iterator[bytes]:
            while (message := sending.get()) is not None:
                yield message

        replies = self._channel.stream_stream(METHOD)(messages())
        while not self._over.wait(PAUSE_S):
            sending.put(b"ping")
            if next(replies, None) != b"ping":
                raise ConnectionError("the call ended")
            self.messages += 1
        sending.put(None)
