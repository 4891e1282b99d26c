"""weft as its users run it: ``weft proxy sidecar`` with one worker on a signed store, and for mesh TLS a ``weft control`` that issues its SVIDs.

The CPU that counts is the supervisor's and the worker's together. The control plane idles on the load's core and is not counted.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.certificates import IDENTITY, TRUST_DOMAIN
from benchmarks.control import WEFT, Control
from benchmarks.hop import Hop
from benchmarks.processes import PROXY_CORE, Server, free_port
from benchmarks.slices import SLOT, Publisher, sections_of, snapshot_of
from benchmarks.works import HOST


class Weft:
    """weft itself, with either engine. Owns the control plane that it started, until ``close``."""

    def __init__(self, engine: str = "trio") -> None:
        self.name = "weft" if engine == "trio" else f"weft-{engine}"
        self._engine = engine
        self._control: Control | None = None
        self.publishers: dict[str, Publisher] = {}
        self.admin: dict[str, int] = {}

    def lacks(self, hop: Hop) -> str:  # noqa: ARG002  it can do everything that is asked here
        """Nothing."""
        return ""

    def start(self, hop: Hop, folder: Path) -> Server:
        """Publishes the hop's slice into a store of its own and starts a sidecar on it."""
        home = folder / hop.name
        home.mkdir(parents=True)
        publisher = Publisher(home)
        publisher.publish(snapshot_of(sections_of(hop)))
        self.publishers[hop.name] = publisher
        secret = home / "credentials" / SLOT
        secret.mkdir(parents=True)
        for name, source in (
            ("tls.crt", hop.certificates.leaf),
            ("tls.key", hop.certificates.key),
            ("ca.crt", hop.certificates.root),
        ):
            (secret / name).write_bytes(source.read_bytes())
            (secret / name).chmod(0o600)
        bootstrap = home / "bootstrap.toml"
        bootstrap.write_text(self._bootstrap(hop, home, folder))
        command = [*WEFT, "proxy", "sidecar", "--bootstrap", str(bootstrap)]
        return Server(command, folder=folder, name=hop.name, core=PROXY_CORE)

    def close(self) -> None:
        """Stops the control plane, where one was started."""
        if self._control:
            self._control.stop()
            self._control = None

    def _bootstrap(self, hop: Hop, home: Path, folder: Path) -> str:
        lines = [
            f'store = "{home / "store"}"',
            f'root = "{home / "keys" / "root.json"}"',
            'state = "state"',
            'address = "127.0.0.1"',
            'credentials = "credentials"',
            f'engine = "{self._engine}"',
        ]
        if hop.tls_in or (hop.tls_out and not hop.origin):
            if self._control is None:
                self._control = Control(folder, TRUST_DOMAIN)
            lines += self._control.admit(IDENTITY, home)
        lines += ["[selector]", 'name = "bench"', "[ports]"]
        self.admin[hop.name] = free_port()
        lines += [
            f"admin = {self.admin[hop.name]}",
            "outbound = -1",
            "metrics = -1",
            "merged_metrics = -1",
            "readiness = -1",
        ]
        lines += ["[services]", f'"{HOST}:80" = "127.0.0.1:{hop.port}"']
        return "\n".join(lines) + "\n"
