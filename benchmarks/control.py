"""A control plane for proxies that need identities or each other's addresses: on the load's core, where it idles and is not counted."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.processes import LOAD_CORE, Server, free_port
from runtime.control import state

WEFT = (sys.executable, "-c", "from weft.cli import main; main()")
TOKEN_LIFE_S = 300.0


class Control:
    """A running ``weft control`` with its state in ``folder``. Owns the process until ``stop``.

    Only where it has the proxies' own ``store`` does it know their workloads, so that these find each other's addresses."""

    def __init__(self, folder: Path, trust_domain: str, *, store: Path | None = None) -> None:
        self._home = folder / "control"
        port = free_port()
        command = [*WEFT, "control", "--state", str(self._home), "--store", str(store or folder / "unused-store")]
        command += ["--listen", f"127.0.0.1:{port}", "--monitoring", "127.0.0.1:0", "--trust-domain", trust_domain]
        self._server = Server(command, folder=folder, name="control", core=LOAD_CORE)
        self._server.wait_port(port)
        self.url = f"https://127.0.0.1:{port}"

    def admit(self, identity: str, folder: Path) -> list[str]:
        """Puts a join token for an identity and the control plane's authority into a folder; returns a bootstrap's lines that name them."""
        opened = state.open_existing(self._home, now=time.time())
        token = opened.ledger.create_token(identity, now=time.time(), ttl_s=TOKEN_LIFE_S, uses=1)
        (folder / "token").write_text(token)
        (folder / "control-ca.pem").write_bytes(opened.authority.bundle)
        opened.ledger.close()
        return [f'control = "{self.url}"', 'control_ca = "control-ca.pem"', 'join_token = "token"']

    def stop(self) -> None:
        """Ends it."""
        self._server.stop()
