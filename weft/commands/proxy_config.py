"""``weft proxy-config``: what one running proxy is configured with, from its admin port."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from weft.configured import rows
from weft.configured.reading import dumped, read_page, read_text
from weft.configured.rows import Row, Wanted
from weft.configured.tables import resources, table, written
from weft.help_text import ending

CLUSTERS = ("ClustersConfigDump", {"static_clusters": "cluster", "dynamic_active_clusters": "cluster"})
LISTENERS = ("ListenersConfigDump", {"static_listeners": "listener", "dynamic_listeners": "active_state.listener"})
ROUTES = ("RoutesConfigDump", {"static_route_configs": "route_config", "dynamic_route_configs": "route_config"})
SECRETS = ("SecretsConfigDump", {"static_secrets": "secret", "dynamic_active_secrets": "secret"})

_FILTERS = {
    "fqdn": ("HOST", "Only services whose name contains this."),
    "name": ("NAME", "Only resources whose name contains this."),
    "subset": ("SUBSET", "Only this subset."),
    "direction": ("SIDE", "inbound or outbound."),
    "address": ("IP", "Only this IP address."),
    "cluster": ("CLUSTER", "Only this cluster, by its whole name."),
    "status": ("STATUS", "HEALTHY or UNHEALTHY."),
    "type": ("TYPE", "HTTP or TCP."),
}
_ALIASES = {
    **dict.fromkeys(("cluster", "c"), "clusters"),
    **dict.fromkeys(("endpoint", "ep"), "endpoints"),
    **dict.fromkeys(("listener", "l"), "listeners"),
    **dict.fromkeys(("route", "r"), "routes"),
    **dict.fromkeys(("secrets", "s"), "secret"),
    "a": "all",
    "b": "bootstrap",
}
"""istioctl's other names of the same."""


class _Aliased(click.Group):
    """Knows its commands by istioctl's names, too."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click."""
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


def _address(address: str | None, admin: str | None) -> str:
    if (address is None) == (admin is None):
        raise click.UsageError(
            "name one proxy's admin port: ADDRESS:PORT or a socket's path, as argument or with --admin"
        )
    found = address or admin or ""
    if ":" not in found and not found.startswith("/"):
        return f"{found}:15000"
    return found


def _asking(*filters: str, port: bool = False, output: bool = True) -> Callable[..., Any]:
    """The proxy's address, these filters as ``wanted``, and the form of the output."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def read_first(*, proxy: str | None, admin: str | None, **given: Any) -> Any:
            filters_given = {name: given.pop(name) or "" for name in filters}
            number = given.pop("port", 0) or 0
            wanted = Wanted(**filters_given, port=number)
            return command(_address(proxy, admin), wanted, **given)

        made: Any = read_first
        if output:
            forms = click.Choice(["table", "json", "yaml"])
            made = click.option("-o", "--output", type=forms, default="table", show_default=True, help="The form.")(
                made
            )
        if port:
            made = click.option("--port", metavar="N", type=click.IntRange(1, 65_535), help="Only this port.")(made)
        for name in reversed(filters):
            metavar, text = _FILTERS[name]
            made = click.option(f"--{name}", metavar=metavar, help=text)(made)
        made = click.option("--admin", metavar="ADDR:PORT", help="The admin port, instead of the argument.")(made)
        whole: Callable[..., Any] = click.argument("proxy", metavar="[ADDRESS:PORT]", required=False)(made)
        return whole

    return decorate


def _print(titles: tuple[str, ...], found: Iterable[Row], output: str, *, keep_order: bool = False) -> None:
    kept = list(found)
    click.echo(table(titles, kept, keep_order=keep_order) if output == "table" else resources(kept, output), nl=False)


@click.group(cls=_Aliased)
def command() -> None:
    """Show what one running proxy is configured with, whichever engine serves it."""


@command.command("all", epilog=ending("weft proxy-config all 127.0.0.1:15000 -o json > proxy.json"))
@_asking("fqdn")
def everything(address: str, wanted: Wanted, output: str) -> None:
    """Everything: clusters, listeners, routes, endpoints, certificates. As JSON or YAML the proxy's whole dump with its endpoints."""
    if output != "table":
        click.echo(written(read_page(address, "/config_dump", {"include_eds": ""}), output), nl=False)
        return
    statuses = read_page(address, "/clusters", {"format": "json"}).get("cluster_statuses", [])
    _print(rows.CLUSTER_TITLES, rows.clusters(dumped(address, *CLUSTERS), wanted), output)
    click.echo()
    _print(rows.LISTENER_TITLES, rows.listeners(dumped(address, *LISTENERS), Wanted()), output)
    click.echo()
    _print(rows.ROUTE_TITLES, rows.routes(dumped(address, *ROUTES), wanted), output, keep_order=True)
    click.echo()
    _print(rows.ENDPOINT_TITLES, rows.endpoints(statuses, wanted), output)
    click.echo()
    _print(rows.SECRET_TITLES, rows.secrets(dumped(address, *SECRETS), Wanted(), time.time()), output)


@command.command("clusters", epilog=ending("weft proxy-config clusters 127.0.0.1:15000 --fqdn reviews -o yaml"))
@_asking("fqdn", "name", "subset", "direction", port=True)
def clusters(address: str, wanted: Wanted, output: str) -> None:
    """Clusters: where requests can go."""
    _print(rows.CLUSTER_TITLES, rows.clusters(dumped(address, *CLUSTERS), wanted), output)


@command.command(
    "listeners",
    short_help="What is accepted where.",
    epilog=ending("weft proxy-config listeners 127.0.0.1:15000 --port 15001"),
)
@_asking("name", "address", "direction", "type", port=True)
def listeners(address: str, wanted: Wanted, output: str) -> None:
    """Listeners: what is accepted where, and what each filter chain does with it."""
    _print(rows.LISTENER_TITLES, rows.listeners(dumped(address, *LISTENERS), wanted), output)


@command.command(
    "routes",
    short_help="Routes, with what in Git made each.",
    epilog=ending("weft proxy-config routes 127.0.0.1:15000 --name 9080 --fqdn reviews"),
)
@_asking("name", "fqdn")
def routes(address: str, wanted: Wanted, output: str) -> None:
    """Routes, in the order in which they are asked, each with the resource in Git that made it."""
    _print(rows.ROUTE_TITLES, rows.routes(dumped(address, *ROUTES), wanted), output, keep_order=True)


@command.command("endpoints", epilog=ending("weft proxy-config endpoints 127.0.0.1:15000 --status UNHEALTHY"))
@_asking("fqdn", "address", "cluster", "status", port=True)
def endpoints(address: str, wanted: Wanted, output: str) -> None:
    """Endpoints as the proxy has them now, with their health."""
    statuses = read_page(address, "/clusters", {"format": "json"}).get("cluster_statuses", [])
    _print(rows.ENDPOINT_TITLES, rows.endpoints(statuses, wanted), output)


@command.command(
    "dns",
    short_help="Names that the proxy's DNS server answers.",
    epilog=ending("weft proxy-config dns 127.0.0.1:15000 --name reviews"),
)
@_asking("name", "fqdn", "address")
@click.option("--ask", metavar="NAME", help="Shows what this name is answered, instead.")
@click.option("--type", "kind", metavar="TYPE", default="A", help="The type of record to ask for.  [default: A]")
def dns(address: str, wanted: Wanted, output: str, ask: str | None, kind: str) -> None:
    """Names that the proxy's DNS server answers by itself, with their addresses now; it asks others for everything else."""
    if ask:
        page = read_page(address, "/dns", {"name": ask, "type": kind})
        _print(rows.ANSWER_TITLES, rows.answer(page), output, keep_order=True)
        return
    _print(rows.NAME_TITLES, rows.names(read_page(address, "/dns")["names"], wanted), output)


@command.command("secret", epilog=ending("weft proxy-config secret 127.0.0.1:15000"))
@_asking("name")
def secret(address: str, wanted: Wanted, output: str) -> None:
    """Certificates and trust bundles, with their times. Keys are never shown."""
    _print(rows.SECRET_TITLES, rows.secrets(dumped(address, *SECRETS), wanted, time.time()), output)


@command.command("bootstrap", epilog=ending("weft proxy-config bootstrap 127.0.0.1:15000 -o yaml"))
@_asking()
def bootstrap(address: str, wanted: Wanted, output: str) -> None:
    """What the proxy was started with."""
    del wanted
    parts = read_page(address, "/config_dump").get("configs", [])
    found: dict[str, Any] = next((one for one in parts if one.get("@type", "").endswith("BootstrapConfigDump")), {})
    click.echo(written(found.get("bootstrap", {}), "json" if output == "table" else output), nl=False)


@command.command(
    "log",
    short_help="How much each part of the proxy says.",
    epilog=ending("weft proxy-config log /run/weft/admin.sock --level weft.proxy:debug"),
)
@_asking(output=False)
@click.option("--level", metavar="LEVEL|NAME:LEVEL", multiple=True, help="Sets the level of all loggers, or of one.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help="The file that `admin_token` names.")
def log(address: str, wanted: Wanted, level: tuple[str, ...], token_file: str | None) -> None:
    """How much each part of the proxy says; --level changes it, until the proxy ends: over its Unix socket, or with its token."""
    del wanted
    if not level:
        click.echo(read_text(address, "/logging"), nl=False)
        return
    query: dict[str, str] = {}
    for one in level:
        name, colon, value = one.rpartition(":")
        query[name if colon else "level"] = value
    token = Path(token_file).read_text().strip() if token_file else ""
    click.echo(read_text(address, "/logging", query, method="POST", token=token), nl=False)
