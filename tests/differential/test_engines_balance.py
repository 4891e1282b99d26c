"""Which endpoint is chosen, and who is left out, on the trio engine and on a real Envoy: the same sequence of requests to both."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec
import pytest
import trio

from policies.balancing import LocalityLoad, OutlierDetection
from policies.match import PathPrefix
from policies.traffic import Retry
from snapshot.section import (
    Cluster,
    ConsistentHash,
    Endpoint,
    OriginalDestination,
    Section,
    ServiceName,
    StaticEndpoints,
)
from tests.differential.backends import KEY, STATUS, serving
from tests.differential.client import Answer, Client
from tests.differential.engines import both
from tests.runtime.authority import Authority
from tests.slices import SOURCE, gateway_listener, host_sections, prepared_of, route, table

pytestmark = pytest.mark.integration

SAMPLE = 1_000
HEADER = ConsistentHash("header", "x-user")


def cluster(name: str, endpoints: Sequence[Endpoint], **fields: object) -> Cluster:
    return Cluster(name, ServiceName(name, name, "default"), StaticEndpoints(tuple(endpoints)), (SOURCE,), **fields)  # type: ignore[arg-type]


def endpoints(*weights: int, locality: str = "") -> list[Endpoint]:
    return [Endpoint(f"10.0.0.{number}", 80, weight=weight, locality=locality) for number, weight in enumerate(weights)]


def mesh(*clusters: Cluster) -> list[Section]:
    """A gateway that sends ``/<cluster>/...`` to each."""
    routes = [route(PathPrefix(f"/{one.name}/"), one.name) for one in clusters]
    return [gateway_listener(), table(), *host_sections("all", ["*"], routes), *clusters]


def asked(path: str, *fields: str, status: int = 200) -> bytes:
    lines = "".join(f"{field}\r\n" for field in (*fields, f"{STATUS}: {status}", f"{KEY}: 1"))
    return f"GET {path} HTTP/1.1\r\nhost: a.test\r\n{lines}\r\n".encode()


def who(answer: Answer) -> str:
    """The endpoint that answered, else what the engine said itself."""
    seen = dict(answer.headers).get("x-seen", "").partition(" ")[0]
    return seen or f"{answer.status} {answer.body.decode()}"


HASHED = {
    "equal": cluster("equal", endpoints(*[1] * 7), balance="ring_hash", hashing=HEADER),
    "weighted": cluster("weighted", endpoints(1, 3, 10), balance="ring_hash", hashing=HEADER),
    "many": cluster("many", endpoints(*[1] * 40), balance="ring_hash", hashing=HEADER),
    "maglev": cluster("maglev", endpoints(*[1] * 5), balance="maglev", hashing=HEADER),
    "heavy": cluster("heavy", endpoints(5, 1, 2), balance="maglev", hashing=HEADER),
    "small": cluster(
        "small", endpoints(1, 1, 1), balance="maglev", hashing=ConsistentHash("header", "x-user", table_size=251)
    ),
    "query": cluster("query", endpoints(1, 1, 1), balance="ring_hash", hashing=ConsistentHash("query", "user")),
    "cookie": cluster("cookie", endpoints(1, 1, 1), balance="maglev", hashing=ConsistentHash("cookie", "user")),
    "source": cluster("source", endpoints(1, 1, 1), balance="maglev", hashing=ConsistentHash("source_ip")),
}


def keyed(name: str, random: Random) -> bytes:
    user = "".join(random.choices("abcdefghij %/", k=random.randrange(1, 60))).strip() or "x"
    match name:
        case "query":
            return asked(f"/query/?a=1&user={user.replace(' ', '+').replace('%', '%41')}&user=other")
        case "cookie":
            return asked("/cookie/", f'cookie: one=1; user="{user.replace(" ", "")}"')
        case _:
            more = [f"x-user: {random.randrange(99)}"] if random.random() < 0.2 else []
            return asked(f"/{name}/", f"x-user: {user}", *more)


async def test_a_key_has_the_same_endpoint_on_both_engines(tmp_path: Path) -> None:
    random = Random(11)
    prepared = prepared_of(*mesh(*HASHED.values()))
    async with serving() as backends, both(prepared, backends, Authority(), tmp_path) as engines:
        ours, theirs = (Client(port, None, None) for port in engines.addresses["http"])
        chosen: dict[str, Counter[str]] = {}
        for number in range(900):
            name = list(HASHED)[number % len(HASHED)]
            request = keyed(name, random)
            one, other = who(await ours.send(request)), who(await theirs.send(request))
            assert one == other, request
            chosen.setdefault(name, Counter())[one] += 1
        assert len(chosen["equal"]) == 7
        assert len(chosen["source"]) == 1
        await ours.close()
        await theirs.close()


async def test_a_generated_cookie_keeps_its_client_on_both_engines(tmp_path: Path) -> None:
    hashing = ConsistentHash("cookie", "seat", "/seats", 90_000, (("SameSite", "Lax"),))
    prepared = prepared_of(*mesh(cluster("a", endpoints(1, 1, 1, 1), balance="ring_hash", hashing=hashing)))
    async with serving() as backends, both(prepared, backends, Authority(), tmp_path) as engines:
        forms = []
        for port in engines.addresses["http"]:
            for _ in range(5):
                client = Client(port, None, None)
                first = await client.send(asked("/a/"))
                name, _, rest = dict(first.headers)["set-cookie"].partition("=")
                value, _, attributes = rest.partition(";")
                forms.append((name, attributes.strip()))
                await client.close()
                second = await client.send(asked("/a/", f"cookie: {name}={value}"))
                assert who(first) == who(second)
                assert "set-cookie" not in dict(second.headers)
                await client.close()
        assert len(set(forms)) == 1


OUT = OutlierDetection(consecutive_5xx=3, interval_ms=60_000, base_ejection_ms=60_000, max_ejection_percent=100)
DETECTING = {
    "five": OUT,
    "gateway": OutlierDetection(consecutive_5xx=0, consecutive_gateway=2, interval_ms=60_000, max_ejection_percent=100),
    "off": OutlierDetection(consecutive_5xx=0, interval_ms=60_000, max_ejection_percent=100),
    "split": OutlierDetection(
        consecutive_5xx=3, split=True, consecutive_local=2, interval_ms=60_000, max_ejection_percent=100
    ),
    "listed": OutlierDetection(consecutive_5xx=2, statuses=(429, 404), interval_ms=60_000, max_ejection_percent=100),
    "panic": OutlierDetection(consecutive_5xx=1, min_health_percent=50, interval_ms=60_000, max_ejection_percent=100),
    "tenth": OutlierDetection(consecutive_5xx=1, interval_ms=60_000),
}
STATUSES = (200, 200, 404, 429, 500, 500, 502, 503, 503, 504)


async def follows(client: Client, name: str) -> bool:
    """Whether Envoy leaves out an only endpoint without a further failure: it ejects in another thread than the one that answers."""
    for _ in range(100):
        if (await client.send(asked(f"/{name}/"))).body == b"no healthy upstream":
            return True
        await trio.sleep(0.03)
    return False


async def test_an_only_endpoint_is_left_out_at_the_same_failure_on_both_engines(tmp_path: Path) -> None:
    random = Random(5)
    clusters = [
        cluster(f"{name}-{number}", endpoints(1), outlier=settings)
        for name, settings in DETECTING.items()
        for number in range(4)
    ]
    prepared = prepared_of(*mesh(*clusters))
    async with serving() as backends, both(prepared, backends, Authority(), tmp_path) as engines:
        ours, theirs = (Client(port, None, None) for port in engines.addresses["http"])
        ended: Counter[str] = Counter()
        for one in clusters:
            for step in range(25):
                request = asked(f"/{one.name}/", status=random.choice(STATUSES))
                mine, other = await ours.send(request), await theirs.send(request)
                if (mine.status, who(mine)) != (other.status, who(other)):
                    assert mine.body == b"no healthy upstream", (one.name, step, request)
                    assert await follows(theirs, one.name), (one.name, step, request)
            ended[one.name.partition("-")[0]] += mine.body == b"no healthy upstream"
        await ours.close()
        await theirs.close()
        assert ended["five"] + ended["gateway"] + ended["listed"] > 4
        assert not ended["off"] + ended["panic"] + ended["tenth"]


async def test_localities_take_the_same_shares_on_both_engines(tmp_path: Path) -> None:
    near, zone, far = "r1/z1/s1", "r1/z2/s1", "r2/z1/s1"
    everywhere = [
        *endpoints(1, 1, locality=near),
        *endpoints(1, 1, locality=zone),
        *endpoints(1, 1, locality=far),
    ]
    split = LocalityLoad(distribute=(("r1/z1/*", (("r1/z1/*", 70), ("r1/z2/*", 20), ("r2/*", 10))),))
    prepared = prepared_of(
        *mesh(
            cluster("split", everywhere, locality=split),
            cluster("near", everywhere, outlier=OUT, locality=LocalityLoad(fails_over=True)),
            cluster("half", everywhere, outlier=OUT, locality=LocalityLoad(fails_over=True), balance="round_robin"),
        )
    )
    async with serving() as backends, both(prepared, backends, Authority(), tmp_path, locality=near) as engines:
        at = {
            name: [address for address, owner in engines.clusters.items() if owner == name]
            for name in ("split", "near", "half")
        }
        for port in engines.addresses["http"]:
            client = Client(port, None, None)
            shares = await counted(client, "split", at["split"])
            assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.05)
            assert await counted(client, "near", at["near"], 200) == [1, 0, 0]
            ill = at["half"][0]
            for _ in range(40):
                await client.send(asked("/half/", f"x-fail-at: {ill}"))
            shares = await counted(client, "half", at["half"])
            assert shares == pytest.approx([0.7, 0.3, 0], abs=0.05)
            await client.close()


async def counted(client: Client, name: str, addresses: Sequence[str], sample: int = SAMPLE) -> list[float]:
    """The shares of three localities of two endpoints each."""
    hits: Counter[int] = Counter()
    for _ in range(sample):
        answer = await client.send(asked(f"/{name}/"))
        assert answer.status == 200, json.dumps(who(answer))
        hits[addresses.index(who(answer)) // 2] += 1
    return [hits[number] / sample for number in range(3)]


async def test_a_cluster_without_endpoints_sends_requests_where_they_go_on_both_engines(tmp_path: Path) -> None:
    """A ServiceEntry that resolves nothing: the authority that the client named is where its requests go."""
    nowhere = msgspec.structs.replace(cluster("asked", ()), endpoints=OriginalDestination())
    to = route(PathPrefix("/asked/"), "asked")
    timed = msgspec.structs.replace(route(PathPrefix("/timed/"), "asked"), timeout_ms=5_000, retry=Retry())
    sections = [gateway_listener(), table(), *host_sections("all", ["*"], [to, timed]), nowhere]
    async with serving() as backends, both(prepared_of(*sections), backends, Authority(), tmp_path) as engines:
        for port in engines.addresses["http"]:
            client = Client(port, None, None)
            for number, path in enumerate(("/asked/", "/timed/", "/asked/x?y")):
                host = backends.address(200 + number)
                request = f"GET {path} HTTP/1.1\r\nhost: {host}:{backends.port}\r\n{KEY}: 1\r\n\r\n".encode()
                answer = await client.send(request)
                assert (answer.status, who(answer)) == (200, host)
                assert dict(json.loads(answer.body)["headers"])["host"] == f"{host}:{backends.port}"
            await client.close()
