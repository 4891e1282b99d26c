"""Asking an application once: each kind of probe as Kubernetes' kubelet and Istio's agent ask."""

from __future__ import annotations

import subprocess
from functools import partial
from typing import assert_never

import httpx
import trio

from policies.probe import ExecProbe, GrpcProbe, HttpProbe, Probe, TcpProbe
from runtime.bootstrap import Bootstrap

_GOOD = range(200, 400)
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
_MAX_LENGTH = 127


async def ask(probe: Probe, bootstrap: Bootstrap) -> str:
    """Asks once, for at most the probe's time-out; "" for a good answer, else what was wrong with it."""
    with trio.move_on_after(probe.timeout_ms / 1000):
        try:
            match probe.ask:
                case HttpProbe():
                    return await _http(probe.ask, bootstrap)
                case TcpProbe(port, host):
                    await (await trio.open_tcp_stream(*_address(bootstrap, host, port))).aclose()
                    return ""
                case GrpcProbe(port, service):
                    return await _grpc(*_address(bootstrap, "", port), service)
                case ExecProbe(command):
                    return await _run(command)
                case _:
                    assert_never(probe.ask)
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            return str(error) or type(error).__name__
    return f"no answer within {probe.timeout_ms} ms"


def _address(bootstrap: Bootstrap, host: str, port: int) -> tuple[str, int]:
    """Where the application really listens: the bootstrap may have moved it. Where connections are intercepted clients reach it at the workload's
    address, and so does the question."""
    where = bootstrap.address if bootstrap.interception != "none" else bootstrap.application
    return host or where, bootstrap.application_ports.get(str(port), port)


async def _http(asked: HttpProbe, bootstrap: Bootstrap) -> str:
    host, port = _address(bootstrap, asked.host, asked.port)
    shown = f"[{host}]" if ":" in host else host
    url = f"{'https' if asked.https else 'http'}://{shown}:{port}/{asked.path.removeprefix('/')}"
    # A certificate is not judged: the question is whether the application answers (Kubernetes).
    client = httpx.AsyncClient(verify=False, trust_env=False)  # noqa: S501
    async with client, client.stream("GET", url, headers=list(asked.headers)) as reply:
        return "" if reply.status_code in _GOOD else f"status {reply.status_code}"


async def _grpc(host: str, port: int, service: str) -> str:
    name = service.encode()[:_MAX_LENGTH]
    message = b"\x0a" + bytes([len(name)]) + name if name else b""
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    headers = {"content-type": "application/grpc", "te": "trailers"}
    shown = f"[{host}]" if ":" in host else host
    async with httpx.AsyncClient(http1=False, http2=True, trust_env=False) as client:
        reply = await client.post(f"http://{shown}:{port}{_HEALTH_CHECK}", content=frame, headers=headers)
    if reply.content[5:] == _SERVING:
        return ""
    return f"not serving (status {reply.status_code}, grpc-status {reply.headers.get('grpc-status', 'unknown')})"


async def _run(command: tuple[str, ...]) -> str:
    run = partial(trio.run_process, stdin=subprocess.DEVNULL, capture_stdout=True, capture_stderr=True, check=False)
    done = await run(list(command))
    return "" if done.returncode == 0 else f"exit code {done.returncode}"
