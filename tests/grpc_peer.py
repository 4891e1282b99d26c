"""Both ends of gRPC by grpcio, with plain bytes as messages: one service whose methods have every shape of streaming."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import grpc

SERVICE = "test.Shapes"


class Shapes(grpc.GenericRpcHandler):
    """The server's methods. ``cancelled`` is set when a client has given up a call."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        match call.method.rpartition("/")[2]:
            case "Unary":
                return grpc.unary_unary_rpc_method_handler(self._unary)
            case "Down":
                return grpc.unary_stream_rpc_method_handler(self._down)
            case "Up":
                return grpc.stream_unary_rpc_method_handler(self._up)
            case "Both":
                return grpc.stream_stream_rpc_method_handler(self._both)
            case "Wait":
                return grpc.unary_unary_rpc_method_handler(self._wait)
            case "Fail":
                return grpc.unary_stream_rpc_method_handler(self._fail)
        return None

    def _unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "2"),))
        return message

    def _down(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        del context
        for number in range(int(message)):
            yield b"%d" % number

    def _up(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        del context
        return b"%d" % sum(map(len, messages))

    def _both(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.set_trailing_metadata((("x-last", "2"),))
        for message in messages:
            yield b"re: " + message

    def _wait(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(10)
        return message

    def _fail(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield message
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like this")


@contextmanager
def serving() -> Iterator[tuple[int, Shapes]]:
    """A server on a free port of 127.0.0.1."""
    shapes = Shapes()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((shapes,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port, shapes
    finally:
        shapes.cancelled.set()
        server.stop(None).wait()


class Caller:
    """A client's channel, over TLS to ``localhost`` where a root is given; its calls block, so they are made in threads.

    What ``retries`` allows is what grpcio does unless told otherwise: calls that no server has seen are made again."""

    def __init__(self, port: int, *, root: bytes = b"", retries: bool = False) -> None:
        options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", int(retries))]
        if root:
            credentials = grpc.ssl_channel_credentials(root_certificates=root)
            self._channel = grpc.secure_channel(f"localhost:{port}", credentials, options=options)
        else:
            self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def unary(self, name: str) -> grpc.UnaryUnaryMultiCallable:
        return self._channel.unary_unary(f"/{SERVICE}/{name}")

    def down(self, name: str) -> grpc.UnaryStreamMultiCallable:
        return self._channel.unary_stream(f"/{SERVICE}/{name}")

    def up(self, name: str) -> grpc.StreamUnaryMultiCallable:
        return self._channel.stream_unary(f"/{SERVICE}/{name}")

    def both(self, name: str) -> grpc.StreamStreamMultiCallable:
        return self._channel.stream_stream(f"/{SERVICE}/{name}")
