"""From a slice to a Generation, off to the side: everything that can fail fails here, and the lane goes on in between.

The work is cut into pieces of at most a few milliseconds with a checkpoint after each; how long each piece took is told to the lane, since
to a waiting connection it is a pause like any other.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from runtime.bootstrap import Bootstrap
from runtime.endpoints import LiveData
from runtime.generation import Generation
from runtime.interception import intercepting
from runtime.pacing import paced
from runtime.plane import Plane
from runtime.socket_address import socket_name
from runtime.tls.contexts import MaterialError, TlsMaterial
from runtime.token_generation import TokenGeneration
from snapshot.index import Slice
from snapshot.prepared import PreparedSlice, PrepareError, prepare_steps
from snapshot.section import FilterChain, HttpChain, Listener, MeshTls


async def prepare(
    plane: Plane,
    slice_: Slice,
    previous: PreparedSlice | None,
    *,
    bootstrap: Bootstrap,
    sockets: frozenset[str],
    material: TlsMaterial,
    live: LiveData,
) -> Generation:
    """Makes a Generation; raises FormatError or PrepareError, and then nothing has changed."""
    prepared = await paced(plane.lane, prepare_steps(slice_, previous))
    if bootstrap.interception != "none":
        prepared = intercepting(prepared)
    _check_listeners(prepared, bootstrap, sockets)
    _check_log(prepared)
    made = TokenGeneration if prepared.tokens else Generation
    generation = made(plane, prepared, material, live)
    await paced(plane.lane, generation.fill())
    await paced(plane.lane, _contexts(generation, material))
    return generation


def address_of(listener: Listener, bootstrap: Bootstrap) -> str | None:
    """The name under which the supervisor passes this listener's socket, or None where this machine gives it no address."""
    address = bootstrap.resolve(listener.bind)
    return socket_name(address, datagrams=listener.protocol == "udp") if address is not None else None


def _check_listeners(prepared: PreparedSlice, bootstrap: Bootstrap, sockets: frozenset[str]) -> None:
    taken: dict[str, Listener] = {}
    for listener in prepared.listeners.values():
        name = address_of(listener, bootstrap)
        if name is None:
            continue
        if name not in sockets:
            raise PrepareError("bind", f"listener {listener.name} needs {name}, which is not bound", listener.source)
        other = taken.setdefault(name, listener)
        if other is not listener:
            raise PrepareError("bind", f"listeners {other.name} and {listener.name} both need {name}", listener.source)


def _check_log(prepared: PreparedSlice) -> None:
    path = prepared.proxy.access_log.path
    if path and not path.startswith("/dev/") and not Path(path).parent.is_dir():
        raise PrepareError("access_log", f"the access log {path} cannot be opened: its folder is not there")


def _contexts(generation: Generation, material: TlsMaterial) -> Generator[None, None, None]:
    """Makes the TLS contexts now, so that no connection waits for one. A slot that live data has not filled yet refuses its own
    handshakes until it is; that is no failure of the slice."""
    for chain in generation.chains.values():
        filter_chain = chain.prepared.chain
        if filter_chain.tls is not None:
            _server_context(generation, filter_chain, material)
            yield
    if material.svid is None:
        return
    for cluster in generation.clusters.values():
        tls = cluster.section.tls
        if tls is not None and cluster.section.protocol != "same":
            try:
                material.client(tls, cluster.section.protocol)
            except MaterialError as error:
                if error.reason != "missing":
                    raise PrepareError("credential", f"cluster {cluster.section.name}: {error}") from None
            yield


def _server_context(generation: Generation, chain: FilterChain, material: TlsMaterial) -> None:
    assert chain.tls is not None
    http = isinstance(chain.network, HttpChain)
    try:
        material.server(chain.tls, http=http, http2=http and generation.serves_http2)
    except MaterialError as error:
        if error.reason != "missing":
            what = "the workload's identity" if isinstance(chain.tls, MeshTls) else "credentials"
            raise PrepareError("credential", f"chain {chain.name}, {what}: {error}", chain.source) from None
