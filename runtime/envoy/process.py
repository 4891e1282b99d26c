"""One Envoy process: started with a bootstrap that knows nothing but where its resources come from, asked over a socket of its own."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import trio
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, config_source_pb2, grpc_service_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from runtime.envoy.child import Child
from runtime.envoy.clusters import HTTP_OPTIONS
from runtime.envoy.fellows import standing
from runtime.envoy.messages import Message, config_source, milliseconds, packed
from runtime.envoy.static import node, overload, plain
from snapshot.section import Proxy

READY_S = 30.0
POLL_S = 0.02
ASK_S = 5.0
_XDS = "weft-xds"
_WARMING = "cluster_manager.warming_clusters|listener_manager.total_listeners_warming"

_LAUNCH = (sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")))

log = logging.getLogger("weft.proxy")


class EnvoyFailedError(Exception):
    """Envoy did not start, is gone, or does not answer."""


def discovered_bootstrap(proxy: Proxy, discovery: Path, admin: Path, locality: str = "") -> Message:
    """The configuration of an Envoy that takes everything over one incremental stream; ``locality`` is where it stands."""
    http2 = http_protocol_options_pb2.HttpProtocolOptions()
    http2.explicit_http_config.http2_protocol_options.SetInParent()
    endpoint = endpoint_components_pb2.Endpoint(address=_pipe(discovery))
    group = endpoint_components_pb2.LocalityLbEndpoints(
        lb_endpoints=[endpoint_components_pb2.LbEndpoint(endpoint=endpoint)]
    )
    cluster = cluster_pb2.Cluster(
        name=_XDS,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=milliseconds(1000),
        load_assignment=endpoint_pb2.ClusterLoadAssignment(cluster_name=_XDS, endpoints=[group]),
        typed_extension_protocol_options={HTTP_OPTIONS: packed(http2)},
    )
    service = grpc_service_pb2.GrpcService(envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=_XDS))
    stream = config_source_pb2.ApiConfigSource(
        api_type=config_source_pb2.ApiConfigSource.DELTA_GRPC,
        transport_api_version=config_source_pb2.ApiVersion.V3,
        grpc_services=[service],
    )
    made = bootstrap_pb2.Bootstrap(
        node=node(proxy),
        static_resources=bootstrap_pb2.Bootstrap.StaticResources(clusters=[cluster]),
        dynamic_resources=bootstrap_pb2.Bootstrap.DynamicResources(
            ads_config=stream, cds_config=config_source(), lds_config=config_source()
        ),
        overload_manager=overload(proxy),
    )
    standing(made, locality)
    made.admin.address.CopyFrom(_pipe(admin))
    return made


def _pipe(path: Path) -> Message:
    return address_pb2.Address(pipe=address_pb2.Pipe(path=str(path), mode=0o600))


class EnvoyProcess:
    """Owns a running Envoy and the client of its admin pages."""

    def __init__(self, process: Child, admin: Path) -> None:
        self.process = process
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(admin)), base_url="http://envoy", timeout=ASK_S, trust_env=False
        )

    async def wait_live(self) -> None:
        """Waits until the first resources are in and the listeners serve; raises EnvoyFailedError."""
        with trio.move_on_after(READY_S):
            while self.process.returncode is None:
                try:
                    if (await self._client.get("/ready")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await trio.sleep(POLL_S)
        status = self.process.returncode
        raise EnvoyFailedError(
            f"Envoy ended with status {status}" if status is not None else "Envoy does not get ready"
        )

    async def wait_warm(self, limit_s: float) -> bool:
        """Waits until no cluster and no listener waits for endpoints, routes or keys any more; False where some still do at the limit."""
        with trio.move_on_after(limit_s):
            while any((await self._stats(_WARMING)).values()):  # noqa: ASYNC110  Envoy tells only who asks.
                await trio.sleep(POLL_S)
            return True
        return False

    async def busy(self) -> int:
        """How many requests and tunnels are under way: idle connections are none, and neither are these questions."""
        stats = await self._stats(r"^(listener|http)\..*\.downstream_(cx|rq)_active$")
        found = 0
        for name, value in stats.items():
            if ".admin." in name or ".worker_" in name:
                continue
            if name.startswith("listener.") or name.endswith("rq_active"):
                found += value
            else:
                found -= value  # A connection that speaks HTTP counts by its requests.
        return found

    async def _stats(self, names: str) -> dict[str, int]:
        stats = json.loads(await self.page("/stats", filter=names, format="json"))["stats"]
        return {one["name"]: one["value"] for one in stats if "value" in one}

    async def page(self, path: str, *, method: str = "GET", **query: str) -> bytes:
        """One admin page, whatever its status; raises EnvoyFailedError."""
        return (await self.answer(path, method=method, **query))[1]

    async def answer(self, path: str, *, method: str = "GET", **query: str) -> tuple[int, bytes]:
        """One admin page with its status; raises EnvoyFailedError."""
        if self._client.is_closed:
            raise EnvoyFailedError("Envoy has ended")
        try:
            reply = await self._client.request(method, path, params=query)
        except httpx.HTTPError as error:
            raise EnvoyFailedError(f"Envoy does not answer {path}: {error}") from None
        return reply.status_code, reply.content

    def kill(self) -> None:
        """Ends the process now."""
        self.process.kill()

    async def close(self) -> None:
        """Ends and reaps the process."""
        with trio.CancelScope(shield=True):
            self.process.kill()
            await self.process.wait()
            await self._client.aclose()


def start(program: Path, configuration: Message, folder: Path, *, threads: int) -> EnvoyProcess:
    """Starts Envoy. Its log and its access log go where ours go; a hot restart of its own is off, since nobody else may take its listeners."""
    file = folder / "envoy.json"
    file.write_text(json.dumps(plain(configuration)))
    (folder / "admin").unlink(missing_ok=True)
    command = [*_LAUNCH, str(program), "-c", str(file), "--concurrency", f"{threads}", "--disable-hot-restart"]
    return EnvoyProcess(Child([*command, "-l", "warn", "--drain-time-s", "5"]), folder / "admin")


async def objection(program: Path, configuration: dict[str, Any]) -> str:
    """Has Envoy judge a whole configuration in a process of its own; its reason against it, or ""."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(configuration, file)
        file.flush()
        command = [str(program), "--mode", "validate", "-c", file.name, "-l", "critical", "--disable-hot-restart"]
        try:
            done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        except OSError as error:
            return f"Envoy cannot be started: {error.strerror}"
    if done.returncode == 0:
        return ""
    told = done.stderr.decode("utf-8", "replace").strip().splitlines()
    said = told[-1] if told else f"it ended with status {done.returncode}"
    return (said.partition(f"'{file.name}'")[2] or said).strip(": ")
