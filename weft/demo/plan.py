"""Who runs where. Each workload has an address of the mesh (127.20.0.x) and one of its application (127.21.0.x)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weft.local.bootstraps import LocalProxy
from weft.local.children import LocalError
from weft.local.views import ADMIN, READINESS

CONTROL = "127.20.0.1"
CONTROL_API = (CONTROL, 15012)
CONTROL_MONITORING = (CONTROL, 15014)
PUBLISHER = ("127.22.0.2", 9090)
APPLICATION_PORT = 9080
TRUST_DOMAIN = "bookshop.example"
CREDENTIAL = "gateways/bookshop-certificate"

OUTBOUND, METRICS, MERGED = 15001, 15090, 15020


class DemoError(LocalError):
    """The demonstration cannot go on; the message says why and what to do."""


class ProxyPlan(LocalProxy, frozen=True, kw_only=True):
    """One proxy of the demonstration: besides what every local proxy has, the ports that its slice will open."""

    ports: tuple[int, ...]
    version: str = ""

    @property
    def role(self) -> str:
        """The role of the application behind a sidecar."""
        return dict(self.labels)["app"]


def _sidecar(number: int, app: str, version: str, name: str = "") -> ProxyPlan:
    return ProxyPlan(
        name=name or app,
        kind="sidecar",
        address=f"127.20.0.{number}",
        namespace="bookshop",
        account=app,
        labels=(("app", app), ("version", version)),
        ports=(APPLICATION_PORT,),
        application=f"127.21.0.{number}",
        version=version,
    )


def _gateway(number: int, kind: str, ports: tuple[int, ...]) -> ProxyPlan:
    labels = (("app", f"{kind}gateway"), ("istio", f"{kind}gateway"))
    return ProxyPlan(
        name=kind,
        kind=kind,
        address=f"127.20.0.{number}",
        namespace="gateways",
        account=f"{kind}gateway",
        labels=labels,
        ports=ports,
    )


PROXIES = (
    _gateway(10, "ingress", (8080, 8443)),
    _gateway(11, "egress", (8080,)),
    ProxyPlan(
        name="partners",
        kind="ingress",
        address="127.20.0.12",
        namespace="gateways",
        account="partners-weft",
        labels=(("gateway.networking.k8s.io/gateway-name", "partners"),),
        ports=(8081,),
    ),
    _sidecar(2, "storefront", "v1"),
    _sidecar(3, "catalogue", "v1"),
    _sidecar(4, "reviews", "v1", "reviews-v1"),
    _sidecar(5, "reviews", "v2", "reviews-v2"),
    _sidecar(6, "reviews", "v3", "reviews-v3"),
    _sidecar(7, "ratings", "v1"),
)

BY_NAME = {proxy.name: proxy for proxy in PROXIES}
INGRESS = (BY_NAME["ingress"].address, 8080)
PARTNERS = (BY_NAME["partners"].address, 8081)


def addresses() -> Iterator[tuple[str, int]]:
    """Every address that the demonstration will bind."""
    yield from (CONTROL_API, CONTROL_MONITORING, PUBLISHER)
    for proxy in PROXIES:
        own = (ADMIN, METRICS, MERGED, READINESS)
        for port in (*proxy.ports, *own, *((OUTBOUND,) if proxy.application else ())):
            yield proxy.address, port
        if proxy.application:
            yield proxy.application, APPLICATION_PORT


def example() -> Path:
    """The bookshop's folder in this source checkout; raises DemoError where weft was installed without it."""
    folder = Path(__file__).resolve().parents[2] / "examples" / "bookshop"
    if not (folder / "app.py").is_file():
        raise DemoError(
            "examples/bookshop is not beside the installed weft: run the demonstration from a source checkout"
        )
    return folder
