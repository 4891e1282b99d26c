"""Whole exchanges between our codec and the h2 library, in both roles: bodies larger than the windows, settings that change on the way.

What each side sends arrives at the other as it was sent, and nobody waits for ever: neither for a window that was never given back nor for an
event that never came. The draws are the same in every run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.head import Headers, RequestHead
from runtime.http2 import Http2Client, Http2Server
from runtime.http2.events import (
    DataReceived,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)

TURNS = 40_000
HEAD = RequestHead("POST", "http", "a.test", "a.test", "/", None, [])


@dataclass
class Message:
    """A body with trailers, if any; what of it is still to go, or has come."""

    body: bytes
    trailers: Headers = field(default_factory=list)
    at: int = 0
    ended: bool = False


class Side:
    """What both sides have: messages that go, messages that come, and bytes of bodies that are not yet given back to the windows."""

    def __init__(self) -> None:
        self.going: dict[int, Message] = {}
        self.coming: dict[int, Message] = {}
        self.owed: list[tuple[int, int]] = []
        self.asked: list[int] = []

    def get(self, stream: int, data: bytes, flow: int) -> None:
        """Body bytes have come."""
        self.coming[stream].body += data
        self.owed.append((stream, flow))


class Ours(Side):
    """Our codec."""

    def __init__(self, *, client: bool) -> None:
        super().__init__()
        self.codec: Http2Client | Http2Server = Http2Client() if client else Http2Server()
        self.stopped: set[int] = set()

    def start(self, stream: int, message: Message) -> int:
        """Sends the head of a request (stream 0) or of a reply."""
        codec = self.codec
        if isinstance(codec, Http2Client):
            stream = codec.send_head(HEAD, [], end=False)
        else:
            codec.send_head(stream, 200, [], content_length=len(message.body), end=False)
        self.going[stream] = message
        return stream

    def pump(self, stream: int, size: int) -> None:
        """Sends some of a body; a stream that was stopped goes on when its window has opened."""
        message = self.going[stream]
        if message.ended or stream in self.stopped:
            return
        data = message.body[message.at : message.at + size]
        last = message.at + len(data) == len(message.body)
        end = last and not message.trailers
        sent = self.codec.send_data(stream, data, end=end) if data or end else 0
        message.at += sent
        if sent < len(data):
            self.stopped.add(stream)
        elif last:
            if message.trailers:
                self.codec.send_trailers(stream, message.trailers)
            message.ended = True

    def give_back(self, stream: int, flow: int) -> None:
        """Opens the windows again."""
        self.codec.acknowledge(stream, flow)

    def take(self, data: bytes) -> None:
        """Bytes from the other side."""
        for event in self.codec.receive_data(data):
            match event:
                case RequestReceived(stream, _, _, ended) | ResponseReceived(stream, _, _, ended):
                    self.coming[stream] = Message(b"", ended=ended)
                    self.asked.append(stream)
                case DataReceived(stream, body, flow, ended):
                    self.get(stream, body, flow)
                    self.coming[stream].ended = ended
                case TrailersReceived(stream, trailers):
                    self.coming[stream].trailers, self.coming[stream].ended = trailers, True
                case WindowOpened(stream):
                    self.stopped.discard(stream)
                case StreamReset():
                    raise AssertionError(event)

    def out(self) -> bytes:
        """Bytes for the other side."""
        return self.codec.data_to_send()


class Library(Side):
    """The h2 library, with windows of its own choice."""

    def __init__(self, *, client: bool, window: int, frame: int) -> None:
        super().__init__()
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        self.codec = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        values = {codes.INITIAL_WINDOW_SIZE: window, codes.MAX_FRAME_SIZE: frame}
        self.codec.local_settings = h2.settings.Settings(client=client, initial_values=values)
        self._client = client
        self.codec.initiate_connection()

    def start(self, stream: int, message: Message) -> int:
        """See Ours."""
        if self._client:
            stream = self.codec.get_next_available_stream_id()
            pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")]
            self.codec.send_headers(stream, pseudo)
        else:
            self.codec.send_headers(stream, [(":status", "200")])
        self.going[stream] = message
        return stream

    def pump(self, stream: int, size: int) -> None:
        """See Ours."""
        message = self.going[stream]
        if message.ended:
            return
        room = min(self.codec.local_flow_control_window(stream), self.codec.max_outbound_frame_size, size)
        data = message.body[message.at : message.at + max(room, 0)]
        message.at += len(data)
        last = message.at == len(message.body)
        if data or (last and not message.trailers):
            self.codec.send_data(stream, data, end_stream=last and not message.trailers, pad_length=None)
        if last and message.trailers:
            self.codec.send_headers(stream, message.trailers, end_stream=True)
        message.ended = last

    def give_back(self, stream: int, flow: int) -> None:
        """See Ours."""
        if flow:
            self.codec.acknowledge_received_data(flow, stream)

    def resize(self, window: int) -> None:
        """Changes the window of every stream, open ones too; it may become negative."""
        self.codec.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})

    def take(self, data: bytes) -> None:
        """See Ours."""
        for event in self.codec.receive_data(data):
            match event:
                case h2.events.RequestReceived() | h2.events.ResponseReceived():
                    self.coming[event.stream_id] = Message(b"")
                    self.asked.append(event.stream_id)
                case h2.events.DataReceived():
                    self.get(event.stream_id, bytes(event.data), event.flow_controlled_length)
                case h2.events.TrailersReceived():
                    trailers = [(bytes(name), bytes(text)) for name, text in event.headers]
                    self.coming[event.stream_id].trailers = trailers
                case h2.events.StreamEnded():
                    self.coming[event.stream_id].ended = True
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    raise AssertionError(event)

    def out(self) -> bytes:
        """See Ours."""
        return self.codec.data_to_send()


def converse(draws: random.Random, *, client: bool) -> None:
    """Requests and replies of random sizes, in random turns, until all have arrived."""
    ours = Ours(client=client)
    library = Library(
        client=not client, window=draws.choice((1, 100, 65_535, 1 << 20)), frame=draws.choice((16_384, 1 << 20))
    )
    # The library holds a peer to its settings before that peer can have seen them.
    ours.take(library.out())
    library.take(ours.out())
    asking, answering = (ours, library) if client else (library, ours)
    requests = {asking.start(0, message(draws)): None for _ in range(draws.randint(1, 5))}
    replies: dict[int, Message] = {}
    wires: dict[Side, bytes] = {ours: b"", library: b""}
    for _ in range(TURNS):
        for stream in answering.asked:
            replies[stream] = message(draws)
            answering.start(stream, replies[stream])
        answering.asked.clear()
        for side, other in ((ours, library), (library, ours)):
            turn(draws, side)
            wires[side] += side.out()
            size = draws.choice((1, 9, 100, 20_000, 1 << 20))
            other.take(wires[side][:size])
            wires[side] = wires[side][size:]
        if draws.random() < 0.02:
            library.resize(draws.choice((10, 1_000, 65_535, 1 << 20)))
        if len(replies) == len(requests) and all(
            one.coming.get(stream, Message(b"")).ended for one in (ours, library) for stream in requests
        ):
            break
    for stream in requests:
        for sender, taker in ((asking, answering), (answering, asking)):
            sent, got = sender.going[stream], taker.coming[stream]
            assert (got.body == sent.body, got.trailers, got.ended) == (True, sent.trailers, True), (stream, sent.at)


def turn(draws: random.Random, side: Ours | Library) -> None:
    """Some of a body goes, some of what came is given back."""
    if side.going:
        side.pump(draws.choice(list(side.going)), draws.choice((1, 500, 16_384, 100_000)))
    if side.owed and draws.random() < 0.7:
        side.give_back(*side.owed.pop(draws.randrange(len(side.owed))))


def message(draws: random.Random) -> Message:
    """A body, mostly small, now and then larger than every window; with trailers or not."""
    size = draws.choice((0, 1, 300, 5_000, 70_000, 150_000))
    return Message(draws.randbytes(size), draws.choice(([], [], [(b"x-sum", b"1"), (b"x-two", b"2")])))


@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
def test_exchanges_with_the_library_arrive_whole_whatever_the_windows_and_the_pieces(client: bool) -> None:
    @settings(max_examples=250, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, 2**32))
    def trying(seed: int) -> None:
        converse(random.Random(seed), client=client)

    trying()
