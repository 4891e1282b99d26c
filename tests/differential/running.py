"""Sends the same requests to both engines and gathers what differs."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec

from policies.match import Exact
from policies.traffic import PER_MILLION, Forward
from runtime.envoy.failure import UntranslatableError
from runtime.envoy.listeners import fits
from snapshot.prepared import PreparedSlice
from snapshot.section import FilterChain, HttpChain, MeshTls, PolicySet, ServerTls
from tests.differential.backends import ENGINE, KEY, Backends, serving
from tests.differential.certificates import Certificates
from tests.differential.client import Client
from tests.differential.comparing import Headers, Outcome, comparable, differences, headers_apart, outcome, unexplained
from tests.differential.engines import Engines, both
from tests.differential.http2 import Http2Client
from tests.differential.logs import AGENT, lines
from tests.differential.logs import differences as logged
from tests.differential.requests import Generator, Request
from tests.differential.worlds import World
from tests.runtime.authority import Authority

Came = tuple[str, str, str, Headers]
"""A copy: cluster, method, target, headers."""
NOBODY, NOTHING = Request("GET", "/", ()), Outcome(0, "", {}, b"")
COPIES_S = 2.0
"""How long copies of mirrored requests may come after the last answer."""


class Tally(msgspec.Struct):
    """What a run found; ``unexplained`` are differences, each with the request that showed it."""

    requests: int = 0
    explained: dict[str, int] = {}
    refused: dict[str, str] = {}
    unexplained: list[tuple[str, str]] = []


async def run(
    worlds: Sequence[World], requests: int, seed: int, folder: Path, *, say: Callable[[str], None] = lambda _: None
) -> Tally:
    """Shares the requests out among the worlds; ``say`` is told of each that is done."""
    tally = Tally()
    authority = Authority()
    async with serving(Certificates(authority)) as backends:
        speaking = [world for world in worlds if any(_compared(world.prepared))]
        for number, world in enumerate(speaking):
            begin, end = requests * number // len(speaking), requests * (number + 1) // len(speaking)
            agreed: list[Agreed] = []
            try:
                async with both(world.prepared, backends, authority, folder) as engines:
                    random = Random(f"{seed}/{world.name}")
                    agreed = await _world(world.name, engines, backends, end - begin, random, tally)
            except UntranslatableError as error:
                tally.refused[world.name] = error.problems[0]
            else:
                _compare_logs(world.name, engines.logs, agreed, tally)
            say(f"{number + 1}/{len(speaking)} {world.name}: {len(tally.unexplained)} unexplained")
    return tally


def _compare_logs(name: str, files: tuple[Path, Path], agreed: list[Agreed], tally: Tally) -> None:
    """Adds what the logs of both engines say differently of requests that had the same answer."""
    ours, theirs = (lines(file) for file in files)
    for one in agreed:
        agent = dict(one.request.headers)["user-agent"]
        found = logged(ours.get(agent), theirs.get(agent), echoed=bool(one.outcome.cluster))
        left = unexplained(one.request, one.outcome, found, tally.explained)
        tally.unexplained += [(text, f"{name} {one.shown}") for text in left]


def _compared(prepared: PreparedSlice) -> Iterator[FilterChain]:
    """The chains of a slice that can be compared: those that speak HTTP, and those that pass bytes to at most one cluster."""
    for listener in prepared.listeners.values():
        for chain in listener.chains:
            network = chain.network
            if isinstance(network, HttpChain) or (len(network.destinations) < 2 and listener.protocol == "tcp"):
                yield chain


async def _world(
    name: str, engines: Engines, backends: Backends, share: int, random: Random, tally: Tally
) -> list[Agreed]:
    ways: list[Way | BytesWay] = []
    for listener in engines.addresses:
        section = engines.prepared.listeners[listener]
        for chain, _ in fits(section.chains, section.protocol):
            network = chain.network
            if isinstance(network, HttpChain):
                spoken = (False,) if network.proxy else (False, True)
                callers = _callers(engines.prepared, chain)
                ways += [Way(engines, listener, chain, caller, http2) for caller in callers for http2 in spoken]
            elif len(network.destinations) < 2 and section.protocol == "tcp":
                ways.append(BytesWay(engines, listener, chain))
    backends.copies.clear()
    for number in range(share):
        way = ways[number % len(ways)]
        request, found = await way.compare(random, backends, tally)
        tally.requests += 1
        line = f"{name} {way.listener}/{way.chain.name} {request}"
        tally.unexplained += [(one, line) for one in found]
    for way in ways:
        await way.close()
    agreed = [one for way in ways for one in way.agreed]
    tally.unexplained += await _copies(name, engines, backends, agreed, tally)
    return agreed


async def _copies(
    name: str, engines: Engines, backends: Backends, agreed: Sequence[Agreed], tally: Tally
) -> list[tuple[str, str]]:
    """Mirrored requests of which the two engines did not send the same copies to the same clusters, but for mirrors of some requests only."""
    some = {
        mirror.cluster
        for host in engines.prepared.hosts.values()
        for one in host.routes.values()
        if isinstance(one.route.action, Forward)
        for mirror in one.route.action.mirrors
        if 0 < mirror.per_million < PER_MILLION
    }

    def came(key: str) -> list[Came]:
        copies = [(engines.clusters.get(one.address, one.address), one) for one in backends.copies.get(key, ())]
        found = [(where, one.method, one.target, comparable(one.headers)) for where, one in copies if where not in some]
        return sorted(found, key=lambda one: one[:3])

    def differing() -> list[tuple[str, str]]:
        keys = {key.rpartition("/")[0] for key in backends.copies}
        return [(text, key) for key in sorted(keys) for text in _apart(came(f"{key}/0"), came(f"{key}/1"))]

    def complete() -> bool:
        return not any(text.startswith("copies: ") for text, _ in differing())

    await backends.wait_copies(complete, COPIES_S)
    asked = {dict(one.request.headers)["user-agent"].removeprefix(AGENT): one.request for one in agreed}
    return [
        (text, f"{name} request {key}")
        for text, key in differing()
        if unexplained(asked.get(key, NOBODY), NOTHING, [text], tally.explained)
    ]


def _apart(ours: list[Came], theirs: list[Came]) -> list[str]:
    """How copies differ: where they went, else in what they said."""
    if [one[0] for one in ours] != [one[0] for one in theirs]:
        return [f"copies: {[one[0] for one in ours]} -> {[one[0] for one in theirs]}"]
    found = []
    for (_, method, target, headers), (_, method_there, target_there, headers_there) in zip(ours, theirs, strict=True):
        if (method, target) != (method_there, target_there):
            found.append(f"copies: {method} {target} -> {method_there} {target_there}")
        found += headers_apart("copies", headers, headers_there)
    return found


class Agreed(msgspec.Struct, frozen=True):
    """A request that both engines answered alike by the same cluster, so that their logs must agree, too."""

    request: Request
    outcome: Outcome
    shown: str


class Way:
    """One chain of a slice as one caller uses it, in one version of HTTP, on both engines."""

    def __init__(self, engines: Engines, listener: str, chain: FilterChain, caller: str, http2: bool) -> None:
        self.listener = listener
        self.chain = chain
        self._engines = engines
        self._generator: Generator | None = None
        self._caller = caller
        self._http2 = http2
        self.agreed: list[Agreed] = []
        context, name = _context(engines, chain, caller, http2=http2)
        # A sidecar says what the application said, before the mesh encrypted it.
        scheme = "http" if context is None or isinstance(chain.tls, MeshTls) else "https"
        self._clients: list[Client | Http2Client] = [
            Http2Client(port, context, name, scheme=scheme) if http2 else Client(port, context, name)
            for port in engines.addresses[listener]
        ]

    def generator(self, random: Random) -> Generator:
        """The source of this chain's requests."""
        if self._generator is None:
            prepared = self._engines.prepared
            self._generator = Generator(prepared, prepared.chains[self.listener, self.chain.name], random)
        return self._generator

    async def compare(self, random: Random, backends: Backends, tally: Tally) -> tuple[str, list[str]]:
        """The next request, and the differences that nothing explains."""
        drawn = self.generator(random).draw(http2=self._http2)
        outcomes: list[Outcome] = []
        key = f"{self.listener}|{self.chain.name}|{self._caller}|{int(self._http2)}|{dict(drawn.headers)[KEY]}"
        for number, client in enumerate(self._clients):
            # Clusters may hash the key, so what tells the engines apart stands beside it.
            headers = tuple((name, key if name == KEY else value) for name, value in drawn.headers)
            headers = (*headers, ("user-agent", f"{AGENT}{key}"), (ENGINE, str(number)))
            request = msgspec.structs.replace(drawn, headers=headers)
            backends.attempts.clear()
            answer = await client.send(request)
            outcomes.append(outcome(request, answer, self._engines.clusters, backends.attempts[key]))
        ours, theirs = outcomes
        prepared = self._engines.prepared
        found = differences(ours, theirs, weighted=_drawn(prepared, ours, theirs), keyed=_keyed(prepared, ours))
        shown = f"{'HTTP/2 ' if self._http2 else ''}{drawn.method} {drawn.target} {drawn.headers}"
        if (ours.status, ours.cluster) == (theirs.status, theirs.cluster) and ours.status > 0:
            sent = msgspec.structs.replace(drawn, headers=(*drawn.headers, ("user-agent", f"{AGENT}{key}")))
            self.agreed.append(Agreed(sent, ours, shown))
        return shown, unexplained(drawn, ours, found, tally.explained)

    async def close(self) -> None:
        """Ends its connections."""
        for client in self._clients:
            await client.close()


class BytesWay:
    """One chain of a slice that passes bytes. What is sent through it is a request that the back end answers, on a connection of its own."""

    def __init__(self, engines: Engines, listener: str, chain: FilterChain) -> None:
        self.listener = listener
        self.chain = chain
        self.agreed: list[Agreed] = []
        self._engines = engines

    async def compare(self, random: Random, backends: Backends, tally: Tally) -> tuple[str, list[str]]:
        """The server name that was asked for, and the differences."""
        context, name = _context(self._engines, self.chain, "", http2=False)
        if name is not None and random.random() < 0.3:
            name = random.choice([f"x.{name}", "nobody.test"])
        request = Request("GET", "/", (("host", "bytes.test"),))
        found = []
        for port in self._engines.addresses[self.listener]:
            client = Client(port, context, name)
            found.append(outcome(request, await client.send(request), self._engines.clusters, 0))
            await client.close()
        ours, theirs = ((one.status, one.cluster) for one in found)
        return f"server name {name}", [] if ours == theirs else [f"bytes: {ours} -> {theirs}"]

    async def close(self) -> None:
        """Nothing is kept."""


def _drawn(prepared: PreparedSlice, ours: Outcome, theirs: Outcome) -> bool:
    """Whether some route shares its requests out between these two clusters."""
    chosen = {ours.cluster, theirs.cluster}
    for host in prepared.hosts.values():
        for one in host.routes.values():
            action = one.route.action
            if isinstance(action, Forward) and chosen <= {item.cluster for item in action.destinations if item.weight}:
                return True
    return False


def _keyed(prepared: PreparedSlice, outcome: Outcome) -> bool:
    """Whether a request had what its cluster hashes."""
    cluster = prepared.clusters.get(outcome.cluster)
    hashing = cluster.hashing if cluster is not None else None
    if hashing is None or outcome.seen is None:
        return False
    return hashing.name in outcome.seen if hashing.on == "header" else f"{hashing.name}=" in outcome.target


def _callers(prepared: PreparedSlice, chain: FilterChain) -> list[str]:
    """The identities that call: one that no policy names and some that policies do; "" where no identity is shown."""
    if not isinstance(chain.tls, MeshTls):
        return [""]
    domain = prepared.proxy.trust_domain
    named = [
        f"spiffe://{value.value}"
        for section in prepared.sections.values()
        if isinstance(section, PolicySet)
        for policy in section.policies
        for rule in policy.rules
        for group in rule.sources
        for clause in group
        if clause.attribute == "source.principal"
        for value in clause.values
        if isinstance(value, Exact) and value.value.startswith(domain)
    ]
    return [f"spiffe://{domain}/ns/elsewhere/sa/nobody", *sorted(set(named))[:2]]


def _context(
    engines: Engines, chain: FilterChain, caller: str, *, http2: bool
) -> tuple[ssl.SSLContext | None, str | None]:
    """How a connection to a chain is made: TLS with this caller's certificate, and the server name that leads there."""
    if chain.tls is None and not chain.passthrough:
        return None, None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    mesh = isinstance(chain.tls, MeshTls)
    if not isinstance(chain.network, HttpChain):
        spoken = "istio" if mesh else ""
    else:
        spoken = ("istio-h2" if http2 else "istio-http/1.1") if mesh else "h2" if http2 else "http/1.1"
    if spoken:
        context.set_alpn_protocols([spoken])
    wants = isinstance(chain.tls, ServerTls) and chain.tls.client != "none"
    if caller or wants:
        svid = engines.authority.svid(caller or "spiffe://cluster.local/ns/out/sa/side")
        with tempfile.NamedTemporaryFile() as file:
            file.write(svid.certificate_chain + svid.private_key)
            file.flush()
            context.load_cert_chain(file.name)
    name = chain.server_names[0] if chain.server_names else None
    return context, name.replace("*", "some") if name else "named.test"
