"""The whole mesh of the demonstration, brought up: keys, control plane, tokens, first publication, applications, proxies."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import shutil
import sys
from pathlib import Path

from weft.demo.observer import Observer
from weft.demo.pipeline import Pipeline, Publication
from weft.demo.plan import (
    APPLICATION_PORT,
    CONTROL_API,
    CONTROL_MONITORING,
    CREDENTIAL,
    OUTBOUND,
    PROXIES,
    PUBLISHER,
    TRUST_DOMAIN,
    DemoError,
    ProxyPlan,
    addresses,
    example,
)
from weft.demo.screen import Screen
from weft.local.addresses import require_free
from weft.local.bootstraps import write_bootstrap, write_certificate
from weft.local.children import Children, require, weft_command
from weft.local.plane import LocalPlane


class DemoMesh:
    """Owns the folder of the demonstration and everything that runs from it."""

    def __init__(self, folder: Path, screen: Screen, *, keep: bool) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.children = Children(folder / "logs", outlive=keep)
        self.observer = Observer(self.children)
        self.pipeline = Pipeline(
            folder / "repository",
            keys=folder / "keys",
            store=self.store,
            token=folder / "publish-token",
            ca=folder / "bundle.pem",
        )
        self._plane = LocalPlane(folder, CONTROL_API, CONTROL_MONITORING, TRUST_DOMAIN, folder / "publish-token")
        self._screen = screen

    async def bring_up(self) -> Publication:
        """Everything up to ready proxies; returns the first publication. Raises DemoError."""
        self._clear()
        say = self._screen.say
        say("a Git repository from examples/bookshop, signing keys, the control plane")
        await self.pipeline.create(example())
        await require(weft_command("keys", "init", str(self.folder / "keys")))
        shutil.copy(self.folder / "keys" / "root.json", self.folder / "root.json")
        await self.start_control()
        await self._trust()
        say("the pipeline: weft check, weft publish")
        checked = await self.pipeline.check()
        if checked.code != 0:
            raise DemoError(f"weft check finds mistakes in the bookshop:\n{checked.output}{checked.errors}")
        published = await self.pipeline.publish()
        say(
            f"version {published.version}, snapshot {published.digest[:12]}; now {len(PROXIES)} proxies and their applications"
        )
        self._start_applications()
        for proxy in PROXIES:
            self.start_proxy(proxy)
        await self.observer.wait_ready(*(proxy.name for proxy in PROXIES))
        await self.observer.look()
        return published

    def _clear(self) -> None:
        require_free(addresses(), "if an earlier demonstration is still running, end it with: weft demo --stop")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        for name in ("logs", "tokens", "state"):
            (self.folder / name).mkdir(parents=True, mode=0o700)

    async def start_control(self) -> None:
        """Starts the control plane and waits until it is ready."""
        token = self.folder / "publish-token"
        if not token.exists():
            token.touch(mode=0o600)
            token.write_text(secrets.token_urlsafe(32))
        await self._plane.start(self.children)

    async def _trust(self) -> None:
        """The bundle that proxies check the control plane by, a join token per service account, the ingress's certificate."""
        await self._plane.write_bundle()
        accounts = [(proxy.namespace, proxy.account) for proxy in PROXIES]
        for namespace, account in sorted(set(accounts)):
            await self._plane.admit(namespace, account, uses=accounts.count((namespace, account)))
        now = dt.datetime.now(dt.UTC)
        write_certificate(self.folder / "credentials", CREDENTIAL, ["bookshop.example"], now=now)
        for proxy in PROXIES:
            write_bootstrap(self.folder, proxy, control=CONTROL_API)

    def _start_applications(self) -> None:
        app = str(example() / "app.py")
        self.children.start(
            "publisher-api", [sys.executable, app, "publisher-api", "--listen", "{}:{}".format(*PUBLISHER)]
        )
        for proxy in PROXIES:
            if proxy.application:
                command = [sys.executable, app, proxy.role, "--version", proxy.version]
                command += [
                    "--listen",
                    f"{proxy.application}:{APPLICATION_PORT}",
                    "--proxy",
                    f"{proxy.address}:{OUTBOUND}",
                ]
                self.children.start(f"app-{proxy.name}", command)

    def start_proxy(self, proxy: ProxyPlan) -> None:
        """Starts one proxy, without waiting until it is ready."""
        file = str(self.folder / f"{proxy.name}.toml")
        self.children.start(proxy.name, weft_command("proxy", proxy.kind, "--bootstrap", file))

    def remember(self) -> None:
        """Writes down what runs, for ``weft demo --stop``."""
        (self.folder / "running.json").write_text(json.dumps(self.children.pids()))
