"""Zone aware routing on the trio engine and on a real Envoy: what stays in the zone, and where the rest goes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import trio

from policies.balancing import LocalityLoad
from policies.match import PathPrefix
from snapshot.live import RegisteredWorkload
from snapshot.section import Cluster, Endpoint, Section, ServiceName, StaticEndpoints
from tests.differential.backends import KEY, STATUS, serving
from tests.differential.client import Client
from tests.proxies import running
from tests.runtime.envoying import envoying
from tests.slices import SOURCE, WORKLOAD, gateway_listener, host_sections, route, slice_of, table

pytestmark = pytest.mark.integration

SAMPLE = 600
WITHIN = 0.06
A, B, C, FAR = "east/a", "east/b", "east/c", "west/a"


def fellow(number: int, locality: str) -> RegisteredWorkload:
    return RegisteredWorkload(WORKLOAD.namespace, WORKLOAD.name, f"10.0.0.{number}", (), "", locality=locality)


@pytest.mark.parametrize(
    ("clients", "upstream", "minimum", "expected"),
    [
        # As many endpoints here as clients: nothing leaves.
        ([A, B], [A, A, B, B], 1, {A: 1.0}),
        # A third of the endpoints for half of the clients: two thirds stay, the rest goes where there is room.
        ([A, B], [A, B, B], 1, {A: 0.667, B: 0.333}),
        ([A, A, B, B, C, C], [A, B, B, C, C, C], 1, {A: 0.5, C: 0.5}),
        # Fewer endpoints than it takes: all are used, and so without anybody registered.
        ([A, B], [A, A, B, B], 5, {A: 0.5, B: 0.5}),
        ([], [A, A, B, B], 1, {A: 0.5, B: 0.5}),
        # No endpoint here: where there is room, B's being its own clients'.
        ([A, B], [B, C], 1, {C: 1.0}),
        ([A, A, A, B], [B, C], 1, {B: 0.333, C: 0.667}),
        # Another region is another level.
        ([A, B], [A, B, FAR, FAR, FAR, FAR], 1, {A: 1.0}),
    ],
)
async def test_both_engines_keep_to_the_zone_as_far_as_that_goes(
    tmp_path: Path, clients: list[str], upstream: list[str], minimum: int, expected: dict[str, float]
) -> None:
    load = LocalityLoad(fails_over=True, zone_minimum=minimum)
    registry = [fellow(number, locality) for number, locality in enumerate(clients)]
    async with serving() as backends:
        standing = {backends.address(number): locality for number, locality in enumerate(upstream)}
        found = StaticEndpoints(tuple(Endpoint(one, backends.port, locality=there) for one, there in standing.items()))
        cluster = Cluster("z", ServiceName("z", "z", "default"), found, (SOURCE,), balance="round_robin", locality=load)
        routes = host_sections("all", ["*"], [route(PathPrefix("/"), "z")])
        sections: list[Section] = [gateway_listener(), table(), *routes, cluster]
        async with (
            running(slice_of(*sections), registry, locality=A) as ours,
            envoying(tmp_path, *sections, locality=A, workloads=registry) as theirs,
        ):
            for port in (ours.ports["80"], theirs.ports[80]):
                shares = await _shares(port, standing)
                assert shares.keys() == expected.keys()
                assert all(abs(shares[one] - expected[one]) < WITHIN for one in expected), (port, shares)


async def _shares(port: int, standing: dict[str, str]) -> dict[str, float]:
    client = Client(port, None, None)
    counts: Counter[str] = Counter()
    with trio.fail_after(30):
        for _ in range(SAMPLE):
            answer = await client.send(f"GET / HTTP/1.1\r\nhost: a\r\n{STATUS}: 200\r\n{KEY}: 1\r\n\r\n".encode())
            counts[standing[dict(answer.headers)["x-seen"].partition(" ")[0]]] += 1
    await client.close()
    return {locality: count / SAMPLE for locality, count in counts.items()}
