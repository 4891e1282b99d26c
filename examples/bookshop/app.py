"""The bookshop's services, one file, standard library alone: an application that knows nothing of the mesh around it.

    python app.py storefront --listen 127.21.0.2:9080 --proxy 127.20.0.2:15001

Calls to other services leave through ``--proxy`` in absolute form, as any program with ``http_proxy`` sends them, and carry the trace headers of
the request that caused them. Every reply says who answered and, from x-forwarded-client-cert, whom the mesh verified as the caller.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable

Reply = tuple[int, dict[str, object]]
Heads = dict[str, str]

TRACE_HEADERS = (
    "x-request-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-reader",
)
BOOKS = {
    1: {"id": 1, "title": "The Sidecar's Companion", "author": "M. Esh", "publisher": 7},
    2: {"id": 2, "title": "A Commit of One's Own", "author": "V. Fork", "publisher": 7},
    3: {"id": 3, "title": "Great Exceptions", "author": "C. Traceback", "publisher": 8},
}
REVIEWS = {
    1: ["Held my attention and my connections.", "Could not put it down, so it drained."],
    2: ["Merged on the first reading."],
    3: ["Raised twice, caught once."],
}
STARS = {1: 5, 2: 4, 3: 3}
PUBLISHERS = {7: "Loopback Press", 8: "Null & Sons"}
MAX_HEAD_BYTES = 32_768
REPLY_S = 15.0


class UpstreamError(Exception):
    """Another service did not answer."""


class Upstream:
    """Calls through the sidecar's explicit proxy. Owns the idle connections to it and reuses them."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self, url: str, heads: Heads) -> Reply:
        """One GET by absolute-form URL with the trace headers of ``heads``. Raises UpstreamError where no reply comes."""
        authority = url.split("/", 3)[2]
        lines = [f"GET {url} HTTP/1.1", f"host: {authority}"]
        lines += [f"{name}: {heads[name]}" for name in TRACE_HEADERS if name in heads]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode()
        while self._idle:
            # A kept connection may have been closed meanwhile; a GET is safe to send again on a fresh one.
            with contextlib.suppress(OSError, EOFError):
                return await self._exchange(self._idle.pop(), request)
        try:
            return await self._exchange(await asyncio.open_connection(*self._address), request)
        except (OSError, EOFError) as error:
            raise UpstreamError(f"{url}: {error or type(error).__name__}") from None

    async def _exchange(self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> Reply:
        reader, writer = connection
        writer.write(request)
        async with asyncio.timeout(REPLY_S):
            status, heads = read_head(await reader.readuntil(b"\r\n\r\n"))
            body = await read_body(reader, heads)
        if heads.get("connection") == "close":
            writer.close()
        else:
            self._idle.append(connection)
        try:
            return int(status.split(" ")[1]), json.loads(body or b"{}")
        except ValueError:
            return int(status.split(" ")[1]), {"error": body.decode("latin-1")}


def read_head(raw: bytes) -> tuple[str, Heads]:
    """The first line and the headers (names lower-case, the last of a repeated one)."""
    first, *rest = raw.decode("latin-1").split("\r\n")
    return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest) if name}


async def read_body(reader: asyncio.StreamReader, heads: Heads) -> bytes:
    """The whole body of a message: by length, or chunked."""
    if heads.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(heads.get("content-length", "0")))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


class Service:
    """One role. ``answer`` maps a path to a reply; ``caller`` in it is the identity that the sidecar verified."""

    def __init__(self, role: str, version: str, upstream: Upstream | None) -> None:
        self.role = role
        self.version = version
        self._upstream = upstream
        self._pages: dict[str, Callable[[str, Heads], Awaitable[Reply]]] = {
            "storefront": self._storefront,
            "catalogue": self._catalogue,
            "reviews": self._reviews,
            "ratings": self._ratings,
            "publisher-api": self._publisher,
        }

    async def answer(self, path: str, heads: Heads) -> Reply:
        """The reply to a GET of one path."""
        if path == "/healthz":
            return 200, {"status": "ok"}
        status, content = await self._pages[self.role](path, heads)
        caller = re.findall(r"URI=([^;,]+)", heads.get("x-forwarded-client-cert", ""))
        return status, {
            "service": self.role,
            "version": self.version,
            "caller": caller[-1] if caller else "",
            **content,
        }

    async def _call(self, url: str, heads: Heads) -> dict[str, object]:
        assert self._upstream is not None, "this role calls nobody"
        try:
            status, content = await self._upstream.get(url, heads)
        except UpstreamError as error:
            return {"status": 0, "error": str(error)}
        return {"status": status, **content}

    async def _storefront(self, path: str, heads: Heads) -> Reply:
        if path.startswith("/stars/"):
            rating = await self._call(f"http://ratings:9080/ratings/{path.rpartition('/')[2]}", heads)
            return number(rating["status"]), {"rating": rating}
        book, reviews = await asyncio.gather(
            self._call("http://catalogue:9080/books/1", heads), self._call("http://reviews:9080/reviews/1", heads)
        )
        failed = [part["status"] for part in (book, reviews) if part["status"] != 200]
        return number(failed[0] if failed else 200), {"book": book, "reviews": reviews}

    async def _catalogue(self, path: str, heads: Heads) -> Reply:
        if path in {"/books", "/books/"}:
            return 200, {"books": list(BOOKS.values())}
        book = BOOKS.get(identifier(path))
        if book is None:
            return 404, {"error": "no such book"}
        if not path.endswith("/publisher"):
            return 200, {"book": book}
        publisher = await self._call(f"http://api.publisher.example/publishers/{book['publisher']}", heads)
        return number(publisher["status"]), {"publisher": publisher}

    async def _reviews(self, path: str, heads: Heads) -> Reply:
        reviews = REVIEWS.get(identifier(path))
        if reviews is None:
            return 404, {"error": "no such book"}
        if self.version == "v1":
            return 200, {"reviews": reviews}
        rating = await self._call(f"http://ratings:9080/ratings/{identifier(path)}", heads)
        mark = "*" if self.version == "v2" else "★"
        stars = mark * number(rating["stars"]) if rating["status"] == 200 else "ratings are not available"
        return 200, {"reviews": reviews, "stars": stars, "rating": rating}

    async def _ratings(self, path: str, heads: Heads) -> Reply:  # noqa: ARG002  one signature for all pages
        stars = STARS.get(identifier(path))
        return (200, {"stars": stars}) if stars is not None else (404, {"error": "no such book"})

    async def _publisher(self, path: str, heads: Heads) -> Reply:  # noqa: ARG002  one signature for all pages
        name = PUBLISHERS.get(identifier(path))
        return (200, {"name": name}) if name is not None else (404, {"error": "no such publisher"})


def identifier(path: str) -> int:
    """The number that is the path's second segment, 0 where there is none."""
    parts = path.split("/")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0


def number(value: object) -> int:
    """A status from a reply's content; 0 (nobody answered) becomes 502."""
    return value if isinstance(value, int) and value else 502


async def serve(service: Service, host: str, port: int) -> None:
    """Serves until the process ends."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
            while True:
                line, heads = read_head(await reader.readuntil(b"\r\n\r\n"))
                await read_body(reader, heads)
                status, content = await service.answer(line.split(" ")[1].partition("?")[0], heads)
                body = json.dumps(content, ensure_ascii=False).encode()
                head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not OK'}\r\ncontent-type: application/json\r\n"
                writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, host, port, limit=MAX_HEAD_BYTES, backlog=1024)
    await server.serve_forever()


def split(text: str) -> tuple[str, int]:
    """``address:port`` as a pair."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Runs one role until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["storefront", "catalogue", "reviews", "ratings", "publisher-api"])
    parser.add_argument("--listen", type=split, required=True, help="address:port of this service")
    parser.add_argument("--proxy", type=split, help="address:port of the sidecar's explicit proxy")
    parser.add_argument("--version", default="v1")
    options = parser.parse_args()
    upstream = Upstream(*options.proxy) if options.proxy else None
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Service(options.role, options.version, upstream), *options.listen))


if __name__ == "__main__":
    main()
