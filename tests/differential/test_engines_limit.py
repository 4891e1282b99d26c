"""Local rate limits on the trio engine and on a real Envoy: the same sequence of requests is let through and refused by both."""

from __future__ import annotations

import ssl
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

import msgspec
import pytest

from policies.limits import LimitKey, RateLimit
from policies.match import Exact, HeaderMatch, PathExact, PathPrefix, PathRegex, Prefix, Regex, RouteMatch
from policies.source import SourceRef
from policies.traffic import DirectResponse, Fault, FaultAbort, Redirect
from snapshot.section import FilterChain, GatewayPort, HttpChain, Listener, MeshTls, Section
from tests.differential.backends import KEY, serving
from tests.differential.client import Answer, Client
from tests.differential.engines import both
from tests.runtime.authority import Authority
from tests.slices import SOURCE, cluster, gateway_listener, host_sections, prepared_of, route, table

pytestmark = pytest.mark.integration

HOUR_MS = 3_600_000
"""So slow that no token comes back during the test."""
CALLERS = ("spiffe://cluster.local/ns/default/sa/friend", "spiffe://cluster.local/ns/elsewhere/sa/other")
SHOWN = ("x-ratelimit-limit", "x-ratelimit-remaining", "retry-after", "content-type", "grpc-status", "location")


def limit(name: str, requests: int, *, burst: int = 0, **fields: object) -> RateLimit:
    source = SourceRef("RateLimit", "default", name)
    return RateLimit(source, requests, HOUR_MS, burst or requests, **fields)  # type: ignore[arg-type]


USER = LimitKey("header", "x-user")
LIMITS = {
    "plain": (limit("plain", 40, headers=True),),
    "bursting": (limit("bursting", 90, burst=15, headers=True),),
    "user": (limit("user", 6, by=(USER,), headers=True),),
    "pair": (limit("pair", 4, by=(USER, LimitKey("method")), status=503),),
    "path": (limit("path", 5, by=(LimitKey("path"),)),),
    "source": (limit("source", 30, by=(LimitKey("source"),)),),
    "two": (limit("two-fast", 50, headers=True), limit("two-slow", 8, by=(USER,))),
    "told": (limit("told-a", 50, headers=True), limit("told-b", 12, headers=True)),
    "gets": (limit("gets", 5, match=RouteMatch(method=Exact("GET"))),),
    "under": (limit("under", 5, match=RouteMatch(path=PathPrefix("/under/a"))),),
    "exactly": (limit("exactly", 5, match=RouteMatch(path=PathExact("/exactly/a"))),),
    "regex": (limit("regex", 5, match=RouteMatch(path=PathRegex("/regex/(a|b)"))),),
    "plan": (limit("plan", 5, match=RouteMatch(headers=(HeaderMatch("x-user", Prefix("j")),))),),
    "answers": (limit("answers", 9),),
    "moves": (limit("moves", 25),),
    "faulty": (limit("faulty", 3),),
    "shared": (limit("shared", 20),),
    "sharing": (limit("shared", 20),),
}


def mesh() -> list[Section]:
    actions = {"answers": DirectResponse(200, "here"), "moves": Redirect(host="other.test")}
    routes = [
        msgspec.structs.replace(
            route(PathPrefix(f"/{name}/"), "outbound|80||a.test", name=name, action=actions.get(name)),
            limits=limits,
            fault=Fault(abort=FaultAbort(418)) if name == "faulty" else None,
        )
        for name, limits in LIMITS.items()
    ]
    return [gateway_listener(edge=True), table(), *host_sections("all", ["*"], routes), cluster("outbound|80||a.test")]


def drawn(random: Random) -> bytes:
    name = random.choice(list(LIMITS))
    method = random.choice(("GET", "GET", "POST"))
    path = f"/{name}/{random.choice('abc')}{random.choice(('', '', '?q=1'))}"
    users = random.choice(((), ("jane",), ("joe",), ("jane", "joe")))
    lines = [f"x-user: {user}" for user in users]
    if random.random() < 0.1:
        lines.append("content-type: application/grpc")
    fields = "".join(f"{line}\r\n" for line in (*lines, f"{KEY}: 1", "content-length: 0"))
    return f"{method} {path} HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n".encode()


def told(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """What both must agree on: the status, what is said of limits, and the text of a refusal."""
    shown = sorted((name, value) for name, value in answer.headers if name in SHOWN)
    return answer.status, shown, answer.body if answer.status != 200 else b""


def resets(answer: Answer) -> list[int]:
    return [int(value) for name, value in answer.headers if name == "x-ratelimit-reset"]


async def test_the_same_requests_are_let_through_with_the_same_words(tmp_path: Path) -> None:
    random = Random(5)
    async with serving() as backends, both(prepared_of(*mesh()), backends, Authority(), tmp_path) as engines:
        ours, theirs = (Client(port, None, None) for port in engines.addresses["http"])
        statuses: Counter[int] = Counter()
        for _ in range(900):
            request = drawn(random)
            one, other = await ours.send(request), await theirs.send(request)
            assert told(one) == told(other), request
            for mine, envoys in zip(resets(one), resets(other), strict=True):
                assert abs(mine - envoys) <= 5, request
            statuses[one.status] += 1
        assert min(statuses[200], statuses[301], statuses[418], statuses[429], statuses[503]) > 10, statuses
        await ours.close()
        await theirs.close()


def caller_context(authority: Authority, caller: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["istio-http/1.1"])
    svid = authority.svid(caller)
    with tempfile.NamedTemporaryFile() as file:
        file.write(svid.certificate_chain + svid.private_key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


async def test_clients_are_told_apart_by_their_identity(tmp_path: Path) -> None:
    friends = {
        "each": limit("each", 3, by=(LimitKey("identity"),)),
        "one": limit("one", 2, identity=Exact(CALLERS[0])),
        "some": limit("some", 2, identity=Prefix("spiffe://cluster.local/ns/else")),
        "regex": limit("regex", 2, identity=Regex(".*/sa/fr[a-z]+")),
    }
    routes = [
        msgspec.structs.replace(route(PathPrefix(f"/{name}/"), action=DirectResponse(204)), limits=(one,))
        for name, one in friends.items()
    ]
    chain = FilterChain("mtls", SOURCE, HttpChain("80"), tls=MeshTls())
    listener = Listener("http", SOURCE, "inbound", GatewayPort(80), "http", (chain,))
    sections: list[Section] = [listener, table(), *host_sections("all", ["*"], routes)]
    authority = Authority()
    async with serving() as backends, both(prepared_of(*sections), backends, authority, tmp_path) as engines:
        found: list[list[int]] = []
        for port in engines.addresses["http"]:
            clients = [Client(port, caller_context(authority, caller), "named.test") for caller in CALLERS]
            answers = [
                await client.send(f"GET /{name}/ HTTP/1.1\r\nhost: a.test\r\n\r\n".encode())
                for _ in range(4)
                for name in friends
                for client in clients
            ]
            found.append([answer.status for answer in answers])
            for client in clients:
                await client.close()
        assert found[0] == found[1]
        assert Counter(found[0]) == {429: 8, 204: 24}
