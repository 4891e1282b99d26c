"""Tokens at both engines: the same replies, and the same of them for the application, by a real Envoy and by ours."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.match import ClaimMatch, Exact, HeaderMatch, Prefix, Present, StringMatch, Suffix
from policies.tokens import ClaimHeader, KeySource, TokenHeader, TokenRule
from snapshot.section import FilterChain, GatewayPort, HttpChain, Listener, PolicySet, Section, TokenSet
from tests.runtime.envoying import envoying
from tests.runtime.proxying import proxying
from tests.slices import SOURCE, cluster, host_sections, route, table
from tests.tokens import Issuer

pytestmark = pytest.mark.integration

ONE, TWO = Issuer(), Issuer("https://two.test", key_id="two", kind="RSA")
THREE = Issuer("https://three.test/", key_id="three", kind="OKP")
OTHER = Issuer("https://other.test")
_TOLD = re.compile(rb"^(x-[a-z-]+|authorization): (.*)\r$", re.MULTILINE)


def rule(issuer: Issuer, **fields: object) -> TokenRule:
    return TokenRule(SOURCE, issuer.name, fields.pop("keys", KeySource(jwks=issuer.jwks)), **fields)  # type: ignore[arg-type]


RULES = (
    rule(
        ONE,
        audiences=("shop", "https://web.test/"),
        payload_header="x-payload",
        claim_headers=(
            ClaimHeader("x-sub", "sub"),
            ClaimHeader("x-deep", "a.b"),
            ClaimHeader("x-number", "n"),
            ClaimHeader("x-list", "list"),
            ClaimHeader("x-yes", "yes"),
        ),
        listed=("scope",),
    ),
    rule(TWO, forward=True),
    rule(THREE, headers=(TokenHeader("x-three", "Value "), TokenHeader("x-bare"))),
    rule(OTHER, keys=KeySource(uri="https://other.test/keys"), parameters=("other",)),
)


def clause(attribute: str, *values: StringMatch, unlike: tuple[StringMatch, ...] = ()) -> Clause:
    return Clause(attribute, values, unlike)


def allowing(path: str, *clauses: Clause) -> Rule:
    return Rule(SOURCE, operations=((clause("request.path", Exact(path)),),), when=clauses)


POLICIES = AuthorizationPolicy(
    SOURCE,
    Action.ALLOW,
    (
        Rule(SOURCE, operations=((clause("request.path", Prefix("/open"), Exact("/claim")),),)),
        allowing("/any", clause("request.auth.principal", Present())),
        allowing("/exact", clause("request.auth.principal", Exact("https://issuer.test/jo"))),
        allowing("/three", clause("request.auth.principal", Exact("https://three.test//jo"))),
        allowing("/prefix", clause("request.auth.principal", Prefix("https://two"))),
        allowing("/prefix-sub", clause("request.auth.principal", Prefix("https://issuer.test/j"))),
        allowing("/suffix", clause("request.auth.principal", Suffix("er.test/jo"))),
        allowing("/suffix-sub", clause("request.auth.principal", Suffix("o"))),
        allowing("/unlike", clause("request.auth.principal", unlike=(Exact("https://two.test/jo"),))),
        allowing("/group", clause("request.auth.claims[groups]", Exact("x"))),
        allowing("/no-group", clause("request.auth.claims[groups]", unlike=(Exact("x"),))),
        allowing("/scope", clause("request.auth.claims[scope]", Exact("read"))),
        allowing("/deep", clause("request.auth.claims[a][b]", Prefix("c"))),
        allowing("/audience", clause("request.auth.audiences", Exact("shop"))),
        allowing("/presenter", clause("request.auth.presenter", Exact("app"))),
    ),
)


def sections(port: int) -> list[Section]:
    chain = FilterChain("http", SOURCE, HttpChain("80", policies="policies", tokens="tokens"))
    listener = Listener("http", SOURCE, "inbound", GatewayPort(80), "http", (chain,))
    member = (ClaimMatch(("groups",), Exact("x")), ClaimMatch(("groups",), Exact("banned"), invert=True))
    routes = [
        route(cluster="member", claims=member),
        route(cluster="told", headers=(HeaderMatch("x-sub", Exact("told")),)),
        route(cluster="rest"),
    ]
    clusters = [cluster(name, ("127.0.0.1", port)) for name in ("member", "told", "rest")]
    named = PolicySet("policies", (POLICIES,))
    return [listener, table(), *clusters, *host_sections("h", ("*",), routes), named, TokenSet("tokens", RULES)]


AUD = {"aud": "shop"}
GOOD = ONE.token(**AUD)
REQUESTS: dict[str, tuple[str, list[str]]] = {
    "no token": ("/open", []),
    "another scheme": ("/open", ["authorization: Basic abc"]),
    "a spoofed claim": ("/open", ["x-number: 1"]),
    "good": ("/open?a=1", [f"authorization: Bearer {GOOD}", "x-sub: root"]),
    "good in the query": (f"/open?access_token={GOOD}", []),
    "forwarded": ("/open", [f"authorization: Bearer {TWO.token()}"]),
    "in its own place": ("/three", [f"x-three: Value {THREE.token()}"]),
    "bare": ("/three", [f"x-bare: {THREE.token()}"]),
    "its prefix is lacking": ("/three", [f"x-three: {THREE.token()}"]),
    "two places of two rules": (
        "/three",
        [f"authorization: Bearer {GOOD}", f"x-bare: {THREE.token()}"],
    ),
    "the second is bad": ("/open", [f"authorization: Bearer {GOOD}", f"x-bare: {THREE.expired()}"]),
    "claims in headers": (
        "/open",
        [f"authorization: Bearer {ONE.token(aud=['x', 'shop'], a={'b': 'c'}, n=7, list=['x', 1], yes=True)}"],
    ),
    "a broken number": ("/open", [f"authorization: Bearer {ONE.token(**AUD, n=-1.25)}"]),
    "expired": ("/open", [f"authorization: Bearer {ONE.expired(**AUD)}"]),
    "without an end": ("/open", [f"authorization: Bearer {ONE.token(**AUD, exp=None)}"]),
    "of the future": ("/open", [f"authorization: Bearer {ONE.token(**AUD, nbf=3_999_999_999)}"]),
    "second issuer's expired": ("/open", [f"authorization: Bearer {TWO.expired()}"]),
    "for others": ("/open", [f"authorization: Bearer {ONE.token(aud='other')}"]),
    "for nobody": ("/open", [f"authorization: Bearer {ONE.token()}"]),
    "audience without a scheme": ("/open", [f"authorization: Bearer {ONE.token(aud='web.test')}"]),
    "unknown issuer": ("/open", [f"authorization: Bearer {Issuer('https://who.test').token()}"]),
    "a forged signature": ("/open", [f"authorization: Bearer {Issuer().token(**AUD)}"]),
    "another key": ("/open", [f"authorization: Bearer {Issuer(key_id='x').token(**AUD)}"]),
    "no key id": ("/open", [f"authorization: Bearer {ONE.token(**AUD, header={'kid': None})}"]),
    "no keys yet": (f"/open?other={OTHER.token()}", []),
    "no form": ("/open", ["authorization: Bearer abc"]),
    "no base64": ("/open", ["authorization: Bearer a.b.c"]),
    "no JSON": ("/open", ["authorization: Bearer YWJj.YWJj.YWJj"]),
    "none": ("/open", ["authorization: Bearer eyJhbGciOiJub25lIn0.e30."]),
    "in a preflight": (
        "/open",
        ["authorization: Bearer abc", "origin: https://a.test", "access-control-request-method: PUT"],
    ),
    "any": ("/any", [f"authorization: Bearer {TWO.token()}"]),
    "any without": ("/any", []),
    "any without subject": ("/any", [f"authorization: Bearer {TWO.token(sub=None)}"]),
    "exact": ("/exact", [f"authorization: Bearer {GOOD}"]),
    "exact of another": ("/exact", [f"authorization: Bearer {TWO.token()}"]),
    "prefix": ("/prefix", [f"authorization: Bearer {TWO.token()}"]),
    "prefix of another": ("/prefix", [f"authorization: Bearer {GOOD}"]),
    "prefix into the subject": ("/prefix-sub", [f"authorization: Bearer {GOOD}"]),
    "prefix into another subject": ("/prefix-sub", [f"authorization: Bearer {ONE.token(**AUD, sub='mo')}"]),
    "suffix": ("/suffix", [f"authorization: Bearer {GOOD}"]),
    "suffix of another": ("/suffix", [f"authorization: Bearer {TWO.token()}"]),
    "suffix of the subject": ("/suffix-sub", [f"authorization: Bearer {TWO.token()}"]),
    "unlike": ("/unlike", [f"authorization: Bearer {GOOD}"]),
    "like": ("/unlike", [f"authorization: Bearer {TWO.token()}"]),
    "unlike without": ("/unlike", []),
    "group": ("/group", [f"authorization: Bearer {TWO.token(groups='x')}"]),
    "one group of several": ("/group", [f"authorization: Bearer {TWO.token(groups=['y', 'x'])}"]),
    "another group": ("/group", [f"authorization: Bearer {TWO.token(groups=['y'])}"]),
    "a number for a group": ("/group", [f"authorization: Bearer {TWO.token(groups=7)}"]),
    "not a group": ("/no-group", [f"authorization: Bearer {TWO.token(groups=['y'])}"]),
    "not of a group": ("/no-group", [f"authorization: Bearer {TWO.token(groups=['y', 'x'])}"]),
    "scope": ("/scope", [f"authorization: Bearer {ONE.token(**AUD, scope='write read')}"]),
    "no scope": ("/scope", [f"authorization: Bearer {TWO.token(scope='write read')}"]),
    "deep": ("/deep", [f"authorization: Bearer {TWO.token(a={'b': 'cd'})}"]),
    "not deep": ("/deep", [f"authorization: Bearer {TWO.token(a='cd')}"]),
    "audience": ("/audience", [f"authorization: Bearer {TWO.token(aud=['a', 'shop'])}"]),
    "presenter": ("/presenter", [f"authorization: Bearer {TWO.token(azp='app')}"]),
    "member": ("/claim", [f"authorization: Bearer {TWO.token(groups=['x'])}"]),
    "banned": ("/claim", [f"authorization: Bearer {TWO.token(groups=['x', 'banned'])}"]),
    "told": ("/claim", [f"authorization: Bearer {ONE.token(**AUD, sub='told')}"]),
    "told by nobody": ("/claim", ["x-sub: told"]),
    "told by another": ("/claim", [f"authorization: Bearer {TWO.token()}", "x-sub: told"]),
    "not told": ("/claim", [f"authorization: Bearer {GOOD}", "x-sub: told"]),
}


async def whole(stream: trio.SocketStream) -> bytes:
    """One reply on a connection that stays open."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some(65536)
    length = re.search(rb"content-length: ([0-9]+)", data)
    while length and len(data.partition(b"\r\n\r\n")[2]) < int(length[1]):
        data += await stream.receive_some(65536)
    return data


async def answers(port: int, seen: list[bytes]) -> dict[str, object]:
    """Status, body and challenge of each request, or what the application saw of it."""
    found: dict[str, object] = {}
    for name, (target, lines) in REQUESTS.items():
        seen.clear()
        method = "OPTIONS" if "preflight" in name else "GET"
        head = "".join(f"{line}\r\n" for line in [f"{method} {target} HTTP/1.1", "host: a.test", *lines])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(f"{head}\r\n".encode())
            reply = await whole(stream)
        challenge = re.search(rb"www-authenticate: (.*)\r", reply)
        told = sorted(set(_TOLD.findall(seen[0]))) if seen else []
        told = [pair for pair in told if not pair[0].startswith((b"x-forwarded", b"x-request", b"x-envoy"))]
        line = seen[0].split(b"\r\n")[0] if seen else reply.rpartition(b"\r\n\r\n")[2]
        found[name] = (reply.split(b" ")[1].decode(), line, challenge and challenge[1], told)
    return found


async def application(serve: Callable[[int, list[bytes]], Awaitable[None]]) -> None:
    seen: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                more = await stream.receive_some(65536)
                if not more:
                    return
                data += more
            seen.append(data)
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        await serve(listeners[0].socket.getsockname()[1], seen)
        nursery.cancel_scope.cancel()


async def test_both_engines_take_and_refuse_the_same_tokens_in_the_same_words(tmp_path: Path) -> None:
    both: list[dict[str, object]] = []

    async def serve(port: int, seen: list[bytes]) -> None:
        async with proxying(*sections(port)) as ours:
            both.append(await answers(ours.ports[80], seen))
        async with envoying(tmp_path, *sections(port)) as theirs:
            both.append(await answers(theirs.ports[80], seen))

    await application(serve)
    ours, theirs = both
    assert {name: answer for name, answer in ours.items() if answer != theirs[name]} == {
        name: answer for name, answer in theirs.items() if answer != ours[name]
    }
