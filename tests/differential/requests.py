"""Requests that a slice has an opinion on: its hosts, paths, headers and parameters, met exactly, nearly and not at all."""

from __future__ import annotations

import string
from random import Random

import msgspec

from policies.match import (
    Exact,
    PathExact,
    PathMatch,
    PathPrefix,
    PathRegex,
    PathSegments,
    Prefix,
    Regex,
    StringMatch,
    Suffix,
)
from snapshot.prepared import PreparedChain, PreparedSlice
from snapshot.section import HttpChain, Route
from tests.differential.tokens import borne

STATUS = "x-reply-status"
KEY = "x-differential-key"
ENGINE = "x-differential-engine"
METHODS = (*["GET"] * 8, *["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"] * 2, "PROPFIND", "MKCOLA")
TURNS = (
    lambda path: path,
    lambda path: path + "/",
    lambda path: path.rstrip("/") + "/more",
    lambda path: path + "x",
    lambda path: path.upper(),
    lambda path: path.rstrip("/") + "/a/../b",
    lambda path: path.rstrip("/") + "/./c",
    lambda path: path.rstrip("/") + "//d",
    lambda path: path.rstrip("/") + "/%2e%2e/e",
    lambda path: path.rstrip("/") + "\\f",
    lambda path: path.rstrip("/") + "/%41%2F",
)
COMMON_HEADERS = (
    ("x-forwarded-for", "10.1.2.3"),
    ("x-forwarded-for", "10.1.2.3, 10.9.9.9"),
    ("x-request-id", "given-by-the-client"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-client-cert", "URI=spiffe://forged/ns/a/sa/b"),
    ("x-envoy-original-path", "/forged"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("accept", "*/*"),
    ("cookie", "a=b; c=d"),
    ("x-give-x-from-backend", "yes"),
    ("x-give-server", "backend"),
    ("x-give-set-cookie", "a=1"),
)


UPGRADE = (
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
"""The handshake of RFC 6455, section 1.3."""
DIGEST = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Request(msgspec.Struct, frozen=True):
    """One request as it goes out; ``target`` is what stands in the request line."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def repeats(self) -> bool:
        """Whether some header stands there twice."""
        return len({name for name, _ in self.headers}) < len(self.headers)

    def encode(self) -> bytes:
        """The request's bytes."""
        length = f"content-length: {len(self.body)}\r\n" if self.body or self.method in ("POST", "PUT", "PATCH") else ""
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return f"{self.method} {self.target} HTTP/1.1\r\n{fields}{length}\r\n".encode("latin-1") + self.body


class Generator:
    """Draws requests for one chain of a slice; the same seed draws the same."""

    def __init__(self, prepared: PreparedSlice, chain: PreparedChain, random: Random) -> None:
        assert isinstance(chain.chain.network, HttpChain)
        self._random = random
        self._proxy = chain.chain.network.proxy
        group = chain.table.section.group if chain.table else ""
        tables = prepared.tables_of(group).values() if self._proxy else [chain.table] if chain.table else []
        self._places = [
            (domain, table.section.port if self._proxy else 0, host)
            for table in tables
            for host in {
                id(one): one for one in (*table.exact.values(), *table.suffixes.values(), table.fallback) if one
            }.values()
            for domain in host.section.domains
        ]
        # Between versions of HTTP the engines differ in what they make of a handshake (docs/reference/envoy-differences.md).
        self._upgrades = all(cluster.protocol == "http1" for cluster in prepared.clusters.values())
        self._chain = chain
        self._number = 0

    def draw(self, *, http2: bool = False) -> Request:
        """Another one; some are calls of gRPC where the connection can carry them."""
        random = self._random
        place = random.choice(self._places) if self._places and random.random() < 0.93 else None
        host = self._host(place[0] if place else "nobody.test", place[1] if place else 0)
        route = None
        if place is not None and place[2].routes and random.random() < 0.9:
            route = place[2].routes[random.choice(sorted(place[2].routes))].route
        match = route.match if route is not None else None
        path = self._path(match.path if match else None)
        if http2 and not path.startswith("/"):
            # No path at all is an error of the connection in HTTP/2, which ends after a pause.
            path = f"/{path}"
        method = random.choice(METHODS)
        if match and match.method is not None and random.random() < 0.8:
            method = self.text(match.method)
        headers = [("host", host)]
        for wanted in match.headers if match else ():
            if random.random() < (0.2 if wanted.invert else 0.85):
                headers.append((wanted.name, self.text(wanted.match)))
        query = [
            f"{one.name}={self.text(one.match)}" for one in (match.query if match else ()) if random.random() < 0.85
        ]
        if random.random() < 0.15:
            query.append(random.choice(["a=1", "flag", "a=%20b", "q=x+y", ""]))
        headers += [pair for pair in COMMON_HEADERS if random.random() < 0.08]
        if self._chain.tokens:
            carried, parameters = borne(self._chain, random)
            headers += carried
            if parameters:
                # Envoy decodes the parameters beside a token that it takes out, so that a space breaks the request line.
                query = [one for one in query if "%" not in one]
            query += parameters
        sent = {name for name, _ in headers}
        # Repeated headers are rare, since every difference of a request that has some is put down to them.
        headers += [pair for pair in self._edited(route) if pair[0] not in sent or random.random() < 0.02]
        if random.random() < 0.01:
            headers.append((STATUS, "503"))
        headers += self._cross_origin(route) if route is not None else ()
        called = http2 and random.random() < 0.2
        if called:
            method = "POST"
            headers += [("content-type", "application/grpc"), ("te", "trailers")]
        if not called and route is not None and route.cors is not None and random.random() < 0.3:
            method = "OPTIONS"
        if not http2 and not self._proxy and self._upgrades and random.random() < 0.04:
            method = "GET"
            headers += UPGRADE
        self._number += 1
        headers.append((KEY, f"{self._number}"))
        target = f"{path}?{'&'.join(query)}" if query else path
        if self._proxy:
            target = f"http://{host}{target}"
        if called:
            return Request(method, target, tuple(headers), b"\0\0\0\0\5hello")
        body = b"hello" if method in ("POST", "PUT", "PATCH") and random.random() < 0.7 else b""
        return Request(method, target, tuple(headers), body)

    def _cross_origin(self, route: Route) -> list[tuple[str, str]]:
        """What a browser says of the page that asks, where the route has an opinion on it."""
        random = self._random
        if route.cors is None or random.random() < 0.2:
            return []
        known = [self.text(one) for one in route.cors.origins]
        headers = [("origin", random.choice([*known, "https://other.test"]))]
        if random.random() < 0.5:
            headers.append(("access-control-request-method", random.choice(["GET", "PUT"])))
        if random.random() < 0.3:
            headers.append(("access-control-request-headers", "x-one,x-two"))
        return headers

    def _edited(self, route: object) -> list[tuple[str, str]]:
        """Headers that the route itself edits, so that removing, replacing and appending have something to do."""
        edits = getattr(route, "request_headers", None)
        if edits is None:
            return []
        names = [*edits.remove, *(name for name, _ in (*edits.set, *edits.add))]
        return [(name, "from-the-client") for name in names if self._random.random() < 0.5]

    def _host(self, domain: str, port: int) -> str:
        random = self._random
        if domain.startswith("*"):
            stem = random.choice(["a", "very.deep", "x-1"])
            domain = f"{stem}{domain[1:]}" if len(domain) > 1 else random.choice(["anything.test", "127.0.0.9"])
        if random.random() < 0.1:
            domain = domain.upper()
        if port and (port != 80 or random.random() < 0.3):
            return f"{domain}:{port}"
        if not port and ":" not in domain and random.random() < 0.15:
            return f"{domain}:{random.choice([80, 8080, 12345])}"
        return domain

    def _path(self, path: PathMatch | None) -> str:
        random = self._random
        match path:
            case PathExact(value) | PathPrefix(value) | PathSegments(value):
                base = value or "/"
            case PathRegex(pattern):
                base = self._like(pattern)
            case None:
                base = random.choice(["/", "/any", "/any/where"])
        return random.choice(TURNS)(base) if random.random() < 0.5 else base

    def text(self, match: StringMatch) -> str:
        """Text that satisfies a matcher, most of the time."""
        random = self._random
        extra = "".join(random.choices(string.ascii_lowercase, k=random.randint(0, 3)))
        match match:
            case Exact(value):
                return value if random.random() < 0.85 else value + extra
            case Prefix(value):
                return value + extra
            case Suffix(value):
                return extra + value
            case Regex(pattern):
                return self._like(pattern)
            case _:
                return extra or "x"

    def _like(self, pattern: str) -> str:
        """Something near a regular expression: its letters, with the usual pieces filled in. Need not match."""
        text = pattern.replace(".*", "abc").replace(".+", "abc").replace("\\d+", "12").replace("[0-9]+", "12")
        text = text.replace("[^/]+", "seg").replace("\\", "").replace("^", "").replace("$", "")
        options = text.strip("()").split("|") if "|" in text else [text]
        text = self._random.choice(options)
        return "".join(char for char in text if char not in "()[]?*+{}") or "/"
