"""``weft export``: a proxy's slice in another proxy's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import msgspec

from runtime.bootstrap import Bootstrap, BootstrapError, load
from runtime.endpoints import LiveData
from snapshot.index import Selector, Slice
from snapshot.live import Registry
from snapshot.prepared import PreparedSlice, PrepareError, prepare
from weft.help_text import ending
from weft.slice_source import slice_options

LIVE_DATA = Path("/etc/weft")
_NO_FILE = Bootstrap(selector=Selector(), store="", root="", state="")
"""Where no bootstrap file says more: the ports of the slice on 127.0.0.1."""


@click.group()
def command() -> None:
    """A proxy's slice in another proxy's words."""


@command.command(
    "envoy",
    epilog=ending(
        "weft export envoy --proxy sidecar/bookshop/reviews-v1 > reviews.yaml",
        "weft export envoy --store s --root root.json --proxy gateway/edge -o json",
        exits={0: "printed", 1: "the slice says what Envoy cannot do; each at file and line"},
    ),
)
@slice_options
@click.option(
    "--bootstrap",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The proxy's bootstrap file: its addresses and ports.",
)
@click.option("--registry", metavar="FILE", type=click.Path(path_type=Path), help="Registered workloads (JSON).")
@click.option(
    "--identity",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=LIVE_DATA / "identity",
    show_default=True,
    help="Where Envoy will find tls.crt, tls.key and ca.crt of this workload.",
)
@click.option(
    "--credentials",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help=f"Where Envoy will find credentials; the bootstrap's, else {LIVE_DATA}/credentials.",
)
@click.option("-o", "output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="The form.")
def envoy(found: Slice, file: Path | None, registry: Path | None, output: str, **folders: Path | None) -> int:
    """Print the static Envoy configuration of one proxy's slice.

    Certificates and keys stay in files that Envoy reads, and are no part of what is printed. Workloads that register with the control plane are
    endpoints only with --registry. What Envoy cannot be told is an error at file and line, never left out.
    """
    from runtime.envoy.binary import EnvoyMissingError, require_messages

    try:
        require_messages()
        prepared = prepare(found)
        bootstrap = load(file) if file is not None else _NO_FILE
        live = LiveData(bootstrap)
        if registry is not None:
            live.with_registry(msgspec.json.decode(registry.read_bytes(), type=Registry))
    except (EnvoyMissingError, BootstrapError, PrepareError) as error:
        raise click.ClickException(str(error)) from None
    except (OSError, msgspec.DecodeError) as error:
        raise click.ClickException(f"{registry}: {error}") from None
    identity = folders["identity"] or LIVE_DATA
    credentials = folders["credentials"] or Path(bootstrap.credentials or LIVE_DATA / "credentials")
    configuration = _translated(prepared, bootstrap, live, identity, credentials)
    if configuration is None:
        return 1
    click.echo(_text(configuration, output), nl=False)
    return 0


def _translated(
    prepared: PreparedSlice, bootstrap: Bootstrap, live: LiveData, identity: Path, credentials: Path
) -> dict[str, Any] | None:
    """The configuration as plain data, or None where problems were told instead."""
    from runtime.envoy.failure import UntranslatableError
    from runtime.envoy.placement import Delivery, Placement
    from runtime.envoy.secrets import of_files
    from runtime.envoy.static import plain, static_bootstrap
    from runtime.envoy.translate import translate

    try:
        translated = translate(prepared, Placement(bootstrap, live, Delivery.STATIC))
    except UntranslatableError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        return None
    secrets = of_files(translated.secrets, identity, credentials)
    admin = (bootstrap.address, bootstrap.ports.admin) if bootstrap.ports.admin >= 0 else None
    return plain(static_bootstrap(translated, secrets, prepared.proxy, admin=admin))


def _text(configuration: dict[str, Any], output: str) -> str:
    if output == "json":
        return json.dumps(configuration, indent=2) + "\n"
    import yaml

    text: str = yaml.safe_dump(configuration, sort_keys=False, width=120)
    return text
