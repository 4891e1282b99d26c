"""A control plane of a local mesh, as a child: started, waited for, and its authority asked for what proxies need to join."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import trio

from runtime.control import state as states
from runtime.control.keyfiles import StateError
from runtime.control.ledger import LedgerError
from weft.local.bootstraps import token_name
from weft.local.children import Children, LocalError, weft_command
from weft.local.views import wait_ready

TOKEN_LIFE_S = 3600.0

Address = tuple[str, int]
NAME = "control"


class LocalPlane(msgspec.Struct, frozen=True):
    """Where a control plane is and what it is given. Keys and root.json are in ``<folder>/keys``; the store is ``<folder>/store``."""

    folder: Path
    api: Address
    monitoring: Address
    trust_domain: str
    publish_token: Path | None = None

    async def start(self, children: Children) -> None:
        """Starts ``weft control`` and waits until it is ready. Raises LocalError."""
        (self.folder / "store").mkdir(exist_ok=True)
        command = weft_command("control", "--state", str(self._state), "--store", str(self.folder / "store"))
        command += ["--listen", "{}:{}".format(*self.api), "--monitoring", "{}:{}".format(*self.monitoring)]
        command += ["--trust-domain", self.trust_domain, "--online-keys", str(self.folder / "keys")]
        if self.publish_token is not None:
            command += ["--publish-token", str(self.publish_token)]
        children.start(NAME, command)
        await wait_ready(self.monitoring, "/ready", children, name=NAME)

    async def write_bundle(self) -> None:
        """Writes ``<folder>/bundle.pem``: what proxies check the control plane by."""
        bundle = await trio.to_thread.run_sync(self._bundle)
        await trio.Path(self.folder / "bundle.pem").write_bytes(bundle)

    async def admit(self, namespace: str, account: str, *, uses: int = 1) -> None:
        """Writes a join token for a service account into ``<folder>/tokens``. Raises LocalError."""
        made = await trio.to_thread.run_sync(self._token, namespace, account, uses)
        file = self.folder / "tokens" / token_name(namespace, account)
        file.touch(mode=0o600)
        file.write_text(f"{made}\n", encoding="ascii")

    @property
    def _state(self) -> Path:
        return self.folder / "control"

    def _open(self) -> states.State:
        try:
            return states.open_existing(self._state, now=time.time())
        except StateError as error:
            raise LocalError(str(error)) from None

    def _bundle(self) -> bytes:
        opened = self._open()
        try:
            return opened.authority.bundle
        finally:
            opened.ledger.close()

    def _token(self, namespace: str, account: str, uses: int) -> str:
        opened = self._open()
        try:
            identity = states.workload_identity(opened.trust_domain, f"{namespace}/{account}")
            return opened.ledger.create_token(identity, now=time.time(), ttl_s=TOKEN_LIFE_S, uses=uses)
        except (LedgerError, ValueError) as error:
            raise LocalError(f"no join token for {namespace}/{account}: {error}") from None
        finally:
            opened.ledger.close()
