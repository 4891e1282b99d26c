"""What operators start is really started here: the command lines of Compose, Kubernetes and systemd, to the letter but for folders and addresses.

Each way: keys are put where it wants them, its control plane starts and passes its health check, a release is published as it takes one, its
ingress gateway and a sidecar (systemd's, for the others have none) join, and a request goes from the gateway through the sidecar.
"""

from __future__ import annotations

import random
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pygit2
import pytest
import trio
import yaml

from weft.local.children import Children, require, weft_command
from weft.local.http_client import HttpClient
from weft.local.views import wait_ready

DEPLOY = Path(__file__).parents[2] / "deploy"
LIMIT_S = 60.0
SYSTEMD_INGRESS = """\
address = "0.0.0.0"
store = "https://control:15012/store"
root = "/etc/weft/trust/root.json"
state = "/var/lib/weft-proxy/ingress"
control = "https://control:15012"
control_ca = "/etc/weft/trust/control-ca.pem"
join_token = "/etc/weft/trust/join-token"
selector = {namespace = "gateways", proxy = "ingress", labels = [["istio", "ingressgateway"]]}
ports = {outbound = -1}
"""
SIDECAR = """\
address = "SIDECAR"
application = "APPLICATION"
store = "https://control:15012/store"
root = "/etc/weft/trust/root.json"
state = "/var/lib/weft-proxy/hello"
control = "https://control:15012"
control_ca = "/etc/weft/trust/control-ca.pem"
join_token = "/etc/weft/trust/sidecar-token"
selector = {namespace = "hello", proxy = "sidecar", labels = [["app", "hello"], ["version", "v1"]]}
"""


class Way(msgspec.Struct, frozen=True):
    """One way to run weft: the arguments of its two processes, its ingress bootstrap, and where control's keys, tokens and trust are."""

    control: list[str]
    ingress: list[str]
    bootstrap: str
    bootstrap_at: str
    keys: str
    check: list[str] = []
    """The health check of control, as a command; [] where the way has none of its own."""
    before: list[str] = []
    """What runs first, with the keys in /secret."""
    token: str = ""
    """Where the publish token is; "" where publishing writes the folder."""
    join: str = "/etc/weft/trust/join-token"


def compose() -> Way:
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    return Way(
        control=services["control"]["command"],
        ingress=services["ingress"]["command"],
        bootstrap=(DEPLOY / "compose" / "ingress.toml").read_text(),
        bootstrap_at="/etc/weft/ingress.toml",
        keys="/etc/weft/keys",
        check=services["control"]["healthcheck"]["test"][1:],
        token="/etc/weft/publish-token",
    )


def kubernetes() -> Way:
    base = DEPLOY / "kustomize" / "base"
    found: dict[str, Any] = {}
    for file in ("control.yaml", "ingress.yaml"):
        for document in yaml.safe_load_all((base / file).read_text()):
            if document["kind"] == "Deployment":
                found[document["metadata"]["name"]] = document["spec"]["template"]["spec"]
    control, ingress = found["weft-control"], found["weft-ingress"]
    return Way(
        control=control["containers"][0]["args"],
        ingress=ingress["containers"][0]["args"],
        bootstrap=(base / "ingress.toml").read_text(),
        bootstrap_at="/etc/weft/bootstrap/ingress.toml",
        keys="/secret",
        before=control["initContainers"][0]["command"],
        join="/etc/weft/join/token",
    )


def systemd() -> Way:
    return Way(
        control=unit("weft-control.service"),
        ingress=unit("weft-proxy@.service", KIND="ingress", instance="ingress"),
        bootstrap=SYSTEMD_INGRESS,
        bootstrap_at="/etc/weft/proxies/ingress.toml",
        keys="/etc/weft/control-keys",
    )


def unit(name: str, *, instance: str = "", **environment: str) -> list[str]:
    """The arguments of ``ExecStart``, with the unit's own environment and what an EnvironmentFile may say instead."""
    text = (DEPLOY / "systemd" / name).read_text().replace("\\\n", " ").replace("%i", instance)
    given = dict(pair.split("=", 1) for pair in re.findall(r"^Environment=(.*)$", text, re.MULTILINE)[0].split())
    line = re.search(r"^ExecStart=/opt/weft/bin/weft (.*)$", text, re.MULTILINE)
    assert line is not None
    return shlex.split(re.sub(r"\$\{(\w+)\}", lambda found: {**given, **environment}[found[1]], line[1]))


class Host:
    """A machine in a folder: ``/etc``, ``/var/lib`` and ``/secret`` are below it, and addresses are of a loopback network of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        network = f"127.{random.randint(100, 250)}.{random.randint(0, 250)}"
        self.control, self.ingress, self.sidecar, self.application = (f"{network}.{last}" for last in (1, 2, 3, 4))
        self._names = {
            "weft-control.weft-system.svc:": f"{self.control}:",
            "https://control:": f"https://{self.control}:",
            "SIDECAR": self.sidecar,
            "APPLICATION": self.application,
        }

    def here(self, text: str, *, address: str = "") -> str:
        """A text of a deployment as it must read on this machine; ``address`` is that of the process that it is for."""
        for name, real in self._names.items():
            text = text.replace(name, real)
        for wild in ("0.0.0.0", "127.0.0.1", "$(POD_IP)"):
            text = text.replace(wild, address) if address else text
        return re.sub(r"/(etc|var/lib|secret)\b", lambda found: f"{self.folder}{found[0]}", text)

    def path(self, place: str) -> Path:
        path = Path(self.here(place))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, place: str, text: str, *, address: str = "") -> None:
        """A file that its user alone may read, as a key and a token must be."""
        path = self.path(place)
        path.touch(mode=0o600)
        path.write_text(self.here(text, address=address))

    def command(self, arguments: list[str], address: str) -> list[str]:
        return weft_command(*(self.here(argument, address=address) for argument in arguments))


@asynccontextmanager
async def children(folder: Path) -> AsyncIterator[Children]:
    logs = folder / "logs"
    logs.mkdir()
    running = Children(logs, outlive=False)
    try:
        yield running
    finally:
        await running.stop_all()


async def weft(*arguments: str | Path) -> str:
    return (await require(weft_command(*map(str, arguments)))).output


async def make_mesh(folder: Path) -> tuple[Path, Path]:
    """A repository with one commit, and keys."""
    mesh, keys = folder / "mesh", folder / "keys"
    await weft("init", mesh)
    await weft("keys", "init", keys)
    repository = pygit2.Repository(str(mesh))
    repository.index.add_all()
    author = pygit2.Signature("a", "a@example.org", 0, 0)
    repository.create_commit("HEAD", author, author, "a mesh", repository.index.write_tree(), [])
    return mesh, keys


@pytest.mark.integration
@pytest.mark.parametrize("way", [compose, kubernetes, systemd], ids=lambda way: way.__name__)
async def test_a_request_goes_through_a_mesh_that_was_started_as_the_deployment_says(
    way: Callable[[], Way], tmp_path: Path
) -> None:
    chosen, host = way(), Host(tmp_path)
    mesh, keys = await make_mesh(tmp_path)
    async with children(tmp_path) as running:
        with trio.fail_after(LIMIT_S):
            await start_control(chosen, host, keys, running)
            await publish(chosen, host, mesh, keys)
            await start_proxies(chosen, host, keys, mesh, running)
            assert await answer(host) == "hello from v1\n"


async def start_control(way: Way, host: Host, keys: Path, running: Children) -> None:
    place = host.path(f"{way.keys}/root.json").parent
    for name in ("snapshot.pem", "timestamp.pem", "root.json"):
        shutil.copy(keys / name, place)
    if way.before:
        host.path("/etc/weft/keys/root.json")
        await require([host.here(word) for word in way.before])
    if way.token:
        host.write(way.token, "a" * 64)
    command = [*way.control]
    if "cluster.local" in command:
        # What /etc/weft/control.env sets.
        command[command.index("cluster.local")] = "mesh.example"
    command = ["--trust-domain=mesh.example" if word.startswith("--trust-domain=") else word for word in command]
    host.path("/var/lib/weft-control/state")
    host.path("/var/lib/weft/state")
    running.start("control", host.command(command, host.control))
    await wait_ready((host.control, 15014), "/ready", running, name="control")
    if way.check:
        program, *words = way.check
        assert program == "python"
        await require([sys.executable, *(host.here(word, address=host.control) for word in words)])


async def publish(way: Way, host: Host, mesh: Path, keys: Path) -> None:
    state = host.path(option(way.control, "--state"))
    store: list[str | Path] = ["--store", host.path(option(way.control, "--store"))]
    host.write("/etc/weft/trust/control-ca.pem", await weft("ca", "bundle", "--state", state))
    if way.token:
        store = ["--store", f"https://{host.control}:15012/store", "--token-file", host.path(way.token)]
        store += ["--store-ca", host.path("/etc/weft/trust/control-ca.pem")]
    assert (await weft("publish", mesh, *store, "--keys", keys)).startswith("version 1 snapshot ")
    for place, identity in ((way.join, "gateways/ingressgateway"), ("/etc/weft/trust/sidecar-token", "hello/hello")):
        host.write(place, await weft("ca", "token", "--state", state, "--identity", identity))


async def start_proxies(way: Way, host: Host, keys: Path, mesh: Path, running: Children) -> None:
    shutil.copy(keys / "root.json", host.path("/etc/weft/trust/root.json"))
    host.write(way.bootstrap_at, way.bootstrap, address=host.ingress)
    host.write("/etc/weft/proxies/hello.toml", SIDECAR)
    app = [sys.executable, str(mesh / "apps" / "hello.py"), host.application, "8000", "hello from v1"]
    running.start("application", app)
    running.start("ingress", host.command(way.ingress, host.ingress))
    running.start("sidecar", host.command(unit("weft-proxy@.service", instance="hello"), host.sidecar))
    for name, address in (("ingress", host.ingress), ("sidecar", host.sidecar)):
        await wait_ready((address, 15021), "/healthz/ready", running, name=name)


async def answer(host: Host) -> str:
    """The gateway's first answer from the application: readiness does not wait for the news of where it is."""
    client = HttpClient((host.ingress, 8080))
    try:
        while (reply := await client.get("hello.mesh.example", "/")).status == 503:  # noqa: ASYNC110  another process's news
            await trio.sleep(0.05)
        return reply.body.decode()
    finally:
        await client.close()


def option(arguments: list[str], name: str) -> str:
    """The value of ``--name=value`` or ``--name value``."""
    joined = [word.removeprefix(f"{name}=") for word in arguments if word.startswith(f"{name}=")]
    return joined[0] if joined else arguments[arguments.index(name) + 1]


def test_every_command_line_is_found_where_it_is_said_to_be() -> None:
    assert {way().control[0] for way in (compose, kubernetes, systemd)} == {"control"}
    assert {tuple(way().ingress[:2]) for way in (compose, kubernetes, systemd)} == {("proxy", "ingress")}
