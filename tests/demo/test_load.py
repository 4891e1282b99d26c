"""The load generator must not be kinder than a user: whatever it did not expect is a failed request."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from weft.demo.load import KINDS, Kind, Tally
from weft.local.http_client import BadReplyError, HttpClient, Reply

PAGE = next(kind for kind in KINDS if kind.name == "page")
STARS = next(kind for kind in KINDS if kind.name == "stars")
OK = frozenset({200})


def reply(status: int, body: bytes, stamp: str = "a=1, b=1") -> Reply:
    return Reply(status, {"x-weft-snapshot": stamp}, body)


@pytest.mark.parametrize(
    ("kind", "answer", "failed"),
    [
        (STARS, reply(200, b'{"service": "storefront"}'), 0),
        (STARS, reply(200, b'{"service": "ratings"}'), 1),
        (STARS, reply(200, b"not json"), 1),
        (STARS, reply(503, b"no healthy upstream"), 1),
        (STARS, reply(403, b"RBAC: access denied"), 1),
        (PAGE, reply(200, b'{"service": "storefront", "reviews": {"version": "v2"}}'), 0),
        (PAGE, reply(200, b'{"service": "storefront", "reviews": {"status": 503}}'), 1),
        (STARS, reply(200, b'{"service": "storefront"}', stamp="a=1, a=2"), 1),
        (STARS, reply(200, b'{"service": "storefront"}', stamp="a="), 1),
    ],
)
def test_a_reply_is_right_or_failed(kind: Kind, answer: Reply, failed: int) -> None:
    tally = Tally()
    tally.answered(kind, answer, OK, 0.001)
    assert tally.report().failed == failed


def test_a_status_may_be_what_was_expected_when_the_request_left_or_now() -> None:
    tally = Tally()
    tally.expect["stars"] = frozenset({403})
    tally.answered(STARS, reply(200, b'{"service": "storefront"}'), OK, 0.001)
    tally.answered(STARS, reply(403, b""), OK, 0.001)
    assert tally.report().failed == 0
    tally.answered(STARS, reply(200, b'{"service": "storefront"}'), frozenset({403}), 0.001)
    assert tally.report().failed == 1


def test_versions_of_reviews_and_mixed_snapshots_are_counted() -> None:
    tally = Tally()
    for version in ("v1", "v1", "v2"):
        body = b'{"service": "storefront", "reviews": {"version": "%s"}}' % version.encode()
        tally.answered(PAGE, reply(200, body), OK, 0.004)
    tally.answered(PAGE, reply(200, body, stamp="a=1, a=1"), OK, 0.004)
    report = tally.report()
    assert (report.reviews, report.mixed, report.stamped, report.p50_ms) == ({"v1": 2, "v2": 2}, 1, 4, 4.0)


async def answer_with(*pieces: bytes) -> Reply | BadReplyError:
    """What the client makes, or says, of these bytes, sent piece by piece on one connection that is closed after them."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def serve() -> None:
        async with await listener.accept() as stream:
            await stream.receive_some(4096)
            for piece in pieces:
                await stream.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()

    host, port = listener.socket.getsockname()
    client = HttpClient((host, port))
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        try:
            return await client.get("bookshop.example", "/")
        except BadReplyError as error:
            return error
        finally:
            await client.close()


@pytest.mark.integration
@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",),
        (b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 3\r\n\r", b"\nab", b"c"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",),
    ],
)
async def test_a_reply_is_read_however_it_is_cut(pieces: tuple[bytes, ...]) -> None:
    got = await answer_with(*pieces)
    assert isinstance(got, Reply)
    assert (got.status, got.body) == (200, b"abc")


@pytest.mark.integration
@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",),
        (b"HTTP/1.1 200 OK\r\n\r\nabc",),
        (b"SSH-2.0-x\r\n\r\n",),
        (b"",),
    ],
)
async def test_a_reply_that_is_cut_short_is_no_reply(pieces: tuple[bytes, ...]) -> None:
    assert isinstance(await answer_with(*pieces), BadReplyError)
