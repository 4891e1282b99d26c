"""From a listening socket to a machine: accept, look at the first bytes, choose the chain, shake hands, choose the protocol.

    Acceptor -> Opening (plain bytes: TLS or not, which chain) -> Opening (TLS done: who is there, which protocol) -> the machine

The chain that a connection took is kept as Accepted, which also says under which chain it goes on when the generation changes.
"""

from __future__ import annotations

import errno
import select
import socket
from typing import TYPE_CHECKING

import msgspec

from policies.head import Peer
from runtime.choosing import choose_plain, choose_tls, is_undecided, same_binding
from runtime.lane.channel import Channel
from runtime.lane.tls_channel import TlsChannel
from runtime.lane.wheel import Timer
from runtime.plane import Plane
from runtime.policy_change import KEEP, chain_meanwhile
from runtime.proxy_protocol import ProxyProtocolError, read
from runtime.socket_address import LOCAL
from runtime.tls.contexts import MaterialError
from runtime.tls.expiry import NEVER
from runtime.tls.hello import Hello, HelloError, looks_like_tls, parse_hello
from runtime.tls.identity import PeerCertificate, PeerRefusedError, read_peer, require_identity
from runtime.tls.naming import require_client
from snapshot.section import (
    FilterChain,
    HttpChain,
    Listener,
    MeshTls,
    ProxyPort,
    ServerTls,
    ServicePort,
    TcpChain,
    UndeclaredPort,
    UnixSocket,
)

if TYPE_CHECKING:
    from runtime.generation import Chain, Generation

ACCEPTS_PER_EVENT = 32
DRAIN_S = 1.0
"""How long a drain waits for the first bytes of a connection that has just been accepted."""

EXHAUSTED_PAUSE_S = 0.1
"""How long a listener rests when there are no descriptors left: the kernel's queue keeps, and nothing spins."""
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HTTP2_ALPN = frozenset({"h2", "istio-h2"})
_HTTP1_ALPN = frozenset({"http/1.1", "istio-http/1.1"})
_SNIFFED = 4
_SILENT = b"\0"
"""Stands for what a client said who said nothing."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Accepted:
    """How a connection came in. Owned by its machine, which moves it to a new generation by ``rebound``."""

    __slots__ = (
        "certificate",
        "certified_until",
        "chain",
        "first",
        "generation",
        "hello",
        "listener",
        "mesh",
        "peer",
        "vetted",
    )

    def __init__(self, generation: Generation, listener: str, chain: Chain, peer: Peer) -> None:
        self.generation = generation
        self.listener = listener
        self.chain = chain
        self.peer = peer
        self.hello: Hello | None = None
        self.first = b""
        self.mesh = False
        self.certificate: PeerCertificate | None = None
        self.certified_until = NEVER
        self.vetted = chain.prepared.policies

    def rebound(self, generation: Generation) -> Chain | None:
        """The chain that this connection would take now, or None where that is another one than it was made for."""
        chain = self._chosen(generation)
        if chain is None or not same_binding(self.chain.prepared.chain, chain):
            return None
        return generation.chains[self.listener, chain.name]

    def _chosen(self, generation: Generation) -> FilterChain | None:
        listener = generation.prepared.listeners.get(self.listener)
        if listener is None:
            return None
        chains, first = listener.chains, self.first
        return choose_tls(chains, self.hello, first) if self.hello else choose_plain(chains, first)

    def vet(self, chain: Chain) -> bool:
        """Takes note of the policies over a connection that goes on; True where they are others than at the last time."""
        before, self.vetted = self.vetted, chain.prepared.policies
        return before is not self.vetted

    def pinned(self, serving: Generation) -> tuple[Generation, Chain]:
        """What one request is decided under: the serving generation, but where the listener is gone or the old one is to be kept to.

        A request may begin between a swap and this connection's turn to be moved over or drained. A chain of the old generation must not
        be decided on, and cached, by the new one.
        """
        if self.generation is serving:
            return self.generation, self.chain
        chain = self.rebound(serving)
        if chain is not None:
            self.chain, self.generation = chain, serving
        elif serving.prepared.proxy.on_policy_change != KEEP and self.listener in serving.prepared.listeners:
            return serving, chain_meanwhile(self.chain, self._chosen(serving), serving, self.listener)
        return self.generation, self.chain


class Acceptor:
    """One listening socket in the lane. Does not own the socket: the supervisor does.

    ``direction`` is that of connections which the kernel redirects here; they are taken by whoever they were going to.
    """

    __slots__ = ("_plane", "_rest", "direction", "listener", "sock")

    def __init__(self, plane: Plane, sock: socket.socket, listener: str) -> None:
        self._plane = plane
        self._rest = Timer(self._rested)
        self.sock = sock
        self.listener = listener
        self.direction = ""

    def start(self) -> None:
        """Enters the lane."""
        self.sock.setblocking(False)
        self._plane.lane.register(self.sock.fileno(), self, select.EPOLLIN)

    def stop(self) -> None:
        """Leaves the lane; what the kernel has queued waits for whoever has the socket next."""
        self._rest.cancel()
        self._plane.lane.release(self.sock)

    abort = stop

    def on_event(self, mask: int) -> None:
        """See Source."""
        del mask
        for _ in range(ACCEPTS_PER_EVENT):
            try:
                sock, address = self.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._plane.instruments.add("weft_connection_refused_total", "descriptors_exhausted")
                    self._plane.lane.modify(self.sock.fileno(), 0)
                    self._plane.lane.wheel.set(self._rest, self._plane.lane.now, EXHAUSTED_PAUSE_S)
                    return
                continue  # The peer gave up between its SYN and our accept.
            self._open(sock, address)

    def _rested(self) -> None:
        self._plane.lane.modify(self.sock.fileno(), select.EPOLLIN)

    def _open(self, sock: socket.socket, address: tuple[str, int]) -> None:
        plane = self._plane
        generation = plane.generation
        interception = generation.interception
        target = interception.target(self.direction, sock) if interception is not None and self.direction else None
        name = self.listener
        if target is not None and interception is not None:
            name = interception.find(self.direction, target)
        listener = generation.prepared.listeners.get(name)
        if listener is None or len(plane.connections) >= generation.deadlines.max_connections:
            reason = "no_listener" if listener is None else "too_many_connections"
            plane.instruments.add("weft_connection_refused_total", reason)
            sock.close()
            return
        sock.setblocking(False)
        plane.instruments.add("weft_connections_total", "downstream")
        plane.instruments.add("weft_listener_connections_total", listener.name)
        if sock.family == socket.AF_UNIX:
            address = local = (LOCAL, 0)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local = target or sock.getsockname()
        port = _logical_port(listener, local[1])
        peer = Peer(
            source_ip=address[0],
            source_port=address[1],
            destination_ip=local[0],
            destination_port=port,
            addresses=f"{local[0]}:{port} {address[0]}:{address[1]}",
            intercepted=target is not None,
        )
        opening = Opening(plane, generation, listener, peer)
        opening.channel = Channel(plane.lane, sock, opening)
        opening.channel.start()
        if _speaks_first(listener) and not listener.proxy_protocol:
            opening.begin_plain()


def _logical_port(listener: Listener, real: int) -> int:
    """Policies name the port of the slice; the bootstrap may have mapped it to another."""
    bind = listener.bind
    return real if isinstance(bind, ProxyPort | ServicePort | UndeclaredPort | UnixSocket) else bind.port


def _speaks_first(listener: Listener) -> bool:
    """A plain TCP listener must not wait for the client: in many protocols the server speaks first."""
    return all(
        chain.tls is None and not chain.passthrough and not isinstance(chain.network, HttpChain)
        for chain in listener.chains
    )


class Opening:
    """The sink of a connection that has no machine yet. Owns the bytes that were read to find out, and the deadline for it."""

    __slots__ = (
        "_accepted",
        "_generation",
        "_listener",
        "_peer",
        "_plane",
        "_proxied",
        "_received",
        "_sniffs",
        "_timer",
        "channel",
    )

    channel: Channel

    def __init__(self, plane: Plane, generation: Generation, listener: Listener, peer: Peer) -> None:
        self._plane = plane
        self._generation = generation
        self._listener = listener
        self._peer = peer
        self._received = b""
        self._accepted: Accepted | None = None
        self._timer = Timer(self._expired)
        self._proxied = listener.proxy_protocol
        # A client that stays silent may be waiting for the server to speak first, where there is a chain for that.
        self._sniffs = any(
            chain.tls is None and not chain.passthrough and isinstance(chain.network, TcpChain)
            for chain in listener.chains
        )
        plane.connections.add(self)
        self._wait()

    def _wait(self) -> None:
        deadlines = self._generation.deadlines
        sniffs = self._sniffs and not self._proxied
        after_ms = (sniffs and deadlines.sniff_ms) or deadlines.tls_handshake_ms
        self._plane.lane.wheel.set(self._timer, self._plane.lane.now, after_ms / 1000)

    # --- plain bytes ---------------------------------------------------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        """See Sink."""
        self._received += data
        if self._proxied and not self._read_proxy_header():
            return
        if self._accepted is not None:
            if self._sniffs:
                self._sniff_inside()
            else:
                self._choose_protocol()
        elif looks_like_tls(self._received) and self._has_tls():
            self._begin_tls()
        else:
            self.begin_plain()

    def _read_proxy_header(self) -> bool:
        """Takes the PROXY header off the first bytes; False where nothing is left to look at now, or the connection was refused."""
        try:
            found = read(self._received)
        except ProxyProtocolError:
            self._refuse("proxy_protocol")
            return False
        if found is None:
            return False
        ends, size = found
        self._received = self._received[size:]
        self._proxied = False
        self._wait()
        if ends is not None:
            peer = self._peer
            self._peer = msgspec.structs.replace(
                peer,
                source_ip=ends.source_ip,
                source_port=ends.source_port,
                addresses=f"{peer.destination_ip}:{peer.destination_port} {ends.source_ip}:{ends.source_port}",
                direct_ip=peer.source_ip,
            )
        if not self._received and _speaks_first(self._listener):
            self.begin_plain()
        return bool(self._received)

    def _has_tls(self) -> bool:
        return any(chain.tls is not None or chain.passthrough for chain in self._listener.chains)

    def begin_plain(self) -> None:
        """Takes the chain for plain connections."""
        if 0 < len(self._received) < _SNIFFED and self._listener.protocol == "auto" and self._sniffs:
            return
        chain = choose_plain(self._listener.chains, self._received)
        if chain is None:
            self._refuse("plain_text_refused")
            return
        accepted = self._accept(chain)
        accepted.first = self._received[:_SNIFFED]
        self._accepted = accepted
        self._sniffs = False
        self._choose_protocol()

    def _accept(self, chain: FilterChain) -> Accepted:
        live = self._generation.chains[self._listener.name, chain.name]
        return Accepted(self._generation, self._listener.name, live, self._peer)

    # --- TLS -----------------------------------------------------------------------------------------------------------------

    def _begin_tls(self) -> None:
        try:
            hello = parse_hello(self._received)
        except HelloError:
            self._refuse("bad_client_hello")
            return
        if hello is None:
            return
        chain = choose_tls(self._listener.chains, hello)
        if chain is None:
            self._refuse("no_filter_chain")
            return
        self._peer = msgspec.structs.replace(self._peer, server_name=hello.server_name, tls=not chain.passthrough)
        accepted = self._accept(chain)
        accepted.hello = hello
        if chain.passthrough or chain.tls is None:
            self._accepted = accepted
            self._start("tcp")
            return
        http = isinstance(chain.network, HttpChain)
        try:
            context = self._generation.material.server(
                chain.tls, http=http, http2=http and "http2" in self._plane.downstream_machines
            )
        except MaterialError as error:
            self._refuse(f"credential_{error.reason}")
            return
        self._sniffs = False
        self._wait()
        received, self._received = self._received, b""
        accepted.mesh = isinstance(chain.tls, MeshTls)
        self._accepted = accepted
        plain = self.channel
        self.channel = TlsChannel.server(plain, context, self)
        self.channel.feed(received)

    def on_open(self) -> None:
        """See Sink: the handshake is done; now it is known who is there."""
        accepted = self._accepted
        channel = self.channel
        assert accepted is not None
        assert isinstance(channel, TlsChannel)
        der = channel.peer_certificate
        try:
            shown = read_peer(der) if der else None
            identity = shown.identity if shown is not None else ""
            if accepted.mesh:
                identity = require_identity(der, self._generation.trust_domains)
            elif der is not None and isinstance(tls := accepted.chain.prepared.chain.tls, ServerTls):
                require_client(der, tls)
        except PeerRefusedError as error:
            self._plane.instruments.add("weft_handshake_failed_total", "downstream", error.reason)
            self._close()
            return
        if shown is not None:
            accepted.certificate = shown
            accepted.certified_until = shown.expires_at
            self._plane.certificate_ends.expect(shown.expires_at)
        accepted.peer = msgspec.structs.replace(self._peer, identity=identity)
        assert accepted.hello is not None
        if is_undecided(self._listener.chains, accepted.hello):
            self._sniffs = True
            self._wait()
        elif isinstance(accepted.chain.prepared.chain.network, HttpChain):
            if channel.alpn in _HTTP2_ALPN:
                self._start("http2")
            elif channel.alpn in _HTTP1_ALPN:
                self._start("http1")
        else:
            self._start("tcp")

    def _sniff_inside(self) -> None:
        """The client has said something inside its TLS, or, where nothing came, is taken to wait for the server: that chooses the chain."""
        accepted = self._accepted
        assert accepted is not None
        assert accepted.hello is not None
        if 0 < len(self._received) < _SNIFFED and self._sniffs:
            return
        self._sniffs = False
        accepted.first = self._received[:_SNIFFED] or _SILENT
        chain = choose_tls(self._listener.chains, accepted.hello, accepted.first)
        if chain is None:
            self._refuse("no_filter_chain")
            return
        accepted.chain = self._generation.chains[self._listener.name, chain.name]
        accepted.vetted = accepted.chain.prepared.policies
        self._choose_protocol()

    # --- the machine ---------------------------------------------------------------------------------------------------------

    def _choose_protocol(self) -> None:
        """HTTP's version by the first bytes, where neither TLS nor the configuration has said it."""
        accepted = self._accepted
        assert accepted is not None
        if not isinstance(accepted.chain.prepared.chain.network, HttpChain):
            self._start("tcp")
            return
        received = self._received
        if not received or (len(received) < len(_PREFACE) and _PREFACE.startswith(received)):
            return
        self._start("http2" if received.startswith(_PREFACE) else "http1")

    def _start(self, protocol: str) -> None:
        self._timer.end()
        plane = self._plane
        plane.connections.discard(self)
        machine = plane.downstream_machines.get(protocol)
        if machine is None:
            self._refuse("protocol_not_served")
            return
        assert self._accepted is not None
        channel = self.channel
        channel.sink = sink = machine(plane, channel, self._accepted)
        if self._received and not channel.closed:
            sink.on_data(self._received)

    def on_eof(self) -> None:
        """See Sink."""
        self._close()

    def on_drained(self) -> None:
        """See Sink."""

    def on_lost(self, error: OSError) -> None:
        """See Sink."""
        self._timer.end()
        self._plane.connections.discard(self)
        if self._accepted is not None:
            self._plane.instruments.add("weft_handshake_failed_total", "downstream", "tls")
        del error

    def _expired(self) -> None:
        if not self._sniffs or self._proxied:
            self._refuse("opening_timeout")
            return
        self._sniffs = False
        if self._accepted is None and looks_like_tls(self._received):
            self._wait()
        elif self._accepted is not None:
            self._sniff_inside()
        else:
            self.begin_plain()

    def _refuse(self, reason: str) -> None:
        self._plane.instruments.add("weft_connection_refused_total", reason)
        self._close()

    def _close(self) -> None:
        self._timer.end()
        self._plane.connections.discard(self)
        self.channel.abort()

    def rebind(self, generation: Generation) -> None:
        """See Rebindable: a connection that has said nothing yet simply begins under the new generation."""
        if self._accepted is None:
            listener = generation.prepared.listeners.get(self._listener.name)
            if listener is None:
                self._close()
                return
            self._generation = generation
            self._listener = listener

    def drain(self) -> None:
        """See Rebindable: what the client has to say is probably on the way already; closing now would lose it."""
        if not self._received and self._accepted is None:
            self._plane.lane.wheel.set(self._timer, self._plane.lane.now, DRAIN_S)

    @property
    def certified_until(self) -> float:
        """See Rebindable; its deadline is nearer than any certificate's end."""
        return NEVER

    def say_farewell(self) -> bool:
        """See Rebindable."""
        return False

    def abort(self) -> None:
        """See Rebindable."""
        self._close()
