"""Which proxies are gateways: the workloads that Istio Gateways select, and where Git has none, the selectors themselves."""

from __future__ import annotations

from typing import Protocol

import msgspec

from compiler.resources.cursor import Labels
from compiler.resources.gateway import Gateway, Server
from compiler.resources.kubernetes import Workload
from compiler.resources.mesh_config import MeshConfig
from compiler.resources.proxy_config import UNSAID, ProxySettings


class GatewayProxy(msgspec.Struct, frozen=True):
    """One gateway: its workload where Git has it, and the Gateways that configure it, in order.

    Without a workload in Git the proxy stands in the root namespace, where Istio installs its gateways, and bears the service account
    of Istio's charts (``istio-ingressgateway-service-account`` for ``istio: ingressgateway``), so policies written for Istio hold.
    """

    name: str
    namespace: str
    account: str
    labels: Labels
    workload: Workload | None
    gateways: tuple[Gateway, ...]

    @property
    def settings(self) -> ProxySettings:
        """What its pods say of their proxy."""
        return self.workload.settings if self.workload is not None else UNSAID

    @property
    def kind(self) -> str:
        """``egress`` where the labels say so, else ``ingress``; the two differ in nothing but this name."""
        return "egress" if any("egress" in value for _, value in self.labels) else "ingress"

    def servers(self) -> dict[tuple[int, str], list[tuple[Gateway, int, Server]]]:
        """The servers by port and the address that they ask for ("" is the gateway's own), each with its Gateway and its place there."""
        found: dict[tuple[int, str], list[tuple[Gateway, int, Server]]] = {}
        for gateway in self.gateways:
            for index, server in enumerate(gateway.servers):
                found.setdefault((server.number, server.bind), []).append((gateway, index, server))
        return dict(sorted(found.items()))


class GatewayMesh(Protocol):
    """What of a mesh says which proxies are gateways."""

    @property
    def config(self) -> MeshConfig:
        """The mesh's settings."""

    @property
    def gateways(self) -> dict[tuple[str, str], Gateway]:
        """Istio's Gateways by namespace and name."""

    def gateway_selected(self, gateway: Gateway) -> list[Workload]:
        """The workloads that a Gateway selects, in order."""


def gateway_proxies(mesh: GatewayMesh) -> list[GatewayProxy]:
    """All gateways that Istio Gateways configure, sorted by name."""
    by_workload: dict[tuple[str, str], tuple[Workload, list[Gateway]]] = {}
    by_selector: dict[Labels, list[Gateway]] = {}
    for gateway in sorted(mesh.gateways.values(), key=lambda item: item.meta.order):
        selected = mesh.gateway_selected(gateway)
        for workload in selected:
            key = (workload.meta.namespace, workload.meta.name)
            by_workload.setdefault(key, (workload, []))[1].append(gateway)
        if not selected:
            by_selector.setdefault(gateway.selector, []).append(gateway)
    proxies = [_of_workload(workload, gateways) for workload, gateways in by_workload.values()]
    proxies += [_of_selector(mesh, selector, gateways) for selector, gateways in by_selector.items()]
    return sorted(proxies, key=lambda item: item.name)


def _of_workload(workload: Workload, gateways: list[Gateway]) -> GatewayProxy:
    return GatewayProxy(
        name=workload.meta.name,
        namespace=workload.meta.namespace,
        account=workload.service_account,
        labels=workload.labels,
        workload=workload,
        gateways=tuple(gateways),
    )


def _of_selector(mesh: GatewayMesh, selector: Labels, gateways: list[Gateway]) -> GatewayProxy:
    istio = dict(selector).get("istio", "")
    return GatewayProxy(
        name=",".join(f"{key}={value}" for key, value in selector),
        namespace=mesh.config.root_namespace,
        account=f"istio-{istio}-service-account" if istio else "default",
        labels=selector,
        workload=None,
        gateways=tuple(gateways),
    )
