"""A gateway behind trusted proxies takes the client for whom they name: for policies, limits, hashing and the log, over both versions of HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import pytest

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.limits import LimitKey, RateLimit
from policies.match import Exact
from policies.proxy_headers import ProxyHeaders
from snapshot.section import AccessLog, ConsistentHash, PolicySet, Proxy, Route, Section
from tests.echo import Echo, running
from tests.runtime.proxying import Running, proxying
from tests.slices import SOURCE, WORKLOAD, cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration


def gateway(
    *ports: int, one: Route | None = None, log: str = "", policies: str = "", **fields: object
) -> list[Section]:
    """A gateway that trusts one proxy before it."""
    return [
        Proxy(WORKLOAD, "cluster.local", access_log=AccessLog(log), headers=ProxyHeaders(trusted_hops=1)),
        gateway_listener(policies=policies, edge=True),
        table(),
        *host_sections("all", ["*"], [one or route(None, "a")]),
        cluster("a", *(("127.0.0.1", port) for port in ports), **fields),
    ]


async def ask(proxy: Running, *clients: str, http2: bool) -> list[httpx.Response]:
    """A request for each client, on one connection."""
    async with httpx.AsyncClient(http1=not http2, http2=http2) as client:
        return [
            await client.get(proxy.url(), headers={"host": "a.test", **({"x-forwarded-for": one} if one else {})})
            for one in clients
        ]


both = pytest.mark.parametrize("http2", [False, True])


@both
async def test_policies_and_the_log_know_the_client_that_a_trusted_proxy_names(*, http2: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    rule = Rule(source=SOURCE, sources=((Clause("remote.ip", (Exact("192.0.2.0/24"),)),),))
    denied = PolicySet("p", (AuthorizationPolicy(SOURCE, Action.DENY, (rule,)),))
    async with running(Echo("app")) as (origin,):
        sections = [*gateway(origin.port, log=str(log), policies="p"), denied]
        async with proxying(*sections) as proxy:
            replies = await ask(proxy, "192.0.2.7", "192.0.2.7, 198.51.100.1", "", http2=http2)
            assert [one.status_code for one in replies] == [403, 200, 200]
        told = origin.seen[0]["headers"]
        assert told["x-envoy-external-address"] == ["198.51.100.1"]  # type: ignore[index]
        assert told["x-forwarded-for"] == ["192.0.2.7, 198.51.100.1, 127.0.0.1"]  # type: ignore[index]
        assert origin.seen[1]["headers"]["x-envoy-external-address"] == ["127.0.0.1"]  # type: ignore[index]
    remotes = [line.split()[-3] for line in log.read_text().splitlines()]
    assert remotes[:2] == ["192.0.2.7:0", "198.51.100.1:0"]
    assert remotes[2].startswith("127.0.0.1:")


@both
async def test_limits_count_the_clients_and_not_the_proxy_before(*, http2: bool) -> None:
    limit = RateLimit(SOURCE, 1, 3_600_000, 1, by=(LimitKey("source"),))
    async with running(Echo("app")) as (origin,):
        limited = msgspec.structs.replace(route(None, "a"), limits=(limit,))
        async with proxying(*gateway(origin.port, one=limited)) as proxy:
            replies = await ask(proxy, "192.0.2.1", "192.0.2.2", "192.0.2.1", http2=http2)
            assert [one.status_code for one in replies] == [200, 200, 429]


@both
async def test_hashing_by_source_spreads_the_clients(*, http2: bool) -> None:
    echoes = [Echo(name) for name in "abcd"]
    async with running(*echoes) as origins:
        by = ConsistentHash("source_ip", table_size=1009)
        sections = gateway(*(one.port for one in origins), balance="maglev", hashing=by)
        async with proxying(*sections) as proxy:
            clients = [f"192.0.2.{number}" for number in range(24)]
            first = [one.json()["service"] for one in await ask(proxy, *clients, http2=http2)]
            again = [one.json()["service"] for one in await ask(proxy, *clients, http2=http2)]
            assert first == again
            assert len(set(first)) == 4
