"""Static Envoy configurations for tests: a slice in, a file with its live data beside it out, and Envoy's own word on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import trustme

from runtime.bootstrap import Bootstrap, Ports
from runtime.endpoints import LiveData
from runtime.envoy.binary import require_envoy
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.secrets import of_files
from runtime.envoy.static import plain, static_bootstrap
from runtime.envoy.translate import translate
from snapshot.index import Selector
from snapshot.live import RegisteredWorkload, Registry
from snapshot.prepared import PreparedSlice
from snapshot.section import ServicePort


def everywhere(prepared: PreparedSlice) -> Bootstrap:
    """A bootstrap that gives every listener of a slice an address, which nobody binds."""
    services = [one.bind for one in prepared.listeners.values() if isinstance(one.bind, ServicePort)]
    return Bootstrap(
        selector=Selector(),
        store="",
        root="",
        state="",
        services={f"{bind.host}:{bind.port}": f"127.77.0.1:{number}" for number, bind in enumerate(services, 20_000)},
        ports=Ports(admin=-1),
    )


def exported(
    prepared: PreparedSlice,
    folder: Path,
    *,
    bootstrap: Bootstrap | None = None,
    workloads: Sequence[RegisteredWorkload] = (),
    admin: tuple[str, int] | None = None,
) -> Path:
    """The configuration's file in ``folder``; the secrets that it wants stand beside it, unless they do already."""
    bootstrap = bootstrap or everywhere(prepared)
    live = LiveData(bootstrap)
    live.with_registry(Registry(1, tuple(workloads)))
    translated = translate(prepared, Placement(bootstrap, live, Delivery.STATIC))
    for name in translated.secrets:
        slot = name.partition(":")[2]
        fill(folder / "credentials" / slot if slot else folder / "identity")
    secrets = of_files(translated.secrets, folder / "identity", folder / "credentials")
    file = folder / "envoy.json"
    file.write_text(json.dumps(plain(static_bootstrap(translated, secrets, prepared.proxy, admin=admin))))
    return file


def fill(folder: Path) -> None:
    """Some certificate, its key and its authority."""
    if not folder.exists():
        folder.mkdir(parents=True)
        for name, raw in material().items():
            (folder / name).write_bytes(raw)


@cache
def material() -> dict[str, bytes]:
    authority = trustme.CA()
    leaf = authority.issue_cert("everyone.test")
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    return {"ca.crt": authority.cert_pem.bytes(), "tls.crt": chain, "tls.key": leaf.private_key_pem.bytes()}


def objections(file: Path) -> str:
    """What Envoy has against a configuration, "" for nothing."""
    command = [str(require_envoy()), "--mode", "validate", "-c", str(file), "-l", "warn", "--disable-hot-restart"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stderr or f"exit code {done.returncode}"
