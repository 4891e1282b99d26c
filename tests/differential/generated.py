"""Meshes that nobody wrote: hypothesis draws route tables, policies and edits, with few words so that they meet."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis
import msgspec
from hypothesis import strategies as st

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.balancing import KeepAlive, LocalityLoad, OutlierDetection, RetryBudget, Utilization, Warmup
from policies.limits import LimitKey, RateLimit
from policies.match import (
    Exact,
    HeaderMatch,
    PathExact,
    PathPrefix,
    PathRegex,
    PathSegments,
    Prefix,
    Present,
    QueryMatch,
    Regex,
    RouteMatch,
    Suffix,
)
from policies.proxy_headers import CERTIFICATE_MODES, CERTIFICATE_PARTS, USUAL, ProxyHeaders
from policies.source import SourceRef
from policies.traffic import (
    NO_EDITS,
    PER_MILLION,
    Cors,
    Destination,
    DirectResponse,
    Fault,
    FaultAbort,
    Forward,
    HeaderEdits,
    Mirror,
    Redirect,
    Retry,
    Rewrite,
    RouteAction,
)
from snapshot.prepared import PreparedSlice
from snapshot.section import (
    ConsistentHash,
    Endpoint,
    FilterChain,
    GatewayPort,
    HttpChain,
    Listener,
    MeshTls,
    PolicySet,
    PoolLimits,
    Proxy,
    Route,
    RouteBlock,
    RouteTable,
    Section,
    StaticEndpoints,
    TcpChain,
    TokenSet,
    VirtualHost,
)
from tests.differential import tokens
from tests.differential.backends import KEY
from tests.slices import SOURCE, WORKLOAD, cluster, prepared_of

HOUR_MS = 3_600_000
"""In which a rate limit gains its tokens: none comes back while requests are compared."""
CLUSTERS = tuple(f"outbound|80||{name}.test" for name in ("one", "two", "three"))
words = st.sampled_from(["a", "api", "v1", "books"])
paths = st.builds(lambda parts: "/" + "/".join(parts), st.lists(words, max_size=3))
names = st.sampled_from(["x-one", "x-two", "x-three"])
values = st.sampled_from(["blue", "green", "100%", "a b"])
texts = st.one_of(
    st.builds(Exact, values),
    st.builds(Prefix, st.sampled_from(["b", "gr"])),
    st.builds(Suffix, st.sampled_from(["e", "en"])),
    st.builds(Regex, st.sampled_from(["bl.*", "gre+n", "[a-z]+"])),
    st.just(Present()),
)
path_matches = st.one_of(
    st.none(),
    st.builds(PathExact, paths, st.booleans()),
    st.builds(PathPrefix, paths, st.booleans()),
    st.builds(PathSegments, paths),
    st.builds(PathRegex, st.sampled_from(["/a/.*", "/(api|v1)(/.*)?", "/books/[0-9]+"])),
)
matches = st.builds(
    RouteMatch,
    path=path_matches,
    method=st.one_of(st.none(), st.none(), st.builds(Exact, st.sampled_from(["GET", "POST"]))),
    headers=st.lists(st.builds(HeaderMatch, names, texts, st.booleans()), max_size=1).map(tuple),
    query=st.lists(st.builds(QueryMatch, st.sampled_from(["q", "a"]), texts), max_size=1).map(tuple),
)
claiming = st.one_of(
    st.builds(RouteMatch, path=path_matches, claims=tokens.claims), st.builds(RouteMatch, headers=tokens.told)
)
pairs = st.lists(st.tuples(names, values), max_size=2, unique_by=lambda pair: pair[0]).map(tuple)
edits = st.builds(HeaderEdits, st.lists(names, max_size=1).map(tuple), pairs, pairs)
rewrites = st.one_of(
    st.none(),
    st.builds(Rewrite, prefix=st.sampled_from(["/", "/new", "/new/"])),
    st.builds(Rewrite, path=st.sampled_from(["/whole", "/whole/path"]), authority=st.just("rewritten.test")),
    st.builds(Rewrite, regex=st.just("a(.)"), substitution=st.just(r"<\1>")),
)
destinations = st.lists(
    st.builds(Destination, st.sampled_from(CLUSTERS), st.integers(0, 3), edits, edits),
    min_size=1,
    max_size=2,
    unique_by=lambda one: one.cluster,
).map(tuple)
mirrors = st.one_of(
    st.just(()),
    st.just(()),
    st.lists(st.builds(Mirror, st.sampled_from(CLUSTERS), st.sampled_from([PER_MILLION, 0])), max_size=2).map(tuple),
)
origins = st.sampled_from([Exact("https://a.test"), Prefix("https://b"), Regex("https://[a-z]+\\.test"), Present()])
cors = st.one_of(
    st.none(),
    st.none(),
    st.none(),
    st.builds(
        Cors,
        st.lists(origins, min_size=1, max_size=2).map(tuple),
        st.sampled_from(["", "GET,PUT"]),
        st.sampled_from(["", "x-one"]),
        st.sampled_from(["", "x-two"]),
        st.sampled_from([-1, 0, 60]),
        st.booleans(),
        st.booleans(),
    ),
)
actions = st.one_of(
    st.builds(Forward, destinations, rewrites, mirrors),
    st.builds(Forward, destinations, rewrites, mirrors),
    st.builds(
        Redirect,
        status=st.sampled_from([301, 302, 307, 308]),
        scheme=st.sampled_from([None, "https"]),
        host=st.sampled_from([None, "other.test"]),
        port=st.sampled_from([None, 8443]),
        path=st.sampled_from([None, "/moved"]),
    ),
    st.builds(DirectResponse, st.sampled_from([200, 404, 503]), st.sampled_from(["", "said here"])),
)
faults = st.one_of(
    st.none(), st.none(), st.none(), st.builds(Fault, abort=st.builds(FaultAbort, st.sampled_from([418, 503])))
)
operations = st.one_of(
    st.builds(Clause, st.just("request.method"), st.just((Exact("GET"),))),
    st.builds(Clause, st.just("request.path"), st.builds(lambda path: (Prefix(path),), paths)),
    st.builds(Clause, st.just("request.host"), st.just((Exact("a.test"),))),
    st.builds(Clause, st.just("destination.port"), st.just((Exact("80"),))),
)
sources = st.one_of(
    st.builds(Clause, st.just("source.principal"), st.just((Exact("cluster.local/ns/default/sa/friend"),))),
    st.builds(Clause, st.just("source.namespace"), st.just(()), st.just((Exact("elsewhere"),))),
    st.builds(Clause, st.just("source.ip"), st.just((Exact("127.0.0.0/8"),))),
)
conditions = st.one_of(
    tokens.asked,
    sources,
    operations,
    st.builds(Clause, st.just("request.headers[x-one]"), st.builds(lambda one: (one,), texts)),
)
rules = st.builds(
    Rule,
    st.just(SOURCE),
    st.lists(st.builds(lambda one: (one,), sources), max_size=1).map(tuple),
    st.lists(st.builds(lambda one: (one,), operations), max_size=2).map(tuple),
    st.lists(conditions, max_size=1).map(tuple),
)
policies = st.builds(
    AuthorizationPolicy, st.just(SOURCE), st.sampled_from(Action), st.lists(rules, max_size=2).map(tuple)
)
keys = st.sampled_from(
    [(), (LimitKey("header", "x-one"),), (LimitKey("method"),), (LimitKey("path"),), (LimitKey("identity"),)]
)
limits = st.builds(
    RateLimit,
    st.just(SOURCE),
    st.integers(2, 6),
    st.just(HOUR_MS),
    st.integers(2, 6),
    st.one_of(
        st.just(RouteMatch()), st.just(RouteMatch(method=Exact("GET"))), st.just(RouteMatch(path=PathPrefix("/a")))
    ),
    by=keys,
    status=st.sampled_from([429, 429, 503]),
    headers=st.booleans(),
)
chosen_headers = st.builds(
    ProxyHeaders,
    trusted_hops=st.integers(0, 2),
    certificate=st.sampled_from(["", *CERTIFICATE_MODES]),
    shows=st.one_of(st.none(), st.lists(st.sampled_from(CERTIFICATE_PARTS), unique=True).map(tuple)),
    request_ids=st.booleans(),
    attempts=st.booleans(),
    internal=st.booleans(),
    server=st.sampled_from([None, "", "mine"]),
)
hosts = st.lists(
    st.sampled_from(["a.test", "b.test", "*.test", "*.deep.test", "*"]), min_size=1, max_size=4, unique=True
)


@st.composite
def clusters(draw: st.DrawFn, name: str, protocols: Sequence[str]) -> Section:
    """One that has an endpoint, or one of several endpoints that hashes, watches them or prefers near ones."""
    weights = draw(st.lists(st.sampled_from([1, 1, 2, 5]), min_size=2, max_size=4))
    places = [draw(st.sampled_from(["", "r1/z1", "r2/z1"])) for _ in weights]
    found = [
        Endpoint(f"10.0.0.{n}", 80, weight=w, locality=p) for n, (w, p) in enumerate(zip(weights, places, strict=True))
    ]
    on, what = draw(st.sampled_from([("header", KEY), ("header", "x-one"), ("query", "q")]))
    hashing = ConsistentHash(on, what, table_size=1009)
    hashed = {"balance": draw(st.sampled_from(["ring_hash", "maglev"])), "hashing": hashing}
    kinds: list[dict[str, object]] = [
        hashed,
        hashed,
        hashed,
        {},
        {"balance": "round_robin", "warmup": Warmup(1_000), "outlier": OutlierDetection(consecutive_5xx=1_000)},
        {"locality": LocalityLoad(fails_over=True), "outlier": OutlierDetection(consecutive_5xx=1_000)},
        {"locality": LocalityLoad(fails_over=True, zone_minimum=1), "balance": "round_robin"},
        {"utilization": Utilization(update_ms=100), "balance": "round_robin"},
        {"limits": PoolLimits(max_retries=3, max_duration_ms=60_000, keep_alive=KeepAlive(3, 60, 10))},
        {"limits": PoolLimits(retry_budget=RetryBudget(500_000, 5))},
    ]
    fields = {"protocol": draw(st.sampled_from(protocols)), **draw(st.sampled_from(kinds))}
    return msgspec.structs.replace(cluster(name, **fields), endpoints=StaticEndpoints(tuple(found)))


@st.composite
def meshes(draw: st.DrawFn) -> list[Section]:
    """One gateway's sections: a plain chain at the edge, a mesh chain inside, one table, policies."""
    # WebSockets are compared where all clusters speak HTTP/1, limits where one chain alone counts (docs/reference/envoy-differences.md).
    protocols = draw(st.sampled_from([("http1",), ("http1", "http1", "http2", "same")]))
    limited = draw(st.sampled_from(["", "", "http", "mtls"]))
    sections: list[Section] = [draw(clusters(name, protocols)) for name in CLUSTERS]
    token_rules = draw(tokens.rules())
    asked = st.one_of(matches, claiming) if token_rules else matches
    headers = draw(st.one_of(st.just(USUAL), chosen_headers))
    sections.append(Proxy(WORKLOAD, "cluster.local", headers=headers))
    for domain in draw(hosts):
        routes = tuple(
            Route(
                source=SourceRef("Test", "default", f"r{number}"),
                match=draw(asked),
                action=(action := draw(actions)),
                name=f"r{number}",
                request_headers=draw(edits),
                response_headers=draw(edits),
                fault=draw(faults) if _plain(action) else None,
                timeout_ms=draw(st.sampled_from([0, 0, 5000])),
                retry=draw(st.sampled_from([None, Retry(base_backoff_ms=1, max_backoff_ms=2)])),
                cors=draw(cors),
                limits=_named(draw(st.lists(limits, max_size=2)), f"{domain}-{number}") if limited else (),
            )
            for number in range(draw(st.integers(1, 6)))
        )
        sections.append(VirtualHost("80", domain, (domain,), SOURCE, 1, draw(edits), draw(edits)))
        sections.append(RouteBlock("80", domain, 0, routes))
    sections.append(RouteTable("80", SOURCE, unmatched=draw(st.sampled_from(["", "BlackHoleCluster"]))))
    sections.append(PolicySet("policies", _told_apart(draw(st.lists(policies, max_size=2)))))
    takes = "tokens" if token_rules else ""
    if token_rules:
        sections.append(TokenSet("tokens", token_rules))
    plain = FilterChain("http", SOURCE, HttpChain("80", "policies", edge=True, tokens=takes))
    spoken = draw(st.sampled_from([MeshTls(), MeshTls("TLSv1_3"), MeshTls(ciphers=("ECDHE-ECDSA-AES256-GCM-SHA384",))]))
    inside = FilterChain("mtls", SOURCE, HttpChain("80", "policies", tokens=takes), tls=spoken)
    direction = draw(st.sampled_from(["gateway", "inbound"]))
    chains = tuple(chain for chain in (plain, inside) if limited in ("", chain.name))
    sections.append(Listener("http", SOURCE, direction, GatewayPort(80), "http", chains))
    named = st.lists(st.sampled_from(["a.test", "*.test", "*.deep.test"]), unique=True, max_size=3)
    passing = tuple(
        FilterChain(name, SOURCE, _bytes_to(draw(st.sampled_from(("", *CLUSTERS)))), (name,), passthrough=True)
        for name in draw(named)
    )
    if passing:
        sections.append(Listener("tls", SOURCE, "gateway", GatewayPort(443), "tcp", passing))
    raw = FilterChain("raw", SOURCE, _bytes_to(draw(st.sampled_from(CLUSTERS))))
    sections.append(Listener("tcp", SOURCE, "gateway", GatewayPort(9000), "tcp", (raw,)))
    return sections


def _bytes_to(name: str) -> TcpChain:
    return TcpChain((Destination(name),) if name else (), SOURCE)


def _named(drawn: list[RateLimit], name: str) -> tuple[RateLimit, ...]:
    """Limits of one route, each a limit of its own."""
    return tuple(
        msgspec.structs.replace(one, source=SourceRef("RateLimit", "default", f"{name}-{number}"))
        for number, one in enumerate(drawn)
    )


def _told_apart(drawn: list[AuthorizationPolicy]) -> tuple[AuthorizationPolicy, ...]:
    """Policies of which each rule has a name of its own in logs."""
    found = []
    for policy, one in enumerate(drawn):
        source = SourceRef("AuthorizationPolicy", "default", f"policy-{policy}")
        numbered = tuple(
            msgspec.structs.replace(rule, source=msgspec.structs.replace(source, path=f"spec.rules[{number}]"))
            for number, rule in enumerate(one.rules)
        )
        found.append(msgspec.structs.replace(one, source=source, rules=numbered))
    return tuple(found)


def _plain(action: RouteAction) -> bool:
    """Whether a route may have a fault: not one that answers itself, and Envoy puts a destination's headers on an abort, too."""
    return isinstance(action, Forward) and all(one.response_headers == NO_EDITS for one in action.destinations)


def generated(seed: int, count: int) -> list[PreparedSlice]:
    """So many meshes; the same seed draws the same."""
    found: list[list[Section]] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(meshes())
    def gather(sections: list[Section]) -> None:
        found.append(sections)

    gather()
    return [prepared_of(*sections) for sections in found]
