"""Every message of the HTTP/1 corpora at both codecs: in any pieces they read the same, and as h11 reads it but for what ``STRICTER`` lists.

Besides the messages as they are, hypothesis tries them with a byte changed, one after the other on a connection, and cut anywhere; its draws are the
same in every run.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.http1 import Reason
from tests.conformance.corpus import DATA, read
from tests.conformance.gadgets import wire_of
from tests.conformance.llhttp import with_host
from tests.runtime.http1.conversations import (
    Account,
    bytewise,
    pieces,
    requests_by_h11,
    requests_by_ours,
    responses_by_h11,
    responses_by_ours,
)
from tests.runtime.test_proxy_bad_upstreams import CASES as BAD_UPSTREAMS

pytestmark = pytest.mark.skipif(
    not DATA.is_dir() and os.environ.get("WEFT_REQUIRE_ALL") != "1", reason="no conformance data: set WEFT_CONFORMANCE"
)
Reader = Callable[[Sequence[bytes]], Account]
METHODS = ("GET", "HEAD")
STRICTER: dict[Reason, str] = {
    # What h11 takes and our server side refuses, and why.
    Reason.CONTENT_LENGTH: "a repeated length, also of the same value, and one over 18 digits: hops disagree about them",
    Reason.HOST: "user information, paths, commas, empty hosts and bad ports choose a route; HTTP/1.0 without a Host has none",
    Reason.FIELD: "bare line feeds and folded lines: the next hop may read them otherwise",
    Reason.REQUEST_LINE: "a fragment, a bare line feed, octets beyond ASCII, white space that is not one space",
    Reason.METHOD: "a method that nobody has registered, which h11 passes on",
    Reason.BODY_NOT_ALLOWED: "a body with TRACE or CONNECT (RFC 9110 sections 9.3.6 and 9.3.8)",
    Reason.TARGET: "none of the four forms (RFC 9112 section 3.2)",
    Reason.TRAILER: "fields that would change the message after the fact, and bare line feeds",
    Reason.CHUNK: "white space, bare line feeds and nameless extensions in chunk lines",
    Reason.VERSION: "HTTP/1.x with x over 1, and HTTP/2's preface",
    Reason.HEAD_TOO_LARGE: "bounds: h11's is set to another figure here",
    Reason.BOTH_LENGTHS: "a length and a coding: whoever reads the other one is smuggled to",
    Reason.HOST_MISMATCH: "a target in absolute-form whose authority is not the Host: two authorities",
    Reason.TRANSFER_ENCODING: "a coding with HTTP/1.0, which h11 reads",
}
STRICTER_WITH_ANSWERS: dict[Reason, str] = {
    # The same of the client side.
    Reason.FIELD: STRICTER[Reason.FIELD],
    Reason.CHUNK: STRICTER[Reason.CHUNK],
    Reason.STATUS_LINE: "bare line feeds, an empty line before, versions other than 1.0 and 1.1, a status that is not three digits",
    Reason.BODY_NOT_ALLOWED: "a length or a coding with 1xx or 204",
    Reason.TRUNCATED: "an end inside a head, which h11 takes for no answer",
}
LOOSER = {
    "no request line received": "one empty line may stand before a request (RFC 9112 section 2.2); h11 takes none"
}
"""What h11 refuses and our server side does not."""


def requests() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each case that is a request."""
    for case in read("http1/llhttp_cases.json"):
        if case["kind"] == "http" and "request" in case["meta"]["type"]:
            raw = base64.b64decode(case["input_b64"])
            yield case["id"], raw
            yield f"{case['id']} with Host", with_host(raw)
    for case in read("http1/http11probe_cases.json"):
        if "payload_b64" in case:
            yield case["id"], base64.b64decode(case["payload_b64"])
    for case in read("http1/h1spec_cases.json"):
        yield case["description"], case["request"].encode("latin-1")
    for gadget in read("http1/smuggler_gadgets.json"):
        yield gadget["id"], wire_of(gadget)


def answers() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each case that is what an upstream says."""
    for case in read("http1/llhttp_cases.json"):
        if "response" in case["meta"].get("type", ""):
            yield case["id"], base64.b64decode(case["input_b64"])
    for name, (wire, *_) in BAD_UPSTREAMS.items():
        yield name, wire


@cache
def request_cases() -> list[tuple[str, bytes]]:
    return list(requests())


@cache
def answer_cases() -> list[tuple[str, bytes]]:
    return list(answers())


def check_pieces(name: str, wire: bytes, read_by: Reader, cuts: list[int]) -> None:
    whole = read_by([wire]).settled()
    assert read_by(pieces(wire, cuts)).settled() == whole, name
    if len(wire) < 2_000:
        assert read_by(bytewise(wire)).settled() == whole, name


def check_agreement(ours: Account, theirs: Account, stricter: dict[Reason, str]) -> Reason | None:
    """What both read is the same; where ours stops first, the reason is on the list, and returned."""
    for mine, judged in zip(ours.whole, theirs.whole, strict=False):
        assert (mine.headers, mine.data, mine.trailers) == (judged.headers, judged.data, judged.trailers)
        assert _about(mine.first) == _about(judged.first)
    if ours.over:
        return None
    assert len(ours.whole) <= len(theirs.whole), (ours, theirs)
    if ours.refused is None or (theirs.refused and len(ours.whole) == len(theirs.whole)):
        assert len(ours.whole) == len(theirs.whole), (ours, theirs)
        assert ours.refused or not theirs.refused or theirs.refused in LOOSER, (ours, theirs)
        return None
    assert isinstance(ours.refused, Reason)
    assert ours.refused in stricter, (ours.refused, ours, theirs)
    return ours.refused


def _about(first: tuple[str, ...] | int) -> object:
    """A status; or the method and, where the target holds no authority of its own, the authority."""
    if isinstance(first, int):
        return first
    method, authority, target = first
    return method if "://" in target or target.startswith("/") or method == "CONNECT" else (method, authority.lower())


def first_of(wire: bytes) -> bytes:
    """Without the one empty line that may stand before a request (RFC 9112 section 2.2), of which h11 knows nothing."""
    return wire.removeprefix(b"\r\n")


def test_the_corpora_are_there() -> None:
    assert len(request_cases()) > 1_500
    assert len(answer_cases()) > 60


def test_every_request_reads_the_same_in_any_pieces() -> None:
    for number, (name, wire) in enumerate(request_cases()):
        check_pieces(name, wire, requests_by_ours, [7 * number, 11 * number, 13 * number, len(wire) // 2])


def test_every_answer_reads_the_same_in_any_pieces() -> None:
    for method in METHODS:
        for number, (name, wire) in enumerate(answer_cases()):
            read_by: Reader = lambda parts, method=method: responses_by_ours(parts, method)  # type: ignore[misc] # noqa: E731
            check_pieces(name, wire, read_by, [7 * number, 11 * number, len(wire) // 2])


def test_every_request_is_read_as_h11_reads_it_but_for_the_list() -> None:
    seen = set()
    taken = 0
    for _, wire in request_cases():
        ours = requests_by_ours([wire])
        seen.add(check_agreement(ours, requests_by_h11(first_of(wire)), STRICTER))
        taken += bool(ours.whole)
    assert taken > 90
    assert len(seen) > 10


def test_every_answer_is_read_as_h11_reads_it_but_for_the_list() -> None:
    seen = set()
    for method in METHODS:
        for _, wire in answer_cases():
            ours, theirs = responses_by_ours([wire], method), responses_by_h11(wire, method)
            seen.add(check_agreement(ours, theirs, STRICTER_WITH_ANSWERS))
    assert Reason.STATUS_LINE in seen


cut_places = st.lists(st.integers(0, 1 << 14), max_size=8)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data())
def test_requests_of_the_corpora_changed_and_one_after_the_other_agree_too(data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.sampled_from(request_cases()), min_size=1, max_size=3))
    wire = b"".join(first_of(changed(data, wire)) for _, wire in drawn)
    check_agreement(requests_by_ours([wire]), requests_by_h11(wire), STRICTER)
    assert requests_by_ours(pieces(wire, data.draw(cut_places))).settled() == requests_by_ours([wire]).settled()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data())
def test_answers_of_the_corpora_changed_agree_too(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(METHODS))
    wire = changed(data, data.draw(st.sampled_from(answer_cases()))[1])
    whole = responses_by_ours([wire], method)
    check_agreement(whole, responses_by_h11(wire, method), STRICTER_WITH_ANSWERS)
    assert responses_by_ours(pieces(wire, data.draw(cut_places)), method).settled() == whole.settled()


def changed(data: st.DataObject, wire: bytes) -> bytes:
    """The same, or with one byte replaced, put in or taken out."""
    if not wire or not data.draw(st.booleans()):
        return wire
    at = data.draw(st.integers(0, len(wire) - 1))
    other = data.draw(
        st.sampled_from([b"", b"\r", b"\n", b" ", b"\t", b":", b";", b",", b"\x00", b"0", b"1", b"a", b"\xff"])
    )
    return wire[:at] + other + wire[at + data.draw(st.integers(0, 1)) :]
