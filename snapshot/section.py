"""The sections of a slice: what the compiler's link writes and a proxy's prepare reads.

Every type here is behaviour: frozen, compared by value, without positions, commit or time. A section is the unit of digest, of
transfer and of reuse across generations, so each is small: a virtual host keeps its routes in blocks (``RouteBlock``) of at most
``ROUTES_PER_BLOCK``, because decoding holds the interpreter and prepare may not pause the lane for over 2 ms.

Names: a cluster is called as Istio calls it, ``outbound|9080|v1|reviews.shop.svc.cluster.local`` or ``inbound|9080||``.
"""

from __future__ import annotations

import msgspec

from policies.authorization import AuthorizationPolicy
from policies.balancing import KeepAlive, LocalityLoad, OutlierDetection, RetryBudget, Utilization, Warmup
from policies.limits import RateLimit
from policies.match import RouteMatch
from policies.probe import Probe
from policies.proxy_headers import USUAL, ProxyHeaders
from policies.source import SourceRef
from policies.tokens import TokenRule
from policies.traffic import NO_EDITS, Cors, Destination, Fault, HeaderEdits, Retry, RouteAction, Tunnel

ROUTES_PER_BLOCK = 64


# --- where a listener binds; the bootstrap (live data, one machine's) turns each into an address -----------------------------


class WorkloadPort(msgspec.Struct, frozen=True, tag="workload"):
    """Inbound: the workload's mesh address and this (target) port. The application behind it is the cluster ``inbound|port||``."""

    port: int


class GatewayPort(msgspec.Struct, frozen=True, tag="gateway", omit_defaults=True):
    """A gateway's port on the gateway's own address, or on ``address``, for connections or for ``datagrams``. The bootstrap may map the number
    (80 -> 8080)."""

    port: int
    datagrams: bool = False
    address: str = ""


class ServicePort(msgspec.Struct, frozen=True, tag="service"):
    """Outbound, listener per service: bound only where the bootstrap gives this host and port an address."""

    host: str
    port: int


class ProxyPort(msgspec.Struct, frozen=True, tag="proxy"):
    """Outbound, the explicit HTTP proxy (absolute-form and CONNECT): the bootstrap's outbound address, port 15001 unless it says otherwise."""


class AddressPort(msgspec.Struct, frozen=True, tag="address"):
    """A Sidecar's own listener: an IP address and port of this machine, unless the bootstrap moves it. An empty address is the application's,
    where only the application itself finds it."""

    address: str
    port: int


class UnixSocket(msgspec.Struct, frozen=True, tag="unix"):
    """A Sidecar's own listener: a Unix socket, by its path; ``@name`` is one without a file."""

    path: str


class UndeclaredPort(msgspec.Struct, frozen=True, tag="undeclared", omit_defaults=True):
    """Inbound: a port of the workload that no service declares; 0 is every one of which nothing else is said. Nobody comes here but by the
    kernel's redirection."""

    port: int = 0


Bind = WorkloadPort | GatewayPort | ServicePort | ProxyPort | AddressPort | UnixSocket | UndeclaredPort


# --- listeners ---------------------------------------------------------------------------------------------------------------


class MeshTls(msgspec.Struct, frozen=True, tag="mesh", omit_defaults=True):
    """Mutual TLS with the workload's own SVID; the client must show an SVID of a trusted domain.

    Chosen by the ClientHello's ALPN (``istio``, ``istio-peer-exchange``, ``istio-http/1.1``, ``istio-h2``) on permissive ports. Versions and
    ciphers are as in ServerTls.
    """

    min_version: str = "TLSv1_2"
    ciphers: tuple[str, ...] = ()


class ServerTls(msgspec.Struct, frozen=True, tag="server", omit_defaults=True):
    """TLS with a certificate of the operator's. ``credentials`` names slots, tried in order by key type; never key material.

    ``client`` is ``none`` (SIMPLE), ``optional`` or ``require`` (MUTUAL); the client CA is the ``ca`` part of ``client_ca`` or of the first slot.
    Versions are ``TLSv1_2`` and ``TLSv1_3``; empty ``ciphers`` (of TLS 1.2) and ``curves`` (as Envoy calls them) mean the library's
    defaults. A certificate that a client shows must bear one of ``names``, and have one of ``hashes``
    (sha256 of it, in hex) or of ``keys`` (sha256 of its public key, base64), where any are listed.
    """

    credentials: tuple[str, ...]
    client: str = "none"
    client_ca: str = ""
    min_version: str = "TLSv1_2"
    max_version: str = "TLSv1_3"
    ciphers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()


DownstreamTls = MeshTls | ServerTls


class HttpChain(msgspec.Struct, frozen=True, tag="http", omit_defaults=True):
    """HTTP on a chain. ``routes`` names a RouteTable, ``policies`` a PolicySet, ``tokens`` a TokenSet ("" for none).

    ``edge`` says that downstream is outside the mesh: forwarding headers and x-envoy-*, x-forwarded-client-cert are not trusted.
    ``https_redirect`` answers every request 301 to https (Istio Gateway ``tls.httpsRedirect``).
    ``proxy`` says that absolute-form and CONNECT requests name the destination, so the route table is chosen per request by the target's
    port, from the tables of the same ``group`` as ``routes``.
    ``host`` is the domain of the virtual host that takes requests whose authority no virtual host claims by name: what a listener per
    service needs, where the application calls the listener's own address.
    """

    routes: str
    policies: str = ""
    edge: bool = False
    https_redirect: bool = False
    proxy: bool = False
    host: str = ""
    tokens: str = ""


class TcpChain(msgspec.Struct, frozen=True, tag="tcp", omit_defaults=True):
    """Bytes through, to one of ``destinations`` by weight; none means close at once (flag NR)."""

    destinations: tuple[Destination, ...]
    source: SourceRef
    policies: str = ""


MAX_SESSIONS = 4096
"""Of UDP, where nothing says another number."""


class UdpChain(msgspec.Struct, frozen=True, tag="udp", omit_defaults=True):
    """Datagrams to one of ``destinations`` by weight, and what comes back; none drops them (flag NR).

    A session is one client's datagrams to one endpoint. It ends after ``idle_ms`` without one, unless its cluster says another time
    (``PoolLimits.tcp_idle_ms``). Of more than ``max_sessions`` per listener and worker the one that was silent longest ends.
    """

    destinations: tuple[Destination, ...]
    source: SourceRef
    policies: str = ""
    idle_ms: int = 60_000
    max_sessions: int = MAX_SESSIONS


class FilterChain(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way in. A connection takes the chain that fits best: exact server name, then longest wildcard (``*.example.com``), then no
    name; TLS chains only fit a ClientHello, plain chains only what is not one. ``passthrough`` chains match on SNI without terminating.

    ``from_mesh`` chains take nobody but who speaks the mesh's own protocols (ALPN). No fitting chain closes the connection (that is how STRICT
    refuses plain text).
    """

    name: str
    source: SourceRef
    network: HttpChain | TcpChain | UdpChain
    server_names: tuple[str, ...] = ()
    tls: DownstreamTls | None = None
    passthrough: bool = False
    from_mesh: bool = False


class Listener(msgspec.Struct, frozen=True, tag="listener", tag_field="section", omit_defaults=True):
    """An address that accepts. ``direction`` is ``inbound`` (from the mesh to this workload), ``outbound`` or ``gateway``.

    ``protocol`` is ``http``, ``tcp``, ``auto`` (sniffed when plain; then ``chains`` holds an HTTP and a TCP chain) or ``udp``, which has one chain
    and a socket for datagrams.
    ``proxy_protocol`` says that every connection begins with a header of the PROXY protocol, which names its two ends.
    ``addresses`` are those of the service that a listener per service is for, IP addresses and blocks: who intercepts finds it by them.
    """

    name: str
    source: SourceRef
    direction: str
    bind: Bind
    protocol: str
    chains: tuple[FilterChain, ...]
    proxy_protocol: bool = False
    addresses: tuple[str, ...] = ()


# --- routes ------------------------------------------------------------------------------------------------------------------


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """One match and what it does. Position in the virtual host is precedence: the compiler has sorted, first match wins.

    ``rule`` names the rule that several routes of one ``match[]`` list come from (the access log's ROUTE_NAME is ``name``).
    ``timeout_ms`` 0 means no limit. ``edits`` run route level after destination level (Envoy: route wins over destination on set).
    """

    source: SourceRef
    match: RouteMatch
    action: RouteAction
    name: str = ""
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS
    fault: Fault | None = None
    timeout_ms: int = 0
    retry: Retry | None = None
    cors: Cors | None = None
    limits: tuple[RateLimit, ...] = ()


class VirtualHost(msgspec.Struct, frozen=True, tag="virtual_host", tag_field="section", omit_defaults=True):
    """A set of host names in one route table. ``domains`` are exact (``a.b``, or ``a.b:80``), ``*.suffix`` or ``*``, lower-case.

    ``blocks`` is how many RouteBlock sections (ordinals 0..blocks-1) hold its routes. ``request_headers`` run last, at virtual host level.
    """

    table: str
    name: str
    domains: tuple[str, ...]
    source: SourceRef
    blocks: int = 1
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS


class RouteBlock(msgspec.Struct, frozen=True, tag="routes", tag_field="section"):
    """At most ROUTES_PER_BLOCK consecutive routes of one virtual host."""

    table: str
    virtual_host: str
    ordinal: int
    routes: tuple[Route, ...]


class RouteTable(msgspec.Struct, frozen=True, tag="table", tag_field="section", omit_defaults=True):
    """The virtual hosts of one port. ``unmatched`` is the cluster for hosts that none claims: "" answers 404 (flag NR),
    ``PassthroughCluster`` forwards to where the request was going, ``BlackHoleCluster`` answers 502.

    ``port`` is the outbound service port (0 for inbound and gateways): an explicit-proxy request for that port uses this table. ``group``
    keeps the tables of a Sidecar's own proxy listener apart from those of the explicit proxy, whose group has no name.
    """

    name: str
    source: SourceRef
    port: int = 0
    unmatched: str = ""
    group: str = ""


# --- clusters ----------------------------------------------------------------------------------------------------------------


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """One upstream address, or a Unix socket's path with port 0. ``identity`` is the SPIFFE ID that the endpoint registered with ("" when not
    known beforehand); ``mesh`` says that it speaks mesh mutual TLS. ``labels`` select subsets and fill metric labels. A ``weight`` of 0 takes
    no traffic. ``others`` are further addresses of the same host, for when the first does not answer."""

    address: str
    port: int
    weight: int = 1
    mesh: bool = False
    identity: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    locality: str = ""
    workload: str = ""
    namespace: str = ""
    others: tuple[str, ...] = ()


class StaticEndpoints(msgspec.Struct, frozen=True, tag="static"):
    """Addresses that stand in Git (ServiceEntry STATIC, Pods with an address)."""

    endpoints: tuple[Endpoint, ...]


class DnsEndpoints(msgspec.Struct, frozen=True, tag="dns", omit_defaults=True):
    """Names that the proxy's supervisor resolves: each (host, port) is one name; all its addresses are endpoints.

    With ``logical`` a name is one endpoint, whatever it resolves to: new connections go to the address that DNS gives first now, and to
    its others where that one does not answer.
    """

    names: tuple[tuple[str, int], ...]
    logical: bool = False


class RegisteredEndpoints(msgspec.Struct, frozen=True, tag="registered", omit_defaults=True):
    """A slot for workloads that register with the control plane: those of ``namespace`` whose labels include ``labels``.

    ``port`` is the target port's number, or ``port_name`` its name in the workload. ``static`` are known beforehand and always included.
    """

    namespace: str
    labels: tuple[tuple[str, str], ...]
    port: int = 0
    port_name: str = ""
    static: tuple[Endpoint, ...] = ()


class ApplicationEndpoint(msgspec.Struct, frozen=True, tag="application", omit_defaults=True):
    """The application behind this sidecar: the bootstrap says at which address it listens (default 127.0.0.1), on this port; but a
    connection that the kernel redirected goes on to the address that the client meant (Istio since 1.10).

    ``exposed`` says that it listens on the workload's own address instead, ``loopback`` that it listens where the bootstrap says, however the
    connection came; ``path`` is a Unix socket and stands for all of that.
    """

    port: int
    exposed: bool = False
    path: str = ""
    loopback: bool = False


class OriginalDestination(msgspec.Struct, frozen=True, tag="original", omit_defaults=True):
    """Where the connection, or the explicit-proxy request, was going. The clusters PassthroughCluster and InboundPassthroughCluster.

    ``inbound`` says that this is the application beside the proxy: it is called from an address that no rule redirects (127.0.0.6, Istio's).
    """

    inbound: bool = False


EndpointSource = StaticEndpoints | DnsEndpoints | RegisteredEndpoints | ApplicationEndpoint | OriginalDestination


class MeshUpstream(msgspec.Struct, frozen=True, tag="mesh", omit_defaults=True):
    """Mutual TLS with our SVID (ISTIO_MUTUAL). ``identities`` are the SPIFFE IDs that an upstream may bear (secure naming): its
    certificate must bear one of them, and none listed accepts none. ``auto`` uses it only towards endpoints with ``mesh`` (auto mTLS)."""

    identities: tuple[str, ...]
    server_name: str
    auto: bool = False
    min_version: str = "TLSv1_2"
    ciphers: tuple[str, ...] = ()


class TlsUpstream(msgspec.Struct, frozen=True, tag="tls", omit_defaults=True):
    """TLS origination (SIMPLE, MUTUAL). The certificate must chain to ``ca`` (a slot; "" is the system's roots) and bear one of ``names``
    (DNS, IP or URI; empty means ``server_name``). An unresolved slot refuses to connect, never falls back to plain text."""

    server_name: str
    names: tuple[str, ...] = ()
    ca: str = ""
    credential: str = ""
    skip_verify: bool = False
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()


UpstreamTls = MeshUpstream | TlsUpstream


class PoolLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    """Connection pool limits per cluster and proxy, with Istio's defaults (semantics.md section 6). 0 means no limit.

    ``tcp_idle_ms`` is for connections that carry bytes as they come; 0 leaves it to the proxy's deadlines. ``max_duration_ms`` is how long
    a connection may live, ``max_streams`` how many requests it carries at once; ``ping_ms`` is how often an HTTP/2 connection is asked
    whether it is alive, and ``ping_timeout_ms`` how long it has to answer.
    """

    max_connections: int = 0
    max_pending_requests: int = 0
    max_requests: int = 0
    max_requests_per_connection: int = 0
    connect_timeout_ms: int = 10_000
    idle_timeout_ms: int = 3_600_000
    tcp_idle_ms: int = 0
    max_retries: int = 0
    max_duration_ms: int = 0
    max_streams: int = 0
    ping_ms: int = 0
    ping_timeout_ms: int = 0
    keep_alive: KeepAlive | None = None
    retry_budget: RetryBudget | None = None


class ServiceName(msgspec.Struct, frozen=True, array_like=True):
    """What the metric labels say of a destination: host, short name, namespace."""

    host: str
    name: str
    namespace: str


class ConsistentHash(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of a request decides its endpoint: ``on`` is ``header``, ``cookie``, ``query`` or ``source_ip``, ``name`` names it (a header in
    lower case). A cookie that is absent is generated where ``ttl_ms`` is not None; 0 makes it last for the session. ``table_size`` is
    Maglev's, a prime number."""

    on: str
    name: str = ""
    path: str = ""
    ttl_ms: int | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    minimum_ring_size: int = 1024
    table_size: int = 65_537


class Cluster(msgspec.Struct, frozen=True, tag="cluster", tag_field="section", omit_defaults=True):
    """A set of equal endpoints and how to reach them.

    ``protocol`` is ``http1``, ``http2``, ``tcp`` or ``udp``; ``same`` uses the downstream's. ``balance`` is ``least_request``, ``round_robin``,
    ``random``, or ``ring_hash`` or ``maglev`` with ``hashing``. ``sources`` are the resources that shaped it (Service, DestinationRule).
    ``tunnel`` is how connections that carry bytes as they come go on from the endpoints. ``proxy_protocol`` (``v1``, ``v2``) makes each
    connection begin by naming the client that it is for. With ``holds`` the last endpoints
    stay when all have gone. ``mesh_only`` leaves out endpoints that do not speak mesh mutual TLS.
    """

    name: str
    service: ServiceName
    endpoints: EndpointSource
    sources: tuple[SourceRef, ...]
    port: int = 0
    subset: str = ""
    protocol: str = "http1"
    balance: str = "least_request"
    tls: UpstreamTls | None = None
    limits: PoolLimits = PoolLimits()
    hashing: ConsistentHash | None = None
    outlier: OutlierDetection | None = None
    locality: LocalityLoad | None = None
    warmup: Warmup | None = None
    utilization: Utilization | None = None
    tunnel: Tunnel | None = None
    proxy_protocol: str = ""
    holds: bool = False
    mesh_only: bool = False


# --- names ---------------------------------------------------------------------------------------------------------------------


class Name(msgspec.Struct, frozen=True, omit_defaults=True):
    """A host as applications ask DNS for it. ``names`` are all that it is called by, in lower case, its own first (``*.suffix`` for any below).

    The answer is ``addresses``; or the addresses of the endpoints that ``cluster`` has now (headless); or whatever ``alias`` is (CNAME).
    """

    names: tuple[str, ...]
    source: SourceRef
    addresses: tuple[str, ...] = ()
    cluster: str = ""
    alias: str = ""


class NameTable(msgspec.Struct, frozen=True, tag="names", tag_field="section"):
    """What a proxy's DNS server answers by itself: some of the hosts that a namespace declares, sorted. ``name`` is ``namespace/number``."""

    name: str
    entries: tuple[Name, ...]


# --- policies and the proxy's own settings -----------------------------------------------------------------------------------


class PolicySet(msgspec.Struct, frozen=True, tag="policies", tag_field="section"):
    """The authorization policies that hold for one chain, DENY and ALLOW together."""

    name: str
    policies: tuple[AuthorizationPolicy, ...]


class TokenSet(msgspec.Struct, frozen=True, tag="tokens", tag_field="section"):
    """Whose tokens are taken on one chain, by issuer; a token that no rule takes is refused, and a request without one passes without identity."""

    name: str
    rules: tuple[TokenRule, ...]


class AccessLog(msgspec.Struct, frozen=True, omit_defaults=True):
    """MeshConfig's accessLogFile ("" is off, ``/dev/stdout`` the standard output) and accessLogEncoding (TEXT, JSON)."""

    path: str = ""
    encoding: str = "TEXT"


class Deadlines(msgspec.Struct, frozen=True, omit_defaults=True):
    """What bounds every wait on a peer and every buffer (security.md). Times in milliseconds, sizes in bytes.

    ``sniff_ms`` is how long a client may be silent before a connection whose protocol is not declared is taken to be one on which the server
    speaks first; 0 waits as long as for a handshake. ``dns_refresh_ms`` is how often names are resolved again; the resolver's own cache keeps to
    their times to live.
    """

    head_ms: int = 10_000
    idle_ms: int = 3_600_000
    stream_idle_ms: int = 300_000
    tls_handshake_ms: int = 10_000
    sniff_ms: int = 1_000
    drain_ms: int = 30_000
    dns_refresh_ms: int = 5_000
    max_head_bytes: int = 32_768
    max_headers: int = 100
    max_streams: int = 100
    stream_window_bytes: int = 65_536
    connection_window_bytes: int = 1_048_576
    buffer_bytes: int = 262_144
    max_connections: int = 16_384


class Workload(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who this proxy is, for metric labels and identity. ``identity`` is the SPIFFE ID that its SVID must bear."""

    name: str
    namespace: str
    identity: str
    service_account: str = "default"
    app: str = "unknown"
    version: str = "unknown"
    canonical_name: str = "unknown"
    canonical_revision: str = "latest"
    cluster: str = "Kubernetes"


class CredentialSlot(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key and certificate that live data must fill: ``name`` is ``namespace/secret``; ``names`` are the hosts it is expected to cover."""

    name: str
    names: tuple[str, ...] = ()


class Scrape(msgspec.Struct, frozen=True):
    """Where the application behind a sidecar shows its metrics (Prometheus)."""

    port: int
    path: str = "/metrics"


class Proxy(msgspec.Struct, frozen=True, tag="proxy", tag_field="section", omit_defaults=True):
    """The one section about the proxy itself. ``on_policy_change`` is ``keep``, ``revalidate`` or ``close`` (runtime/policy_change.py).
    ``probe`` is how the proxy finds out that its application may be sent requests; without one it may be as soon as the proxy is ready.
    ``serves_dns`` says that it answers the DNS queries of its application: by its NameTables, everything else by asking on."""

    workload: Workload
    trust_domain: str
    trust_domain_aliases: tuple[str, ...] = ()
    access_log: AccessLog = AccessLog()
    deadlines: Deadlines = Deadlines()
    credentials: tuple[CredentialSlot, ...] = ()
    path_normalization: str = "BASE"
    on_policy_change: str = "revalidate"
    headers: ProxyHeaders = USUAL
    scrape: Scrape | None = None
    probe: Probe | None = None
    serves_dns: bool = False


Section = Proxy | Listener | RouteTable | VirtualHost | RouteBlock | Cluster | PolicySet | TokenSet | NameTable


def section_key(section: Section) -> tuple[str, str]:
    """The kind and the name by which a slice's index lists a section; unique within a slice."""
    kind = str(type(section).__struct_config__.tag)
    match section:
        case Proxy():
            return kind, "proxy"
        case VirtualHost(table, name):
            return kind, f"{table}/{name}"
        case RouteBlock(table, host, ordinal):
            return kind, f"{table}/{host}/{ordinal}"
        case _:
            return kind, section.name
