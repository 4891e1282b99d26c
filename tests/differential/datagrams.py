"""The same datagrams through both engines: who is answered, by which cluster, with the same bytes, and always by the same one.

Worlds are drawn: destinations by weight, some that lead nowhere, some without endpoints, policies about addresses. Where several clusters share
the clients each engine draws for itself; then each must be a cluster that may be chosen, and all together must come near the weights.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import hypothesis
import msgspec
import trio
from hypothesis import strategies as st

from policies.attributes import Asked
from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.head import Peer, Principal
from policies.match import Exact
from policies.traffic import Destination
from runtime.udp.packets import LARGEST, EveryAddress
from snapshot.section import (
    Cluster,
    Endpoint,
    FilterChain,
    GatewayPort,
    Listener,
    PolicySet,
    Section,
    ServiceName,
    StaticEndpoints,
    UdpChain,
)
from tests.proxies import running
from tests.runtime.envoying import envoying
from tests.slices import SOURCE, prepared_of, slice_of

PORT = 53
NAMES = ("one", "two", "three")
CALLERS = ("127.0.0.1", "127.0.0.9", "127.1.2.3", "127.1.2.200", "127.9.0.1")
BLOCKS = ("127.0.0.1", "127.0.0.0/8", "127.1.0.0/16", "127.1.2.0/25", "10.0.0.0/8", "::1", "fd00::/8")
MOST = 65_000
"""Bytes of the largest datagram, so that there is room for the origin's name before it."""
ANSWER_S, SILENCE_S = 5.0, 0.08
SHARE_WITHIN = 0.15
DATAGRAMS = 3


class Origin:
    """Answers on every address with the address that was called, and what came."""

    def __init__(self, sock: socket.socket) -> None:
        self.port = sock.getsockname()[1]
        self._sock = sock
        self._path = EveryAddress(sock)

    async def serve(self) -> None:
        """Answers until cancelled."""
        buffer = bytearray(LARGEST)
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            size, way = self._path.receive(self._sock, buffer)
            answer = self._path.called(way).encode() + b"|" + buffer[:size]
            self._path.send(self._sock, memoryview(answer), way)


@asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    """Runs the origin for the duration of a block."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        sock.setblocking(False)
        async with trio.open_nursery() as nursery:
            found = Origin(sock)
            nursery.start_soon(found.serve)
            yield found
            nursery.cancel_scope.cancel()


class DatagramWorld(msgspec.Struct, frozen=True):
    """A listener's destinations, the names of clusters without endpoints, and its policies."""

    destinations: tuple[Destination, ...]
    empty: frozenset[str]
    policies: tuple[AuthorizationPolicy, ...]

    def address(self, name: str) -> str:
        """Where the one endpoint of a cluster is."""
        return f"127.88.0.{NAMES.index(name) + 1}"

    def sections(self, port: int) -> list[Section]:
        """The slice, with its endpoints at the origin's port."""
        chain = FilterChain("dns", SOURCE, UdpChain(self.destinations, SOURCE, "policies" if self.policies else ""))
        listener = Listener("dns", SOURCE, "gateway", GatewayPort(PORT, datagrams=True), "udp", (chain,))
        found: list[Section] = [listener, PolicySet("policies", self.policies)]
        for name in NAMES:
            members = () if name in self.empty else (Endpoint(self.address(name), port),)
            service = ServiceName(name, name, "default")
            found.append(Cluster(name, service, StaticEndpoints(members), (SOURCE,), port=PORT, protocol="udp"))
        return found

    def possible(self, caller: str) -> dict[str, float]:
        """The addresses that may answer a caller, with their shares; the share that is missing is not answered."""
        chain = prepared_of(*self.sections(1)).chains["dns", "dns"]
        asked = Asked(None, Peer(caller, 1, "127.0.0.1", PORT), Principal(""))
        if chain.policies is not None and not chain.policies.evaluate(asked).allowed:
            return {}
        total = sum(one.weight for one in self.destinations) or 1
        alive = [one for one in self.destinations if one.weight and one.cluster and one.cluster not in self.empty]
        return {self.address(one.cluster): one.weight / total for one in alive}


clauses = st.builds(
    lambda attribute, values, unwanted: Clause(attribute, tuple(map(Exact, values)), tuple(map(Exact, unwanted))),
    st.sampled_from(["source.ip", "remote.ip"]),
    st.lists(st.sampled_from(BLOCKS), max_size=2, unique=True),
    st.lists(st.sampled_from(BLOCKS), max_size=1),
).filter(lambda clause: bool(clause.values or clause.not_values))
others = st.sampled_from(
    [
        (),
        ((Clause("destination.port", (Exact("53"),)),),),
        ((Clause("destination.port", (Exact("54"),)),),),
        ((Clause("request.method", (Exact("GET"),)),),),
        ((Clause("source.principal", (Exact("cluster.local/ns/default/sa/friend"),)),),),
    ]
)
rules = st.builds(
    lambda source, operations: Rule(SOURCE, source, operations),
    st.lists(st.lists(clauses, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple),
    others,
)
policies = st.builds(
    lambda action, found: AuthorizationPolicy(SOURCE, action, tuple(found)),
    st.sampled_from([Action.DENY, Action.ALLOW]),
    st.lists(rules, max_size=2),
)
destinations = st.lists(
    st.builds(Destination, st.sampled_from(("", *NAMES)), st.integers(0, 3)),
    max_size=3,
    unique_by=lambda one: one.cluster,
).map(tuple)
worlds = st.builds(
    DatagramWorld,
    destinations,
    st.sets(st.sampled_from(NAMES), max_size=1).map(frozenset),
    st.lists(policies, max_size=2).map(tuple),
)


def drawn(seed: int, count: int) -> list[DatagramWorld]:
    """So many worlds; the same seed draws the same."""
    found: list[DatagramWorld] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(worlds)
    def gather(world: DatagramWorld) -> None:
        found.append(world)

    gather()
    return found


async def compare(world: DatagramWorld, clients: int, seed: int, folder: Path) -> list[str]:
    """What both engines do differently from each other, or from what they may, for so many clients."""
    random = Random(f"{seed}/{world}")
    found: list[str] = []
    shares: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    async with origin() as there:
        sections = world.sections(there.port)
        async with (
            running(slice_of(*sections)) as ours,
            envoying(folder, *sections, ports=(), datagram_ports=(PORT,)) as theirs,
        ):
            ports = (ours.ports[f"{PORT}/udp"], theirs.datagram_ports[PORT])
            for _ in range(clients):
                caller = random.choice(CALLERS)
                possible = world.possible(caller)
                parts = [random.randbytes(random.choice([0, 1, 40, 1_400, 9_000, MOST])) for _ in range(DATAGRAMS)]
                answers = [await _asked(port, caller, parts, possible) for port in ports]
                found += _differences(answers, possible, caller)
                for counted, answer in zip(shares, answers, strict=True):
                    counted[answer[0]] += possible == world.possible(CALLERS[0])
    expected = world.possible(CALLERS[0])
    for engine, counted in zip(("trio", "Envoy"), shares, strict=True):
        total = sum(counted.values())
        found += [
            f"{engine}: {counted[name]} of {total} to {name}, wanted {share:.0%}"
            for name, share in expected.items()
            if total >= 100 and abs(counted[name] / total - share) > SHARE_WITHIN
        ]
    return found


def _differences(answers: Sequence[tuple[str, bool]], possible: dict[str, float], caller: str) -> list[str]:
    """What is wrong with the answers that one client got: each is who answered ("" nobody) and whether all was as it must be."""
    found = []
    for engine, (name, whole) in zip(("trio", "Envoy"), answers, strict=True):
        if not whole:
            found.append(f"{engine}: what came back to {caller} is not what was sent, or came from several")
        if name and name not in possible:
            found.append(f"{engine}: {name} answered {caller}, which may be answered by {sorted(possible)}")
    (ours, _), (theirs, _) = answers
    certain = sum(possible.values()) > 1 - 1e-9
    if certain and (not ours or not theirs):
        found.append(f"{caller} was not answered: trio {ours!r}, Envoy {theirs!r}")
    return found


async def _asked(port: int, caller: str, parts: Sequence[bytes], possible: dict[str, float]) -> tuple[str, bool]:
    """Who answers a new client, and whether every datagram came back whole from the same. Nobody answers where all are silent."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind((caller, 0))
        await sock.connect(("127.0.0.1", port))
        names: set[str] = set()
        whole = True
        for number, part in enumerate(parts):
            await sock.send(part)
            certain = sum(possible.values()) > 1 - 1e-9 or bool(names)
            with trio.move_on_after(ANSWER_S if certain else SILENCE_S) as waiting:
                name, _, echoed = (await sock.recv(LARGEST)).partition(b"|")
                names.add(name.decode())
                whole = whole and echoed == part
            if waiting.cancelled_caught:
                return "", not number
        return names.pop(), whole and not names


async def run_datagrams(seed: int, count: int, clients: int, folder: Path) -> tuple[int, list[str]]:
    """Compares so many worlds; how many datagrams were sent to each engine at most, and the differences, each with its world."""
    found: list[str] = []
    for world in drawn(seed, count):
        found += [f"{one} in {world}" for one in await compare(world, clients, seed, folder)]
    return count * clients * DATAGRAMS, found
