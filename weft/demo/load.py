"""The steady load: a process of its own that counts every request, and calls failed whatever was not expected.

It is told what to expect by lines of JSON on standard input, e.g. ``{"expect": {"stars": [200, 403]}}``, and says what it counted
by lines of JSON on standard output. It ends, all requests answered, when its input ends. ``python -m weft.demo.load RATE``.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

import msgspec
import trio

from weft.demo.plan import INGRESS, PARTNERS
from weft.local.http_client import BadReplyError, HttpClient, Reply

CONNECTIONS = 16
REPORT_S = 0.2
KEPT_LATENCIES = 4_000
STAMP = "x-weft-snapshot"


class Kind(msgspec.Struct, frozen=True):
    """One kind of request: where it goes, its share of the load, and a field of the reply that proves who answered."""

    name: str
    address: tuple[str, int]
    host: str
    path: str
    share: int
    service: str


KINDS = (
    Kind("books", INGRESS, "bookshop.example", "/books/1", 62, "catalogue"),
    Kind("page", INGRESS, "bookshop.example", "/", 12, "storefront"),
    Kind("stars", INGRESS, "bookshop.example", "/stars/1", 12, "storefront"),
    Kind("partner", PARTNERS, "partners.bookshop.example", "/api/v1/books", 10, "catalogue"),
    Kind("publisher", INGRESS, "bookshop.example", "/books/1/publisher", 4, "catalogue"),
)


class Report(msgspec.Struct):
    """What was counted so far. ``codes`` is per kind and status, ``reviews`` the versions that answered pages, ``mixed`` replies in
    which a hop named no snapshot or more than one. Latencies are those of the last few thousand requests, in milliseconds."""

    sent: int
    failed: int
    mixed: int
    stamped: int
    codes: dict[str, int]
    reviews: dict[str, int]
    failures: list[str]
    p50_ms: float
    p99_ms: float


class Tally:
    """Owns the counts."""

    def __init__(self) -> None:
        self.expect = {kind.name: frozenset({200}) for kind in KINDS}
        self.sent = self.failed = self.mixed = self.stamped = 0
        self.codes: Counter[str] = Counter()
        self.reviews: Counter[str] = Counter()
        self.failures: list[str] = []
        self._latencies: list[float] = []

    def fail(self, kind: Kind, why: str) -> None:
        """Counts a request that did not go as expected; the first twenty are told."""
        self.failed += 1
        if len(self.failures) < 20:
            self.failures.append(f"{kind.name}: {why}")

    def answered(self, kind: Kind, reply: Reply, expected: frozenset[int], seconds: float) -> None:
        """Counts a reply. ``expected`` was taken when the request left; what is expected now is right as well."""
        self.codes[f"{kind.name} {reply.status}"] += 1
        self._latencies.append(seconds * 1000)
        if len(self._latencies) > KEPT_LATENCIES:
            del self._latencies[: KEPT_LATENCIES // 2]
        self._judge_stamp(kind, reply)
        if reply.status not in expected | self.expect[kind.name]:
            self.fail(kind, f"{reply.status} {reply.body[:120].decode(errors='replace')}")
            return
        if reply.status != 200:
            return
        try:
            content = msgspec.json.decode(reply.body)
            if content["service"] != kind.service:
                self.fail(kind, f"answered by {content['service']}")
            if kind.name == "page":
                self.reviews[content["reviews"]["version"]] += 1
        except (msgspec.DecodeError, KeyError, TypeError):
            self.fail(kind, f"not the bookshop's reply: {reply.body[:120].decode(errors='replace')}")

    def _judge_stamp(self, kind: Kind, reply: Reply) -> None:
        stamp = reply.headers.get(STAMP, "")
        if not stamp:
            return
        self.stamped += 1
        hops = [entry.strip().partition("=") for entry in stamp.split(",")]
        if len({name for name, _, _ in hops}) != len(hops) or not all(digest for _, _, digest in hops):
            self.mixed += 1
            self.fail(kind, f"a hop does not name exactly one snapshot: {stamp}")

    def report(self) -> Report:
        """The counts now."""
        ordered = sorted(self._latencies) or [0.0]
        return Report(
            self.sent,
            self.failed,
            self.mixed,
            self.stamped,
            dict(sorted(self.codes.items())),
            dict(sorted(self.reviews.items())),
            self.failures,
            ordered[len(ordered) // 2],
            ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        )


async def _connection(tally: Tally, rate_per_s: float, number: int, stopping: trio.Event) -> None:
    """Sends one request after the other at its share of the rate; a late one is followed at once until the rate is met again."""
    clients = {address: HttpClient(address) for address in (INGRESS, PARTNERS)}
    draws = random.Random(number)  # noqa: S311  a mix of requests, not a secret
    due = trio.current_time() + number / (CONNECTIONS * rate_per_s)
    while not stopping.is_set():
        await trio.sleep_until(due)
        now = trio.current_time()
        # After a long stall the missed requests are not sent in a burst.
        due = max(due + 1 / rate_per_s, now - 1.0)
        (kind,) = draws.choices(KINDS, [kind.share for kind in KINDS])
        expected = tally.expect[kind.name]
        tally.sent += 1
        try:
            reply = await clients[kind.address].get(kind.host, kind.path)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, BadReplyError, ValueError) as error:
            tally.fail(kind, str(error) or type(error).__name__)
        else:
            tally.answered(kind, reply, expected, trio.current_time() - now)
    for client in clients.values():
        await client.close()


async def _obey(tally: Tally, stopping: trio.Event) -> None:
    buffer = b""
    async with trio.lowlevel.FdStream(sys.stdin.fileno()) as orders:
        async for piece in orders:
            *lines, buffer = (buffer + piece).split(b"\n")
            for line in lines:
                for name, codes in msgspec.json.decode(line)["expect"].items():
                    tally.expect[name] = frozenset(codes)
    stopping.set()


def _say(tally: Tally) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(tally.report()) + b"\n")
    sys.stdout.buffer.flush()


async def _report(tally: Tally, stopping: trio.Event) -> None:
    while not stopping.is_set():
        await trio.sleep(REPORT_S)
        _say(tally)


async def main(rate_per_s: float) -> None:
    """Loads until the input ends, then says the last count."""
    tally = Tally()
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_obey, tally, stopping)
        nursery.start_soon(_report, tally, stopping)
        for number in range(CONNECTIONS):
            nursery.start_soon(_connection, tally, rate_per_s / CONNECTIONS, number, stopping)
    _say(tally)


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]))
