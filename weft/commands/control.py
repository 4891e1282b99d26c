"""``weft control``: the store, the certificate authority, discovery and status, in one process."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import click
import trio

from runtime.control import keyfiles
from runtime.control.ledger import LedgerError
from runtime.control.server import ControlPlane, ControlSettings, Started, open_control_plane
from weft.help_text import ending
from weft.sentences import one_sentence


class AddressParam(click.ParamType[tuple[str, int]]):
    """``ADDRESS:PORT``; an IPv6 address stands in brackets. Port 0 takes any free port."""

    name = "ADDR:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Splits at the last colon; fails with a usage error."""
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > 65_535:
            self.fail(f"{value!r} is not ADDRESS:PORT, for example 127.0.0.1:15012", param, ctx)
        return host.strip("[]"), int(port)


ADDRESS = AddressParam()
FOLDER = click.Path(path_type=Path, file_okay=False)


ENDING = ending(
    "weft control --state state --store store --online-keys keys",
    "weft control --state state --store store --online-keys keys \\",
    "    --listen 10.0.0.5:15012 --host control.mesh.example.org \\",
    "    --trust-domain mesh.example.org --publish-token publish-token",
    exits={0: "ended by SIGTERM or SIGINT"},
)


@click.command(epilog=ENDING)
@click.option(
    "--state",
    metavar="DIR",
    type=FOLDER,
    required=True,
    help="Folder of keys, tokens and registrations; made at the first start.",
)
@click.option(
    "--store",
    metavar="DIR",
    type=FOLDER,
    required=True,
    help="Folder of the published snapshots that this process serves.",
)
@click.option(
    "--listen",
    type=ADDRESS,
    default="127.0.0.1:15012",
    show_default=True,
    help="CA, discovery, status and store, over TLS.",
)
@click.option(
    "--monitoring", type=ADDRESS, default="127.0.0.1:15014", show_default=True, help="/ready and /metrics, plain text."
)
@click.option(
    "--trust-domain",
    metavar="NAME",
    help="Name of the trust domain; set at the first start (cluster.local), fixed from then on.",
)
@click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A further name or address for the server's certificate; may be repeated.",
)
@click.option(
    "--online-keys",
    metavar="DIR",
    type=FOLDER,
    help="Folder with the snapshot and timestamp keys, to keep the timestamp fresh.",
)
@click.option(
    "--svid-ttl",
    metavar="SECONDS",
    type=click.FloatRange(min=5.0),
    default=86_400.0,
    show_default=True,
    help="Life of a workload's certificate; it is renewed at half of it.",
)
@click.option(
    "--publish-token",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the token that lets weft publish write over HTTP.",
)
def command(
    state: Path,
    store: Path,
    listen: tuple[str, int],
    monitoring: tuple[str, int],
    trust_domain: str | None,
    hosts: tuple[str, ...],
    online_keys: Path | None,
    svid_ttl: float,
    publish_token: Path | None,
) -> None:
    """Run the control plane until SIGTERM or SIGINT.

    One process: it serves the store over HTTPS, renews its timestamp (--online-keys), hands out certificates, knows where services
    are, and what each proxy runs. Traffic neither passes through it nor stops with it. The first start makes the certificate
    authority in --state and says what to do next.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with one_sentence(keyfiles.StateError, LedgerError):
        token = keyfiles.read_private(publish_token).decode().strip() if publish_token else ""
        settings = ControlSettings(
            state=state,
            store=store,
            listen=listen,
            monitoring=monitoring,
            trust_domain=trust_domain,
            online_keys=online_keys,
            svid_ttl_s=svid_ttl,
            publish_token=token,
            hosts=hosts,
        )
        trio.run(_run, open_control_plane(settings), settings)


async def _run(plane: ControlPlane, settings: ControlSettings) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            started = await nursery.start(plane.run)
            _announce(started, settings)
            async for number in signals:
                click.echo(f"{signal.Signals(number).name}: stopping", err=True)
                nursery.cancel_scope.cancel()


def _announce(started: Started, settings: ControlSettings) -> None:
    if started.created:
        click.echo(
            f"made a certificate authority for trust domain {started.trust_domain} in {settings.state / 'ca'}", err=True
        )
        click.echo("  root.key signs nothing but intermediates: move it to a safe place", err=True)
        click.echo(f"  next: weft ca bundle --state {settings.state} > control-ca.pem", err=True)
        click.echo(
            f"        weft ca token --state {settings.state} --identity NAMESPACE/SERVICEACCOUNT > join-token", err=True
        )
        click.echo("        and name both files in the proxy's bootstrap (control_ca, join_token)", err=True)
    if settings.online_keys is None:
        click.echo("no --online-keys: timestamps are not renewed here, a publish or a CI job must do it", err=True)
    api, watch = started.api, started.monitoring
    click.echo(f"ready: https://{_netloc(api)} (monitoring http://{_netloc(watch)})", err=True)


def _netloc(address: tuple[str, int]) -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"
