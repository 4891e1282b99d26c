"""One HTTP/2 connection, read by our codec and by the h2 library step by step, so that the first step that they take otherwise is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hyperframe.frame

from policies.head import Headers, RequestHead
from runtime.http2 import Http2Client, Http2Server
from runtime.http2.connection import Limits
from runtime.http2.error import ProtocolError
from runtime.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from tests.runtime.http2.scripts import Act, Step

ASKED = RequestHead("GET", "http", "a.test", "a.test", "/x", "y", [])
LIMITS = Limits(stream_window_bytes=65_535, connection_window_bytes=65_535)
"""The windows that the library has."""
Told = tuple[object, ...]
NOTHING = ""


@dataclass
class Outcome:
    """What one step, or many, came to. ``told`` is what was read by stream (0: the connection), body bytes joined; ``acks`` what was acknowledged.

    ``refused`` is the connection error, ``resets`` the streams that were reset of the codec's own accord, each as "code, reason".
    """

    told: dict[int, list[Told]] = field(default_factory=dict)
    acks: list[bytes] = field(default_factory=list)
    resets: dict[int, str] = field(default_factory=dict)
    refused: str = NOTHING

    def tell(self, stream: int, *what: object) -> None:
        """Adds one thing that was read; body bytes join those before."""
        if what == ("data", b""):
            return
        told = self.told.setdefault(stream, [])
        if what[0] == "data" and told and told[-1][0] == "data":
            told[-1] = ("data", told[-1][1] + what[1])  # type: ignore[operator]
        else:
            told.append(what)

    def settled(self) -> object:
        """What does not depend on the pieces in which the bytes came: what was read by the very call that was refused is not told."""
        return self.refused or (self.told, self.acks, self.resets)

    def summary(self) -> str:
        """For a list of differences: the error, the streams' errors, or that it read on."""
        if self.refused:
            return f"connection {self.refused}"
        return "; ".join(f"stream {why}" for why in self.resets.values()) or "reads on"


class Ours:
    """Our codec as the near side. Every body is given back to the windows at once, or kept where ``greedy`` is false."""

    def __init__(self, *, client: bool) -> None:
        self._codec: Http2Server | Http2Client = Http2Client(limits=LIMITS) if client else Http2Server(limits=LIMITS)
        self._codec.data_to_send()

    def take(self, step: Step) -> Outcome:
        """One step."""
        outcome = Outcome()
        try:
            if isinstance(step, Act):
                self._act(step)
            else:
                events = self._codec.receive_data(step)
                left = any(isinstance(event, GoAwayReceived) for event in events)
                for event in events:
                    # What a GOAWAY leaves behind our codec tells stream by stream; the library tells the GOAWAY alone.
                    if not (left and isinstance(event, StreamReset) and event.unprocessed):
                        self._tell(outcome, event)
        except ProtocolError as error:
            outcome.refused = f"{int(error.code)} {error.reason.value}"
        acts_reset = {step.stream} if isinstance(step, Act) else set()
        _take_sent(outcome, self._codec.data_to_send(), acts_reset)
        return outcome

    def _act(self, act: Act) -> None:
        codec = self._codec
        if isinstance(codec, Http2Client):
            if act.kind == "ask" and codec.capacity:
                codec.send_head(ASKED, [], end=True)
        elif act.kind == "answer" and codec.is_open(act.stream):
            codec.send_head(act.stream, 200, [], content_length=None, end=True)
        if act.kind == "reset":
            codec.reset(act.stream)

    def _tell(self, outcome: Outcome, event: Event) -> None:
        match event:
            case RequestReceived(stream, head, _, ended):
                path = head.path if head.query is None else f"{head.path}?{head.query}"
                outcome.tell(stream, "request", head.method, head.authority.lower(), path, folded(head.headers))
            case ResponseReceived(stream, head, _, ended):
                outcome.tell(stream, "response", str(head.status), folded(head.headers))
            case DataReceived(stream, data, flow, ended):
                outcome.tell(stream, "data", data)
                self._codec.acknowledge(stream, flow)
            case TrailersReceived(stream, trailers):
                outcome.tell(stream, "trailers", trailers)
                ended = True
            case StreamReset(stream, code, _, reason):
                if reason is not None:
                    outcome.resets[stream] = f"{int(code)} {reason.value}"
                else:
                    outcome.tell(stream, "reset", int(code))
                return
            case GoAwayReceived(last, code):
                outcome.tell(0, "goaway", last, code)
                return
            case _:
                return
        if ended:
            outcome.tell(stream, "end")


class Library:
    """The h2 library as the near side."""

    def __init__(self, *, client: bool) -> None:
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        self._codec = h2.connection.H2Connection(config)
        self._codec.initiate_connection()
        self._codec.data_to_send()

    def take(self, step: Step) -> Outcome:
        """One step; one frame at a time, since the library forgets what a call read before it raised."""
        outcome = Outcome()
        try:
            if isinstance(step, Act):
                self._act(step)
            else:
                for event in self._codec.receive_data(step):
                    self._tell(outcome, event)
        except h2.exceptions.ProtocolError as error:
            # Its messages name streams, values and states; what is left says which rule it was.
            why = re.sub(r"[bd]'.*|[{\"\d].*|in state .*", "", f"{error}").strip(" :")
            outcome.refused = f"{int(error.error_code)} {why or type(error).__name__}"
        acts_reset = {step.stream} if isinstance(step, Act) else set()
        _take_sent(outcome, self._codec.data_to_send(), acts_reset)
        return outcome

    def _act(self, act: Act) -> None:
        try:
            if act.kind == "ask":
                pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/x?y")]
                self._codec.send_headers(self._codec.get_next_available_stream_id(), pseudo, end_stream=True)
            elif act.kind == "answer":
                self._codec.send_headers(act.stream, [(":status", "200")], end_stream=True)
            elif act.kind == "reset":
                self._codec.reset_stream(act.stream, 8)
        except (h2.exceptions.ProtocolError, KeyError):
            return  # The stream is over, or never was: nothing to do, as on our side.

    def _tell(self, outcome: Outcome, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                outcome.tell(event.stream_id, "request", *_request(event.headers))
            case h2.events.InformationalResponseReceived() | h2.events.ResponseReceived():
                status = dict(event.headers)[b":status"].decode("latin-1")
                outcome.tell(event.stream_id, "response", status, folded(event.headers[1:]))
            case h2.events.DataReceived():
                outcome.tell(event.stream_id, "data", bytes(event.data))
                if event.flow_controlled_length:
                    self._codec.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                outcome.tell(event.stream_id, "trailers", folded(event.headers))
            case h2.events.StreamEnded():
                outcome.tell(event.stream_id, "end")
            case h2.events.StreamReset() if event.remote_reset:
                outcome.tell(event.stream_id, "reset", int(event.error_code))
            case h2.events.ConnectionTerminated():
                outcome.tell(0, "goaway", event.last_stream_id, int(event.error_code or 0))
            case _:
                return


def _request(headers: Headers) -> tuple[object, ...]:
    pseudo = {bytes(name): bytes(text).decode("latin-1") for name, text in headers if name[:1] == b":"}
    fields = [pair for pair in headers if pair[0][:1] != b":"]
    authority = pseudo.get(b":authority") or dict(fields).get(b"host", b"").decode("latin-1")
    rest = folded([pair for pair in fields if pair[0] != b"host"])
    return pseudo[b":method"], authority.lower(), pseudo.get(b":path", ""), rest


def folded(headers: Headers) -> Headers:
    """With one cookie, at the end, as our codec makes it (RFC 9113 section 8.2.3)."""
    crumbs = [bytes(text) for name, text in headers if name == b"cookie"]
    rest = [(bytes(name), bytes(text)) for name, text in headers if name != b"cookie"]
    return [*rest, (b"cookie", b"; ".join(crumbs))] if crumbs else rest


def _take_sent(outcome: Outcome, sent: bytes, asked: set[int]) -> None:
    """Keeps what of the bytes sent is an answer to what was read."""
    view = memoryview(sent)
    while view:
        frame, length = hyperframe.frame.Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9 : 9 + length])
        view = view[9 + length :]
        match frame:
            case hyperframe.frame.RstStreamFrame() if frame.stream_id not in asked:
                outcome.resets.setdefault(frame.stream_id, f"{frame.error_code}")
            case hyperframe.frame.PingFrame() if "ACK" in frame.flags:
                outcome.acks.append(frame.opaque_data)
            case hyperframe.frame.SettingsFrame() if "ACK" in frame.flags:
                outcome.acks.append(b"settings")


def read_all(steps: Sequence[Step], *, client: bool) -> Outcome:
    """What our codec makes of all steps together."""
    ours, whole = Ours(client=client), Outcome()
    for step in steps:
        outcome = ours.take(step)
        for stream, told in outcome.told.items():
            for what in told:
                whole.tell(stream, *what)
        whole.acks += outcome.acks
        whole.resets |= {stream: why for stream, why in outcome.resets.items() if stream not in whole.resets}
        whole.refused = outcome.refused
        if outcome.refused:
            break
    return whole


def first_difference(steps: Sequence[Step], *, client: bool) -> tuple[str, str] | None:
    """How our codec and the library took the first step that they took otherwise; None where they agree to the end."""
    ours, library = Ours(client=client), Library(client=client)
    for step in steps:
        mine, theirs = ours.take(step), library.take(step)
        codes = [_codes(outcome) for outcome in (mine, theirs)]
        if codes[0] != codes[1]:
            return mine.summary(), theirs.summary()
        if mine.refused:
            return None
        if mine.told != theirs.told or mine.acks != theirs.acks:
            return f"told {mine.told} {mine.acks}", f"told {theirs.told} {theirs.acks}"
    return None


def _codes(outcome: Outcome) -> object:
    """The errors without their reasons, which each puts in its own words."""
    return outcome.refused.partition(" ")[0], {stream: why.partition(" ")[0] for stream, why in outcome.resets.items()}
