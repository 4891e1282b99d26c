"""Istio's cases of AUTO_PASSTHROUGH: whoever comes from outside without a certificate of the mesh reaches nobody, whatever name it asks for.

That the way is open to the mesh itself is asked beside each case: an error must not come from a gateway that lets nobody through.
"""

from __future__ import annotations

import re
import ssl
import tempfile
from typing import Any

import trio

from snapshot.live import RegisteredWorkload, Registry
from tests.conformance.traffic_mesh import DOMAIN, NAMESPACE, Town, World

GROUPS = frozenset({"autoPassthroughCases"})
HOSTS = {"mtlsHost": f"a.{NAMESPACE}.svc.cluster.local", "nakedHost": f"naked.{NAMESPACE}.svc.cluster.local"}
PORTS = {"httpsPort": 443, "httpsAutoPort": 9443}
NAKED = f"""
---
apiVersion: v1
kind: Service
metadata: {{name: naked, namespace: {NAMESPACE}}}
spec:
  selector: {{app: naked}}
  ports: [{{name: https, port: 443, targetPort: 18443}}, {{name: auto-https, port: 9443, targetPort: 18443}}]
---
apiVersion: v1
kind: Service
metadata: {{name: a-https, namespace: {NAMESPACE}}}
spec:
  selector: {{app: a}}
  ports: [{{name: auto-https, port: 9443, targetPort: 18443}}]
"""
_EXPRESSION = re.compile(r'model\.Build(DNSSrv)?SubsetKey\(model\.TrafficDirectionOutbound, "", (\w+), (\w+)\)')
WAIT_S = 5.0


async def judge(case: dict[str, Any], config: str, town: Town) -> str | None:
    """What is wrong with a case, None where nothing is."""
    snapshot = town.compile(config + NAKED)
    async with town.world(snapshot) as world:
        _let_naked_register(world)
        port = world.proxies["ingress"].ports["443"]
        strict = "DISABLE" not in config
        answered = await _asked(port, f"outbound_.80_._.{HOSTS['mtlsHost']}", ["istio"], _of_the_mesh(town))
        if answered != strict:
            return f"a workload of the mesh is {'' if answered else 'not '}answered"
        for child in case["children"]:
            tls = child["opts"]["TLS"]
            name = _server_name(tls["ServerName"]["$expr"])
            if await _asked(port, name, tls["Alpn"] or [], _of_nobody()):
                return f"{name} {tls['Alpn']} is answered to who shows no certificate"
    return None


def _let_naked_register(world: World) -> None:
    """A workload without a sidecar, whose application speaks TLS by itself."""
    naked = RegisteredWorkload(
        namespace=NAMESPACE,
        name="naked",
        address="127.0.0.1",
        labels=(("app", "naked"),),
        identity="",
        mesh=False,
        ports=(("18443", world.programs["external"].ports[18443]),),
    )
    for proxy in world.proxies.values():
        known = [one for found in proxy.proxy._live.workloads.values() for one in found]
        proxy.proxy.set_registry(Registry(3, (*known, naked)))


def _server_name(expression: str) -> str:
    found = _EXPRESSION.fullmatch(expression)
    assert found is not None, expression
    between = "_." if found[1] else "|"
    first = f"outbound{'_.' if found[1] else '|'}"
    return f"{first}{PORTS[found[3]]}{'_._.' if found[1] else between * 2}{HOSTS[found[2]]}"


def _of_nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _of_the_mesh(town: Town) -> ssl.SSLContext:
    context = _of_nobody()
    svid = town.authority.svid(f"spiffe://{DOMAIN}/ns/{NAMESPACE}/sa/b")
    with tempfile.NamedTemporaryFile() as file:
        file.write(svid.certificate_chain + svid.private_key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


async def _asked(port: int, server_name: str, alpn: list[str], context: ssl.SSLContext) -> bool:
    """Whether somebody answers to TLS with a name and protocols, and to a request, or another handshake, inside."""
    if alpn:
        context.set_alpn_protocols(alpn)
    with trio.move_on_after(WAIT_S):
        try:
            plain = await trio.open_tcp_stream("127.0.0.1", port)
            async with trio.SSLStream(plain, context, server_hostname=server_name, https_compatible=True) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                return bool(await stream.receive_some(100))
        except (OSError, trio.BrokenResourceError):
            return False
    return False
