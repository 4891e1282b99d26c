"""The aggregated discovery service for one Envoy, on a unix socket: who pushes resources learns whether Envoy took them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import trio
from envoy.service.discovery.v3 import discovery_pb2

from runtime.envoy.delta import DeltaStream, Verdict
from runtime.envoy.grpc import Closed, GrpcServer, Opened, Received
from runtime.envoy.messages import Message
from runtime.envoy.resources import Resources
from runtime.http2 import ProtocolError

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
VERDICT_S = 20.0
OFFER_S = 2.0
"""How long new live data wait for Envoy to have them; it answers within milliseconds, unless it is starting or warming."""


log = logging.getLogger("weft.proxy")


class RejectedError(Exception):
    """Envoy does not take what it was sent; the message is Envoy's own."""


class StreamLostError(Exception):
    """Envoy is gone, or does not say in time whether it takes what it was sent."""


class Discovery:
    """Serves one Envoy. ``available`` is what it should have; a stream that begins anew gets all of it. ``rejected`` is Envoy's last word
    against something that nobody waited for, until whoever reads it clears it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.available = Resources({})
        self.rejected = ""
        self._call: _Call | None = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accepts until cancelled; only this user may connect, by the rights of the socket's folder."""
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(self.path))
            bound.listen(4)
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound.dup()))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, self._connection, [listener])
                task_status.started()

    async def push(self, available: Resources, kinds: Iterable[str]) -> None:
        """Makes resources available and sends the changes of these types, in order; returns when Envoy has taken all of them.

        Raises RejectedError and StreamLostError; what was taken before stays with Envoy until the next push says otherwise.
        """
        self.available = available
        call = self._call
        if call is None:
            raise StreamLostError("Envoy is not connected")
        for kind in kinds:
            answer = call.stream.changes(kind, available)
            if answer is not None:
                await call.ask(answer)

    async def offer(self, available: Resources, kinds: Iterable[str]) -> None:
        """As ``push``, but resources of other types stay as they are, a rejection is logged, and who is late is not waited for longer
        than ``OFFER_S``: what was offered stays available."""
        kinds = tuple(kinds)
        self.available = available = self.available.replacing(available, kinds)
        call = self._call
        if call is None:
            return
        # All are sent before any is waited for: the stream counts what it made as sent.
        answers = {kind: call.stream.changes(kind, available) for kind in kinds}
        verdicts = {kind: call.tell(answer) for kind, answer in answers.items() if answer is not None}
        with trio.move_on_after(OFFER_S):
            for kind, verdict in verdicts.items():
                async for error in verdict:
                    if error:
                        self._reject(kind, error)
        for verdict in verdicts.values():
            verdict.close()  # A word that comes later is logged when it comes.

    async def _connection(self, stream: trio.SocketStream) -> None:
        grpc = GrpcServer(METHOD)
        wake = trio.Event()
        calls: dict[int, _Call] = {}

        async def write() -> None:
            nonlocal wake
            while True:
                data = grpc.data_to_send()
                if data:
                    await stream.send_all(data)
                else:
                    await wake.wait()
                    wake = trio.Event()

        async def read(nursery: trio.Nursery) -> None:
            async for data in stream:
                for event in grpc.receive_data(bytes(data), trio.current_time()):
                    match event:
                        case Opened(number):
                            calls[number] = self._call = _Call(grpc, number, lambda: wake.set())
                        case Received(number, body):
                            self._receive(calls[number], body)
                        case Closed(number):
                            self._lose(calls.pop(number))
                wake.set()
            nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                nursery.start_soon(read, nursery)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError) as errors:
            log.debug("the discovery stream ended: %s", errors.exceptions)
        finally:
            for call in calls.values():
                self._lose(call)

    def _receive(self, call: _Call, body: bytes) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest.FromString(body)
        verdict, answer = call.stream.receive(request, self.available)
        if verdict is not None and not call.judge(verdict) and verdict.error:
            self._reject(request.type_url, verdict.error)
        if answer is not None:
            call.send(answer)

    def _reject(self, kind: str, error: str) -> None:
        self.rejected = error
        log.error("Envoy rejects %s: %s", kind.rpartition(".")[2], error)

    def _lose(self, call: _Call) -> None:
        call.lose()
        if self._call is call:
            self._call = None


class _Call:
    """One stream of one Envoy, and who waits for its verdicts."""

    def __init__(self, grpc: GrpcServer, number: int, wake: Callable[[], None]) -> None:
        self.stream = DeltaStream()
        self._grpc = grpc
        self._number = number
        self._wake = wake
        self._waiting: dict[str, trio.MemorySendChannel[str]] = {}

    def send(self, answer: Message) -> None:
        """Sends an answer; its verdict, where it is a rejection, is logged."""
        self._grpc.send_message(self._number, answer.SerializeToString())
        self._wake()

    def tell(self, answer: Message) -> trio.MemoryReceiveChannel[str]:
        """Sends an answer; what is returned gives Envoy's objection, "" for none, and ends then or with the stream."""
        send, receive = trio.open_memory_channel[str](1)
        self._waiting[answer.nonce] = send
        self.send(answer)
        return receive

    async def ask(self, answer: Message) -> None:
        """Sends an answer and waits for the verdict; raises RejectedError, StreamLostError."""
        try:
            with self.tell(answer) as verdict, trio.fail_after(VERDICT_S):
                error = await verdict.receive()
        except trio.EndOfChannel:
            raise StreamLostError("Envoy ended while it was told of the new slice") from None
        except trio.TooSlowError:
            raise StreamLostError(f"Envoy said nothing to the new slice within {VERDICT_S:g} s") from None
        finally:
            self._waiting.pop(answer.nonce, None)
        if error:
            raise RejectedError(error)

    def judge(self, verdict: Verdict) -> bool:
        """Passes Envoy's word to who waits for it; False where nobody does."""
        waiter = self._waiting.pop(verdict.nonce, None)
        if waiter is None:
            return False
        with waiter:
            try:
                waiter.send_nowait(verdict.error)
            except trio.BrokenResourceError:
                return False
        return True

    def lose(self) -> None:
        """The stream is over."""
        for waiter in self._waiting.values():
            waiter.close()
