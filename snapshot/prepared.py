"""A slice made ready to decide: sections decoded, matchers compiled, hosts and paths indexed.

Made in small steps (``prepare_steps``) so that a proxy can serve between them, and from the previous one: a section whose behaviour
digest did not change is neither decoded nor compiled again, and what was built from unchanged sections alone is shared as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

import msgspec

from policies.attributes import claim_values
from policies.authorizing import PreparedPolicies, prepare_policies
from policies.head import RequestHead, TokenIdentity
from policies.match import ClaimMatch, PathPrefix
from policies.matching import PatternError, header_test, string_test
from policies.source import Position, SourceRef
from policies.tokens import TokenRule
from policies.traffic import NO_EDITS, Destination, Forward, HeaderEdits
from snapshot.decision import Decision
from snapshot.encode import FormatError, decode, decode_section
from snapshot.index import ProvenanceRow, Slice
from snapshot.jwt import Jwt
from snapshot.limiting import PreparedLimit, prepare_limits
from snapshot.paths import PathIndex
from snapshot.query import query_test
from snapshot.section import (
    ROUTES_PER_BLOCK,
    Cluster,
    FilterChain,
    HttpChain,
    Listener,
    PolicySet,
    Proxy,
    Route,
    RouteBlock,
    RouteTable,
    Section,
    TokenSet,
    VirtualHost,
    section_key,
)

HeadTest = Callable[[RequestHead], bool]
ClaimTest = Callable[[TokenIdentity | None], bool]
SectionKey = tuple[str, str]

NOT_SERVED = frozenset({"names"})
"""Kinds of sections that the data plane has nothing to do with: they cost it neither time nor memory."""


class PrepareError(Exception):
    """A slice that cannot run: ``reason`` is closed (``reference``, ``pattern``, ``proxy``), ``source`` the resource at fault where known."""

    def __init__(self, reason: str, message: str, source: SourceRef | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.source = source


class SignatureCheck(Protocol):
    """Keys that check signatures: ``snapshot.key_set.KeySet``."""

    def require_signed(self, jwt: Jwt) -> None:
        """Raises JwtError unless one of the keys has signed a token."""

    def written(self) -> str:
        """The keys as a JWK set."""


class PreparedTokenRule(msgspec.Struct, frozen=True):
    """One token rule. ``keys`` are None where live data fills the rule's slot."""

    rule: TokenRule
    keys: SignatureCheck | None


class PreparedRoute(msgspec.Struct, frozen=True, gc=False):
    """One route: its residual tests (everything but the path) and, where nothing of the request enters it, its finished Decision.

    ``origins`` are those that its CORS policy allows.
    """

    route: Route
    tests: tuple[HeadTest, ...]
    reads_more: bool
    decision: Decision | None
    origins: tuple[Callable[[str], bool], ...] = ()
    limits: tuple[PreparedLimit, ...] = ()
    claims: tuple[ClaimTest, ...] = ()


class PreparedVirtualHost(msgspec.Struct, frozen=True):
    """One virtual host: routes by rank, and the path index over them. ``blocks`` are the digests that it was built from."""

    section: VirtualHost
    digests: tuple[str, ...]
    routes: dict[int, PreparedRoute]
    paths: PathIndex


class PreparedTable(msgspec.Struct, frozen=True):
    """One route table's hosts: exact names, suffixes (``.b.c`` for ``*.b.c``) by length, longest first, and the ``*`` host."""

    section: RouteTable
    exact: dict[str, PreparedVirtualHost]
    suffixes: dict[str, PreparedVirtualHost]
    suffix_lengths: tuple[int, ...]
    fallback: PreparedVirtualHost | None

    def find(self, head: RequestHead) -> PreparedVirtualHost | None:
        """The virtual host of a request: exact authority, exact host, longest wildcard, ``*`` (Istio's and Envoy's order)."""
        host = head.host
        found = self.exact.get(head.authority) or self.exact.get(host)
        if found is not None:
            return found
        for length in self.suffix_lengths:
            if len(host) > length:
                found = self.suffixes.get(host[-length:])
                if found is not None:
                    return found
        return self.fallback


class PreparedChain(msgspec.Struct, frozen=True):
    """A filter chain with what it refers to. ``table`` is None on TCP chains; at an explicit proxy a table of its group for the request's own
    port goes before it. ``claim_headers`` are those that only the token rules may set."""

    listener: Listener
    chain: FilterChain
    table: PreparedTable | None
    policies: PreparedPolicies | None
    edge: bool
    tokens: tuple[PreparedTokenRule, ...] = ()
    claim_headers: frozenset[bytes] = frozenset()


class PreparedSlice(msgspec.Struct, frozen=True):
    """Everything that decide reads. ``tables_by_port`` are those of the explicit proxy, ``grouped`` those of a Sidecar's
    own. ``digests`` are the behaviour digests by (kind, name), for swap to compare."""

    snapshot: str
    behaviour: str
    proxy: Proxy
    listeners: dict[str, Listener]
    chains: dict[tuple[str, str], PreparedChain]
    tables: dict[str, PreparedTable]
    tables_by_port: dict[int, PreparedTable]
    clusters: dict[str, Cluster]
    digests: dict[SectionKey, str]
    sections: dict[SectionKey, Section]
    hosts: dict[SectionKey, PreparedVirtualHost]
    policies: dict[tuple[str, bool], PreparedPolicies]
    provenance: dict[SectionKey, bytes]
    grouped: dict[str, dict[int, PreparedTable]] = {}
    tokens: dict[str, tuple[PreparedTokenRule, ...]] = {}

    def tables_of(self, group: str) -> dict[int, PreparedTable]:
        """The tables of a group by the port that a request names."""
        return self.grouped[group] if group else self.tables_by_port

    def position(self, source: SourceRef) -> Position | None:
        """Where a source stands in the mesh repository; the nearest enclosing part where the very part has no row."""
        rows = {
            row.source: row.position
            for raw in self.provenance.values()
            for row in decode(raw, tuple[ProvenanceRow, ...])
        }
        path = source.path
        while True:
            found = rows.get(msgspec.structs.replace(source, path=path))
            if found is not None or not path:
                return found
            path = path[: max(path.rfind("."), path.rfind("["), 0)]


def prepare_steps(slice_: Slice, previous: PreparedSlice | None = None) -> Generator[None, None, PreparedSlice]:
    """Prepares a slice, yielding after every small piece of work; returns the PreparedSlice.

    Raises FormatError for bytes that are no sections, PrepareError for references and patterns that do not hold.
    """
    keys = {(ref.kind, ref.name): ref for ref in slice_.index.sections if ref.kind not in NOT_SERVED}
    digests = {key: ref.behaviour for key, ref in keys.items()}
    sections: dict[SectionKey, Section] = {}
    for key, digest in digests.items():
        if previous is not None and previous.digests.get(key) == digest:
            sections[key] = previous.sections[key]
            continue
        sections[key] = decode_section(slice_.blobs[digest])
        yield
    hosts: dict[SectionKey, PreparedVirtualHost] = {}
    for key, section in sections.items():
        if isinstance(section, VirtualHost):
            hosts[key] = yield from _virtual_host(key, section, sections, digests, previous)
    yield
    tables = {section.name: _table(section, hosts) for section in sections.values() if isinstance(section, RouteTable)}
    yield
    policies = _policies(sections, digests, previous)
    yield
    tokens = _tokens(sections, digests, previous)
    yield
    listeners = {section.name: section for section in sections.values() if isinstance(section, Listener)}
    prepared = PreparedSlice(
        snapshot=slice_.snapshot,
        behaviour=slice_.entry.behaviour,
        proxy=_proxy(sections),
        listeners=listeners,
        chains={
            (listener.name, chain.name): prepare_chain(listener, chain, tables, policies, tokens)
            for listener in listeners.values()
            for chain in listener.chains
        },
        tables=tables,
        tables_by_port=_by_port(tables, ""),
        clusters={section.name: section for section in sections.values() if isinstance(section, Cluster)},
        digests=digests,
        sections=sections,
        hosts=hosts,
        policies=policies,
        tokens=tokens,
        grouped={group: _by_port(tables, group) for group in {one.section.group for one in tables.values()} if group},
        provenance={key: slice_.blobs[ref.provenance] for key, ref in keys.items() if ref.provenance},
    )
    yield
    yield from _references(prepared)
    return prepared


def prepare(slice_: Slice, previous: PreparedSlice | None = None) -> PreparedSlice:
    """Prepares a slice in one go: for compilers, tests and explanations, which may pause."""
    steps = prepare_steps(slice_, previous)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            prepared: PreparedSlice = done.value
            return prepared


def _proxy(sections: dict[SectionKey, Section]) -> Proxy:
    found = [section for section in sections.values() if isinstance(section, Proxy)]
    if len(found) != 1:
        raise PrepareError("proxy", f"a slice has exactly one proxy section, this one {len(found)}")
    return found[0]


def _virtual_host(
    key: SectionKey,
    section: VirtualHost,
    sections: dict[SectionKey, Section],
    digests: dict[SectionKey, str],
    previous: PreparedSlice | None,
) -> Generator[None, None, PreparedVirtualHost]:
    block_keys = [
        section_key(RouteBlock(section.table, section.name, ordinal, ())) for ordinal in range(section.blocks)
    ]
    try:
        pinned = (digests[key], *(digests[block] for block in block_keys))
    except KeyError as error:
        raise PrepareError("reference", f"virtual host {section.name} lacks {error.args[0]}", section.source) from None
    old = previous.hosts.get(key) if previous is not None else None
    if old is not None and old.digests == pinned:
        return old
    unchanged = old is not None and old.digests[0] == pinned[0]
    host = PreparedVirtualHost(section=section, digests=pinned, routes={}, paths=PathIndex())
    for ordinal, block_key in enumerate(block_keys):
        block = sections[block_key]
        if not isinstance(block, RouteBlock):
            raise FormatError("undecodable", f"section {block_key[1]} is not a block of routes")
        same = (
            old is not None
            and unchanged
            and ordinal + 1 < len(old.digests)
            and old.digests[ordinal + 1] == pinned[ordinal + 1]
        )
        for rank, route in enumerate(block.routes, ordinal * ROUTES_PER_BLOCK):
            try:
                host.routes[rank] = old.routes[rank] if same and old is not None else prepare_route(section, route)
                host.paths.add(route.match.path, rank)
            except PatternError as error:
                raise PrepareError("pattern", f"{route.source}: {error}", route.source) from None
        yield
    host.paths.seal()
    return host


def prepare_route(host: VirtualHost, route: Route) -> PreparedRoute:
    """Compiles one route of a virtual host; raises PatternError."""
    match = route.match
    tests: list[HeadTest] = []
    reads_more = bool(match.headers or match.query or match.scheme or route.cors or match.claims)
    if match.method is not None:
        tests.append(_on("method", string_test(match.method)))
    if match.scheme is not None:
        tests.append(_on("scheme", string_test(match.scheme)))
    if match.authority is not None:
        tests.append(_on("authority", string_test(match.authority)))
    for header in match.headers:
        test = header_test(header)
        tests.append(lambda head, test=test: test(head.headers))  # type: ignore[misc]
    tests.extend(query_test(parameter) for parameter in match.query)
    origins = tuple(string_test(origin) for origin in route.cors.origins) if route.cors else ()
    limits = prepare_limits(route.limits) if route.limits else ()
    claims = tuple(_claim_test(claim) for claim in match.claims)
    return PreparedRoute(route, tuple(tests), reads_more, _fixed(host, route, limits), origins, limits, claims)


def _claim_test(claim: ClaimMatch) -> ClaimTest:
    """The test of one claim; one that is absent fulfils an inverted match (Istio)."""
    test, path, invert = string_test(claim.match), claim.path, claim.invert
    return lambda token: any(map(test, claim_values(token, path))) is not invert


def _on(field: str, test: Callable[[str], bool]) -> HeadTest:
    if field == "method":
        return lambda head: test(head.method)
    if field == "scheme":
        return lambda head: test(head.scheme)
    return lambda head: test(head.authority)


def edits(*levels: HeaderEdits) -> tuple[HeaderEdits, ...]:
    """The levels that do something, in order."""
    return tuple(level for level in levels if level != NO_EDITS)


def _fixed(host: VirtualHost, route: Route, limits: tuple[PreparedLimit, ...]) -> Decision | None:
    """The Decision of a route that forwards the path as it is; None where the request's own path enters the Decision."""
    action = route.action
    if not isinstance(action, Forward):
        return None
    rewrite = action.rewrite
    if rewrite is not None and (rewrite.prefix is not None or rewrite.regex is not None):
        return None
    decision = forwarding(host, route, action, path=rewrite.path if rewrite else None)
    return msgspec.structs.replace(decision, limits=limits) if limits else decision


EVERY_PATH = PathPrefix("")


def changes_alone(destination: Destination) -> bool:
    """Whether a destination makes something of the path or the authority that others beside it do not."""
    return destination.rewrite is not None or destination.redirect is not None


def forwarding(host: VirtualHost, route: Route, action: Forward, *, path: str | None) -> Decision:
    """What a forwarding route decides, with the path that it forwards (None: as it came)."""
    return Decision(
        destinations=action.destinations,
        total_weight=sum(destination.weight for destination in action.destinations),
        path=path,
        authority=action.rewrite.authority if action.rewrite else None,
        request_edits=edits(route.request_headers, host.request_headers),
        response_edits=edits(route.response_headers, host.response_headers),
        fault=route.fault,
        timeout_ms=route.timeout_ms,
        retry=route.retry,
        route_name=route.name,
        virtual_host=host.name,
        sources=(route.source,),
        cacheable=True,
        mirrors=action.mirrors,
        matched=(route.match.path or EVERY_PATH) if any(map(changes_alone, action.destinations)) else None,
    )


def _by_port(tables: dict[str, PreparedTable], group: str) -> dict[int, PreparedTable]:
    """The tables of a group by the port that a request names."""
    return {
        table.section.port: table for table in tables.values() if table.section.port and table.section.group == group
    }


def _table(section: RouteTable, hosts: dict[SectionKey, PreparedVirtualHost]) -> PreparedTable:
    exact: dict[str, PreparedVirtualHost] = {}
    suffixes: dict[str, PreparedVirtualHost] = {}
    fallback: PreparedVirtualHost | None = None
    for host in hosts.values():
        if host.section.table != section.name:
            continue
        for domain in host.section.domains:
            if domain == "*":
                fallback = host
            elif domain.startswith("*"):
                suffixes[domain[1:]] = host
            else:
                exact[domain] = host
    lengths = tuple(sorted({len(suffix) for suffix in suffixes}, reverse=True))
    return PreparedTable(section=section, exact=exact, suffixes=suffixes, suffix_lengths=lengths, fallback=fallback)


def _policies(
    sections: dict[SectionKey, Section], digests: dict[SectionKey, str], previous: PreparedSlice | None
) -> dict[tuple[str, bool], PreparedPolicies]:
    prepared: dict[tuple[str, bool], PreparedPolicies] = {}
    for key, section in sections.items():
        if not isinstance(section, PolicySet):
            continue
        same = previous is not None and previous.digests.get(key) == digests[key]
        for http in (True, False):
            if same and previous is not None:
                prepared[section.name, http] = previous.policies[section.name, http]
                continue
            try:
                prepared[section.name, http] = prepare_policies(section.policies, http=http)
            except PatternError as error:
                raise PrepareError("pattern", f"policies {section.name}: {error}") from None
    return prepared


def _tokens(
    sections: dict[SectionKey, Section], digests: dict[SectionKey, str], previous: PreparedSlice | None
) -> dict[str, tuple[PreparedTokenRule, ...]]:
    prepared: dict[str, tuple[PreparedTokenRule, ...]] = {}
    for key, section in sections.items():
        if isinstance(section, TokenSet):
            same = previous is not None and previous.digests.get(key) == digests[key]
            kept = previous.tokens[section.name] if same and previous is not None else None
            prepared[section.name] = kept or tuple(map(_token_rule, section.rules))
    return prepared


def _token_rule(rule: TokenRule) -> PreparedTokenRule:
    """One rule with its own keys; a set that cannot be used leaves a slot that nothing fills, so nobody is believed."""
    if not rule.keys.jwks:
        return PreparedTokenRule(rule, None)
    # The library behind it costs four megabytes, and most proxies ask for no token.
    from snapshot.key_set import KeySetError, read_key_set

    try:
        return PreparedTokenRule(rule, read_key_set(rule.keys.jwks))
    except KeySetError:
        return PreparedTokenRule(rule, None)


def prepare_chain(
    listener: Listener,
    chain: FilterChain,
    tables: dict[str, PreparedTable],
    policies: dict[tuple[str, bool], PreparedPolicies],
    tokens: dict[str, tuple[PreparedTokenRule, ...]],
) -> PreparedChain:
    """A chain with what it refers to; raises PrepareError where the slice lacks that."""
    network = chain.network
    http = isinstance(network, HttpChain)
    named = network.policies
    if named and (named, http) not in policies:
        raise PrepareError(
            "reference", f"listener {listener.name} names policies {named!r}, which the slice lacks", chain.source
        )
    table = None
    if isinstance(network, HttpChain) and network.routes:
        table = tables.get(network.routes)
        if table is None:
            raise PrepareError(
                "reference",
                f"listener {listener.name} names routes {network.routes!r}, which the slice lacks",
                chain.source,
            )
    asked = network.tokens if isinstance(network, HttpChain) else ""
    if asked and asked not in tokens:
        raise PrepareError(
            "reference", f"listener {listener.name} names tokens {asked!r}, which the slice lacks", chain.source
        )
    rules = tokens[asked] if asked else ()
    return PreparedChain(
        listener=listener,
        chain=chain,
        table=table,
        policies=policies[named, http] if named else None,
        edge=isinstance(network, HttpChain) and network.edge,
        tokens=rules,
        claim_headers=frozenset(name for rule in rules for name in _claim_headers(rule.rule)),
    )


def _claim_headers(rule: TokenRule) -> list[bytes]:
    names = [rule.payload_header, *(one.header for one in rule.claim_headers)]
    return [name.encode() for name in names if name]


def _references(prepared: PreparedSlice) -> Generator[None, None, None]:
    """Every cluster that a route or a TCP chain names must be there: a slice that loads never answers for what it lacks."""
    clusters = prepared.clusters
    for host in prepared.hosts.values():
        for rank, route in host.routes.items():
            action = route.route.action
            if isinstance(action, Forward):
                named = [one.cluster for one in action.destinations] + [one.cluster for one in action.mirrors]
                for cluster in named:
                    if cluster and cluster not in clusters:
                        message = f"{route.route.source} names cluster {cluster!r}, which the slice lacks"
                        raise PrepareError("reference", message, route.route.source)
            if rank % ROUTES_PER_BLOCK == 0:
                yield
    for table in prepared.tables.values():
        if (
            table.section.unmatched
            and table.section.unmatched != "BlackHoleCluster"
            and table.section.unmatched not in clusters
        ):
            raise PrepareError(
                "reference",
                f"route table {table.section.name} names {table.section.unmatched!r}, which the slice lacks",
            )
    for chain in prepared.chains.values():
        if not isinstance(chain.chain.network, HttpChain):
            for destination in chain.chain.network.destinations:
                if destination.cluster and destination.cluster not in clusters:
                    raise PrepareError(
                        "reference", f"listener {chain.listener.name} names {destination.cluster!r}", chain.chain.source
                    )
