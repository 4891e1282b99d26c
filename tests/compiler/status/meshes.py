"""Meshes in YAML for tests of statuses, and what to ask of the statuses that come of them."""

from __future__ import annotations

from compiler.mesh import Mesh
from compiler.pipeline import understand
from compiler.status import Condition, ObjectStatus, statuses
from compiler.tree import MemoryTree

CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weft}
spec: {controllerName: weft.dev/gateway-controller}
"""
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
"""


def gateway(*listeners: str, name: str = "edge", extra: str = "") -> str:
    """A Gateway ``infra/NAME`` with listeners in YAML's flow style."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: infra}}
spec:
  gatewayClassName: weft
  listeners: [{", ".join(listeners)}]
  {extra}
"""


def listener(name: str, port: int = 80, protocol: str = "HTTP", rest: str = "") -> str:
    """A listener that takes routes from everywhere."""
    return f"{{name: {name}, port: {port}, protocol: {protocol}, allowedRoutes: {{namespaces: {{from: All}}}}{rest and ', '}{rest}}}"


def route(
    kind: str = "HTTPRoute",
    *,
    name: str = "r",
    parent: str = "name: edge, namespace: infra",
    hosts: str = "",
    backend: str = "name: web, port: 80",
) -> str:
    """A route of the namespace ``shop`` with one parent and one backend."""
    hostnames = f"hostnames: [{hosts}]" if hosts else ""
    return f"""
apiVersion: {"gateway.networking.k8s.io/v1"}
kind: {kind}
metadata: {{name: {name}, namespace: shop}}
spec:
  parentRefs: [{{{parent}}}]
  {hostnames}
  rules: [{{backendRefs: [{{{backend}}}]}}]
"""


def mesh_of(*texts: str) -> Mesh:
    mesh, found = understand(MemoryTree({f"{number}.yaml": text.encode() for number, text in enumerate(texts)}))
    assert mesh is not None, [f"{item.span.file}:{item.span.line} {item.message}" for item in found]
    return mesh


class Statuses:
    """The statuses of a mesh, by kind and name."""

    def __init__(self, *texts: str, complete: bool = False) -> None:
        self.all = {(item.kind, item.meta.name): item for item in statuses(mesh_of(*texts), complete=complete)}

    def __getitem__(self, place: tuple[str, str]) -> ObjectStatus:
        return self.all[place]

    def own(self, kind: str, name: str) -> dict[str, str]:
        """An object's own conditions."""
        return told(self.all[kind, name].conditions or ())

    def listener(self, name: str, kind: str = "Gateway", owner: str = "edge") -> dict[str, str]:
        """A listener's conditions."""
        found = {item.name: item for item in self.all[kind, owner].listeners or ()}
        return told(found[name].conditions)

    def attached(self, owner: str = "edge", kind: str = "Gateway") -> dict[str, int]:
        """Routes by listener."""
        return {item.name: item.attached for item in self.all[kind, owner].listeners or ()}

    def parent(self, kind: str = "HTTPRoute", name: str = "r", index: int = 0) -> dict[str, str]:
        """A route's conditions under one parent, or a policy's under one ancestor."""
        status = self.all[kind, name]
        return told((*(status.parents or ()), *(status.ancestors or ()))[index].conditions)


def told(conditions: tuple[Condition, ...]) -> dict[str, str]:
    """Conditions as ``True Reason`` by type."""
    return {item.type: f"{item.holds} {item.reason}" for item in conditions}
