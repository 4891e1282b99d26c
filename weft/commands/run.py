"""``weft run``: a sidecar around one process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import trio

from runtime.bootstrap import Bootstrap, BootstrapError, load
from runtime.discovery.control import ControlError
from runtime.supervisor.sockets import BindError
from snapshot.index import Selector
from snapshot.store import StoreError
from weft.commands.proxy import log_to_stderr
from weft.help_text import ending
from weft.local.children import LocalError
from weft.local.wrapping import Wrapped, Wrapping, own_output
from weft.sentences import one_sentence

NOT_FOUND = 127
FILE = click.Path(path_type=Path, dir_okay=False)
ENDING = ending(
    "weft run --bootstrap cart.toml -- ./cart --listen 127.0.0.1:8000",
    "weft run --bootstrap cart.toml --http-proxy -- python app.py",
    "weft run --store /srv/store --root root.json --slice sidecar/shop/cart \\",
    "    -- ./cart",
    exits={
        0: "as CMD",
        2: "the proxy cannot run",
        127: "there is no CMD",
        "128+": "and the number of the signal that ended CMD",
    },
)


class PairParam(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``."""

    name = "NAME=VALUE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Splits at the first sign of equality; fails with a usage error."""
        name, equals, rest = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, rest


@click.command(epilog=ENDING)
@click.option(
    "--bootstrap", "file", type=FILE, help="The bootstrap file (TOML); the options below change what it says."
)
@click.option("--store", metavar="PATH|URL", help="Where snapshots come from.")
@click.option("--root", metavar="FILE", help="The pinned root of trust (root.json).")
@click.option(
    "--slice", "slice_name", metavar="NAME", help="The exact name of the slice, for example sidecar/shop/cart."
)
@click.option("--namespace", metavar="NAME", help="The workload's namespace; with --label it chooses the slice.")
@click.option("--label", "labels", type=PairParam(), multiple=True, help="A label of the workload; may be repeated.")
@click.option("--address", metavar="ADDRESS", help="The address on which the proxy accepts.")
@click.option("--application", metavar="ADDRESS", help="The address on which CMD listens.")
@click.option(
    "--application-port",
    "application_ports",
    type=PairParam(),
    multiple=True,
    metavar="TARGET=REAL",
    help="CMD listens on REAL where the mesh says TARGET; may be repeated.",
)
@click.option("--control", metavar="URL", help="The control plane, for an identity and for endpoints.")
@click.option("--control-ca", metavar="FILE", help="What the control plane's certificate must chain to (PEM).")
@click.option("--join-token", metavar="FILE", help="The token that the first certificate is asked for with.")
@click.option(
    "--state", metavar="DIR", help="Where slice and certificate are kept; a temporary folder where not given."
)
@click.option("--http-proxy", is_flag=True, help="Set http_proxy for CMD, so that its calls leave through the mesh.")
@click.option(
    "--ready-timeout",
    "ready_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="Give up where the proxy is not ready by then.",
)
@click.option("--proxy-log", type=FILE, help="Where the proxy's own output goes, instead of between CMD's lines.")
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    file: Path | None, http_proxy: bool, ready_s: float, proxy_log: Path | None, cmd: tuple[str, ...], **given: Any
) -> int:
    """Run CMD with a sidecar around it.

    CMD starts when the proxy is ready, gets the signals that this gets, and keeps its proxy until it has ended; then the proxy drains.
    Write -- before CMD, so that its options are its own.
    """
    if shutil.which(cmd[0]) is None:
        click.echo(f"Error: {cmd[0]} is not a program that can be run", err=True)
        return NOT_FOUND
    with (
        one_sentence(LocalError, BootstrapError, BindError, ControlError, StoreError, OSError),
        _bootstrap(file, given) as bootstrap,
        own_output(proxy_log) as (output, errors),
    ):
        if http_proxy and bootstrap.ports.outbound < 0:
            raise click.UsageError("--http-proxy needs the outbound port, which the bootstrap closes (outbound = -1)")
        log_to_stderr()
        wrapped = Wrapped(cmd, http_proxy, output, errors)
        code: int = trio.run(Wrapping(bootstrap, wrapped, ready_s=ready_s).run)
    return code


@contextmanager
def _bootstrap(file: Path | None, given: dict[str, Any]) -> Iterator[Bootstrap]:
    changes = {name: value for name, value in given.items() if value}
    chosen = {
        field: changes.pop(name)
        for name, field in (("slice_name", "name"), ("namespace", "namespace"), ("labels", "labels"))
        if name in changes
    }
    if ports := changes.pop("application_ports", ()):
        changes["application_ports"] = dict(_port_pairs(ports))
    if file is not None:
        bootstrap = load(file)
        changes["selector"] = msgspec.structs.replace(bootstrap.selector, proxy="sidecar", **chosen)
        yield msgspec.structs.replace(bootstrap, **changes)
        return
    if "store" not in changes or "root" not in changes or not chosen:
        raise click.UsageError(
            "give --bootstrap FILE, or --store, --root and what chooses the slice (--slice, or --namespace)"
        )
    with tempfile.TemporaryDirectory(prefix="weft-run-") as folder:
        yield Bootstrap(**{"state": folder, "selector": Selector(**chosen), **changes})


def _port_pairs(pairs: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, int]]:
    for target, real in pairs:
        if not target.isdigit() or not real.isdigit():
            raise click.UsageError(f"--application-port {target}={real}: both must be port numbers")
        yield target, int(real)
