"""Sends the same requests to both engines and gathers what differs."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec

from policies.match import Exact
from policies.traffic import Forward
from runtime.envoy.failure import UntranslatableError
from runtime.envoy.listeners import fits
from snapshot.prepared import PreparedSlice
from snapshot.section import FilterChain, HttpChain, MeshTls, PolicySet, ServerTls
from tests.differential.backends import KEY, Backends, serving
from tests.differential.client import Client
from tests.differential.comparing import Outcome, differences, outcome, unexplained
from tests.differential.engines import Engines, both
from tests.differential.requests import Generator, Request
from tests.differential.worlds import World
from tests.runtime.authority import Authority


class Tally(msgspec.Struct):
    """What a run found; ``unexplained`` are differences, each with the request that showed it."""

    requests: int = 0
    explained: dict[str, int] = {}
    refused: dict[str, str] = {}
    unexplained: list[tuple[str, str]] = []


async def run(worlds: Sequence[World], requests: int, seed: int, folder: Path) -> Tally:
    """Shares the requests out among the worlds."""
    tally = Tally()
    authority = Authority()
    async with serving() as backends:
        speaking = [world for world in worlds if any(_http(world.prepared))]
        for number, world in enumerate(speaking):
            begin, end = requests * number // len(speaking), requests * (number + 1) // len(speaking)
            try:
                async with both(world.prepared, backends, authority, folder) as engines:
                    await _world(world.name, engines, backends, end - begin, Random(f"{seed}/{world.name}"), tally)
            except UntranslatableError as error:
                tally.refused[world.name] = error.problems[0]
    return tally


def _http(prepared: PreparedSlice) -> Iterator[FilterChain]:
    """The chains of a slice that speak HTTP."""
    chains = [chain for listener in prepared.listeners.values() for chain in listener.chains]
    return (chain for chain in chains if isinstance(chain.network, HttpChain))


async def _world(name: str, engines: Engines, backends: Backends, share: int, random: Random, tally: Tally) -> None:
    ways = [
        Way(engines, listener, chain, caller)
        for listener in engines.addresses
        for chain, _ in fits(engines.prepared.listeners[listener].chains, engines.prepared.listeners[listener].protocol)
        if isinstance(chain.network, HttpChain)
        for caller in _callers(engines.prepared, chain)
    ]
    for number in range(share):
        way = ways[number % len(ways)]
        request = way.generator(random).draw()
        found = await way.compare(request, backends, tally)
        tally.requests += 1
        line = f"{name} {way.listener}/{way.chain.name} {request.method} {request.target} {request.headers}"
        tally.unexplained += [(one, line) for one in found]
    for way in ways:
        await way.close()


class Way:
    """One chain of a slice as one caller uses it, on both engines."""

    def __init__(self, engines: Engines, listener: str, chain: FilterChain, caller: str) -> None:
        self.listener = listener
        self.chain = chain
        self._engines = engines
        self._generator: Generator | None = None
        context, name = _context(engines, chain, caller)
        self._clients = [Client(port, context, name) for port in engines.addresses[listener]]

    def generator(self, random: Random) -> Generator:
        """The source of this chain's requests."""
        if self._generator is None:
            prepared = self._engines.prepared
            self._generator = Generator(prepared, prepared.chains[self.listener, self.chain.name], random)
        return self._generator

    async def compare(self, request: Request, backends: Backends, tally: Tally) -> list[str]:
        """The differences that nothing explains."""
        outcomes: list[Outcome] = []
        key = dict(request.headers)[KEY]
        for client in self._clients:
            backends.attempts.clear()
            answer = await client.send(request.encode(), head=request.method == "HEAD")
            outcomes.append(outcome(request, answer, self._engines.clusters, backends.attempts[key]))
        ours, theirs = outcomes
        prepared = self._engines.prepared
        found = differences(ours, theirs, weighted=_drawn(prepared, ours, theirs), keyed=_keyed(prepared, ours))
        return unexplained(request, ours, found, tally.explained)

    async def close(self) -> None:
        """Ends its connections."""
        for client in self._clients:
            await client.close()


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


def _context(engines: Engines, chain: FilterChain, caller: str) -> tuple[ssl.SSLContext | None, str | None]:
    """How a connection to a chain is made: TLS with this caller's certificate, and the server name that leads there."""
    if chain.tls is None:
        return None, None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["istio-http/1.1"] if isinstance(chain.tls, MeshTls) else ["http/1.1"])
    wants = isinstance(chain.tls, ServerTls) and chain.tls.client != "none"
    if caller or wants:
        svid = engines.authority.svid(caller or "spiffe://cluster.local/ns/out/sa/side")
        with tempfile.NamedTemporaryFile() as file:
            file.write(svid.certificate_chain + svid.private_key)
            file.flush()
            context.load_cert_chain(file.name)
    name = chain.server_names[0] if chain.server_names else None
    return context, name.replace("*", "some") if name else "named.test"
