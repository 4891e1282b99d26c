"""The listeners of a proxy: bound here, one SO_REUSEPORT socket per worker and address, so that a dying worker's queue is not lost."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from runtime.bootstrap import Bootstrap
from runtime.interception import make_transparent, redirected_to
from runtime.socket_address import family_of, is_path, socket_name, takes_datagrams, target_of
from snapshot.section import Listener

BACKLOG = 4096
MAX_ADDRESSES = 4096
"""More addresses than this in one slice is refused before any is bound."""

Address = tuple[str, int]


class BindError(Exception):
    """An address cannot be bound; the message names it, why, and the next step."""


def wanted_addresses(bootstrap: Bootstrap, listeners: Iterable[Listener]) -> dict[str, Address]:
    """The addresses that this machine gives a slice's listeners, by name; raises BindError where two listeners of the slice share one."""
    redirected = [address for found in redirected_to(bootstrap).values() for address in found]
    wanted: dict[str, Address] = {socket_name(address): address for address in redirected}
    owners: dict[str, str] = dict.fromkeys(wanted, "interception")
    for listener in listeners:
        address = bootstrap.resolve(listener.bind)
        if address is None:
            continue
        name = socket_name(address, datagrams=listener.protocol == "udp")
        if name in owners:
            raise BindError(
                f"listeners {owners[name]} and {listener.name} both want {name}: change port_map in the bootstrap"
            )
        owners[name] = listener.name
        wanted[name] = address
    if len(wanted) > MAX_ADDRESSES:
        raise BindError(f"the slice wants {len(wanted)} addresses; at most {MAX_ADDRESSES} are bound")
    return wanted


def transparent_names(bootstrap: Bootstrap) -> frozenset[str]:
    """The sockets on which connections arrive under addresses that are not theirs."""
    found = redirected_to(bootstrap).get("inbound", ()) if bootstrap.interception == "tproxy" else ()
    return frozenset(map(socket_name, found))


def with_real_ports(bootstrap: Bootstrap, *, outbound: int = 0) -> Bootstrap:
    """The bootstrap with an outbound port of 0 replaced by ``outbound`` or a free one, so that every worker binds the same."""
    if bootstrap.ports.outbound != 0:
        return bootstrap
    ports = msgspec.structs.replace(bootstrap.ports, outbound=outbound or free_port(bootstrap.address))
    return msgspec.structs.replace(bootstrap, ports=ports)


class Sockets:
    """Owns the bound sockets: for each name one per worker. A worker gets duplicates; these here keep the queue when it dies.

    Those named ``transparent`` take connections to addresses that are not theirs.
    """

    def __init__(
        self,
        *,
        workers: int,
        inherited: dict[str, list[socket.socket]] | None = None,
        transparent: frozenset[str] = frozenset(),
    ) -> None:
        self._workers = workers
        self._transparent = transparent
        self._bound: dict[str, list[socket.socket]] = inherited or {}
        for name, bound in self._bound.items():
            # More workers than before: further sockets for an address that is ours already.
            more = [_beside(bound[0]) for _ in range(workers - len(bound))]
            for one in more if name in transparent else ():
                make_transparent(one)
            bound += more

    def names(self) -> frozenset[str]:
        """What is bound now."""
        return frozenset(self._bound)

    def bind(self, wanted: dict[str, Address]) -> list[str]:
        """Binds what is not bound yet and returns those names; raises BindError, and then nothing new is bound."""
        fresh: list[str] = []
        try:
            for name, address in wanted.items():
                if name not in self._bound:
                    bind = _bind_datagrams if takes_datagrams(name) else _bind_all
                    self._bound[name] = bind(address, self._workers)
                    fresh.append(name)
                    for one in self._bound[name] if name in self._transparent else ():
                        make_transparent(one)
        except OSError as error:
            self.release(fresh)
            raise BindError(_explain(name, error)) from None
        return fresh

    def all(self) -> dict[str, list[socket.socket]]:
        """Every bound socket, by name."""
        return self._bound

    def of_worker(self, worker: int, names: Iterable[str]) -> dict[str, socket.socket]:
        """One worker's sockets of these names."""
        return {name: self._bound[name][worker] for name in names}

    def release(self, names: Iterable[str]) -> None:
        """Closes the supervisor's own copies; a worker that still accepts keeps accepting."""
        for name in names:
            for one in self._bound.pop(name):
                one.close()
            path = name.removesuffix(":0")
            if path.startswith("/"):
                Path(path).unlink(missing_ok=True)


def listening_socket(address: Address, *, shared: bool) -> socket.socket:
    """A listening socket; ``shared`` lets further sockets of this user listen on the same address (SO_REUSEPORT). Raises OSError."""
    family = family_of(address[0])
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_UNIX:
            _clear(address[0])
            shared = False
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(target_of(*address))
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def datagram_socket(address: Address, *, shared: bool) -> socket.socket:
    """A socket bound for datagrams; ``shared`` as for listening_socket. Raises OSError.

    Of sockets that share an address the kernel gives each client's datagrams to one, by a hash of both ends: as long as their number stays,
    always to the same. SO_REUSEADDR would let anybody have the address besides.
    """
    bound = socket.socket(family_of(address[0]), socket.SOCK_DGRAM)
    try:
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _beside(bound: socket.socket) -> socket.socket:
    """One more socket that listens where this one does."""
    if bound.family == socket.AF_UNIX:
        return bound.dup()
    host, port, *_ = bound.getsockname()
    if bound.type == socket.SOCK_DGRAM:
        return datagram_socket((host, port), shared=True)
    return listening_socket((host, port), shared=True)


def _clear(path: str) -> None:
    """Takes away a socket file that nobody listens on any more; whatever else is there stays, and binding says so."""
    if not path.startswith("/") or not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)


def free_port(host: str) -> int:
    """A port that nobody listens on at this moment."""
    with listening_socket((host, 0), shared=False) as probe:
        port: int = probe.getsockname()[1]
        return port


def _bind_datagrams(address: Address, count: int) -> list[socket.socket]:
    datagram_socket(address, shared=False).close()
    return _each(lambda: datagram_socket(address, shared=True), count)


def _bind_all(address: Address, count: int) -> list[socket.socket]:
    if is_path(address[0]):
        # The workers share one queue: of Unix sockets only the last one bound to a path would be found there.
        if not count:
            _clear(address[0])
            return []
        first = listening_socket(address, shared=False)
        return [first, *(first.dup() for _ in range(count - 1))]
    # SO_REUSEPORT would let two proxies of one user share an address without a word, so it is asked for without it first.
    listening_socket(address, shared=False).close()
    return _each(lambda: listening_socket(address, shared=True), count)


def _each(make: Callable[[], socket.socket], count: int) -> list[socket.socket]:
    """So many sockets, or none where one cannot be had."""
    bound: list[socket.socket] = []
    try:
        for _ in range(count):
            bound.append(make())
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


def explain_own(name: str, error: OSError) -> str:
    """As for a listener of the mesh; a port of the proxy's own cannot be mapped, but the proxy can have another address."""
    if error.errno == errno.EADDRINUSE:
        return f"{name} is taken by another process: stop it, or give this proxy another address"
    return _explain(name, error)


def _explain(name: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{name} is taken by another process: stop it, or map the port in the bootstrap (port_map)"
    if error.errno == errno.EACCES:
        return f"{name} needs a privilege (ports under 1024): map it in the bootstrap (port_map), or grant CAP_NET_BIND_SERVICE"
    if error.errno == errno.EPERM:
        return f'{name} needs CAP_NET_ADMIN for transparent proxying: grant it, or set interception = "redirect" in the bootstrap'
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{name} is not an address of this machine: correct `address` in the bootstrap"
    return f"{name} cannot be bound: {error.strerror}"
