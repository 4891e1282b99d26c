"""``weft proxy``: a sidecar or a gateway, from its bootstrap file to its graceful end."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import click
import msgspec
import trio

from runtime.bootstrap import Bootstrap, BootstrapError, load
from runtime.discovery.control import ControlError
from runtime.envoy.binary import EnvoyMissingError
from runtime.fetch.saved import require_root
from runtime.supervisor.handover import HandoverError, asked_for_preflight, ready_for_signals, take_over
from runtime.supervisor.sockets import BindError
from runtime.supervisor.supervisor import Supervisor
from snapshot.store import StoreError
from weft.help_text import ending
from weft.sentences import one_sentence

log = logging.getLogger("weft.proxy")


ENDING = ending(
    "weft proxy sidecar --bootstrap cart.toml",
    "weft proxy ingress --bootstrap ingress.toml --address 10.0.0.7 --workers 4",
    exits={0: "drained after SIGTERM or SIGINT (a second signal does not wait)"},
)


@click.command(epilog=ENDING)
@click.argument("kind", type=click.Choice(["sidecar", "ingress", "egress"]))
@click.option(
    "--bootstrap",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The bootstrap file (TOML).",
)
@click.option("--store", metavar="PATH|URL", help="Where snapshots come from: a directory or a URL.")
@click.option("--address", metavar="ADDRESS", help="The address on which the proxy accepts.")
@click.option("--application", metavar="ADDRESS", help="The address behind a sidecar where the application listens.")
@click.option(
    "--state", metavar="DIR", type=click.Path(path_type=Path), help="Where the last slice and the certificate are kept."
)
@click.option("--channel", metavar="NAME", help="The channel to follow.")
@click.option("--engine", type=click.Choice(["trio", "envoy"]), help="What serves: weft's own data plane, or Envoy.")
@click.option("--workers", metavar="N", type=click.IntRange(1, 256), help="Worker processes.")
def command(kind: str, file: Path, **given: object) -> None:
    """Run a sidecar, an ingress or an egress gateway until SIGTERM or SIGINT; then drain.

    The bootstrap file says where the store is, whom to trust and which workload this is; the other options change what it says.
    `weft init` writes examples in proxies/. It serves from its disk where store and control plane are gone.
    """
    with one_sentence(BootstrapError, BindError, ControlError, EnvoyMissingError, StoreError, OSError):
        bootstrap = _override(load(file), kind, given)
        if asked_for_preflight():
            require_root(bootstrap)
            return
        log_to_stderr()
        trio.run(_run, bootstrap)


async def _run(bootstrap: Bootstrap) -> None:
    """Runs the supervisor; the first signal drains, a second one ends at once. SIGUSR2 upgrades in place."""
    supervisor = Supervisor(bootstrap, inherited=take_over())
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2) as signals:
        ready_for_signals()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await supervisor.run()
                nursery.cancel_scope.cancel()

            nursery.start_soon(serve)
            async for number in signals:
                if number == signal.SIGUSR2:
                    nursery.start_soon(_upgrade, supervisor)
                    continue
                log.info("%s: ending", signal.Signals(number).name)
                if supervisor.stopping:
                    nursery.cancel_scope.cancel()
                supervisor.stop()


async def _upgrade(supervisor: Supervisor) -> None:
    """Becomes the program that is installed now; where that cannot be, says why."""
    try:
        await supervisor.preflight()
        await supervisor.upgrade()
    except HandoverError as error:
        log.error("no upgrade: %s; what serves goes on", error)  # noqa: TRY400  the reason says it all


def _override(bootstrap: Bootstrap, kind: str, given: dict[str, object]) -> Bootstrap:
    """The bootstrap with what the command line says; the kind only fills in the selector's."""
    changes = {
        name: str(value) if isinstance(value, Path) else value for name, value in given.items() if value is not None
    }
    selector = msgspec.structs.replace(bootstrap.selector, proxy=kind)
    return msgspec.structs.replace(bootstrap, selector=selector, **changes)


def log_to_stderr() -> None:
    """One line per event. Libraries are heard from warnings on: httpx would tell of every call."""
    form = logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(form)
    logging.basicConfig(level=logging.WARNING, handlers=[to_stderr])
    logging.getLogger("weft").setLevel(logging.INFO)
    # What fetching has to say comes as news, and the supervisor tells it.
    logging.getLogger("runtime.fetch").setLevel(logging.CRITICAL)
