"""Pods for tests: network namespaces on one bridge, with rules that redirect, a sidecar of either engine, and programs that say what they saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from runtime.identity.certificate import read_svid
from runtime.identity.saved import SavedIdentity
from snapshot.index import Snapshot
from snapshot.store_directory import DirectoryStore
from tests.namespaces import ENVIRONMENT, ROOT, Namespace
from tests.runtime.authority import Authority
from tests.stores import release_mesh, signing_keys

GROUP = "1337"
"""What processes of this group send is not redirected."""

WEFT = (sys.executable, "-c", "from weft.cli import main; main()")
UP_S = 40.0
RULES = f"""
table inet mesh {{
  chain out {{
    type nat hook output priority -100; policy accept;
    meta skgid {GROUP} return
    oifname lo return
    meta l4proto tcp redirect to :15001
  }}
  chain in {{
    type nat hook prerouting priority -100; policy accept;
    meta l4proto tcp redirect to :15006
  }}
}}
"""
"""As Istio's own: what comes to the proxy's ports is redirected like all else, so it is the proxy that must refuse it."""

_LISTENING = Path(__file__).parent / "pod_programs.py"


class Lan:
    """A bridge in a namespace of its own, and the pods on it. Owns them."""

    def __init__(self) -> None:
        self._bridge = Namespace()
        self._made: list[Namespace] = [self._bridge]
        self._bridge.run("ip", "link", "add", "br0", "type", "bridge")
        self._bridge.run("ip", "link", "set", "br0", "up")

    def pod(self, *addresses: str, gateway: Sequence[str] = ()) -> Namespace:
        """A namespace on the bridge, with addresses (with their prefix lengths); what is for others goes to the gateways."""
        made = Namespace()
        self._made.append(made)
        name = f"v{len(self._made)}"
        made.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", str(self._bridge.pid))
        self._bridge.run("ip", "link", "set", name, "master", "br0", "up")
        for one in addresses:
            made.run("ip", "addr", "add", one, "dev", "eth0", *(["nodad"] if ":" in one else []))
        made.run("ip", "link", "set", "eth0", "up")
        for one in gateway:
            made.run("ip", *(["-6"] if ":" in one else []), "route", "add", "default", "via", one)
        return made

    def end(self) -> None:
        """Ends everything in the pods."""
        for one in reversed(self._made):
            one.end()


class Store:
    """A folder with a store, its root, and an authority for identities."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        (folder / "root.json").write_bytes(signing_keys().root)

    def publish(self, snapshot: Snapshot) -> None:
        """What sidecars of this store serve from now on."""
        release_mesh(DirectoryStore(self.folder / "store"), snapshot)


class Sidecar:
    """A sidecar in a pod, with an identity that it found on its disk; its control plane is away."""

    def __init__(self, pod: Namespace, store: Store, name: str, engine: str, *, mode: str = "redirect") -> None:
        self._pod = pod
        _, namespace, workload = name.split("/")
        address = json.loads(pod.run("ip", "-j", "-4", "addr", "show", "eth0"))[0]["addr_info"][0]["local"]
        folder = store.folder / f"{workload}-{engine}"
        folder.mkdir()
        svid = store.authority.svid(f"spiffe://cluster.local/ns/{namespace}/sa/default")
        dated = read_svid(svid.certificate_chain, svid.private_key, svid.bundle)
        SavedIdentity(folder / "state").save(msgspec.structs.replace(dated))
        (folder / "ca.pem").write_bytes(store.authority.bundle)
        (folder / "token").write_text("none")
        (folder / "sidecar.toml").write_text(
            f'store = "{store.folder}/store"\nroot = "{store.folder}/root.json"\nstate = "state"\nselector = {{name = "{name}"}}\n'
            f'address = "{address}"\ninterception = "{mode}"\nengine = "{engine}"\n'
            'control = "https://127.0.0.1:9"\ncontrol_ca = "ca.pem"\njoin_token = "token"\n'
        )
        self.log = folder / "log"
        command = ["setpriv", "--regid", GROUP, "--clear-groups", *WEFT, "proxy", "sidecar", "--bootstrap"]
        pod.start(*command, str(folder / "sidecar.toml"), log=self.log)

    def wait_serving(self, snapshot: Snapshot) -> None:
        """Returns when it serves a snapshot."""
        deadline = time.monotonic() + UP_S
        while snapshot.digest not in (self.page("/snapshot") if "LIVE" in self.page("/ready") else ""):
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def page(self, path: str) -> str:
        """One of its admin pages, "" where it does not answer."""
        return self._pod.run("curl", "-s", f"http://127.0.0.1:15000{path}", check=False)


def serve(pod: Namespace, *programs: tuple[str, str, int, str]) -> None:
    """Starts programs of a kind (``http``, ``greet``, ``echo``), on an address and port, with a name; returns when they listen."""
    told = [{"kind": kind, "host": host, "port": port, "name": name} for kind, host, port, name in programs]
    pod.start(sys.executable, "-I", str(_LISTENING), "serve", json.dumps(told))
    deadline = time.monotonic() + 10
    wanted = {f":{port} " for _, _, port, _ in programs}
    while not all(one in (listening := pod.run("ss", "-Hltn")) for one in wanted):
        assert time.monotonic() < deadline, listening
        time.sleep(0.05)


def call(pod: Namespace, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Makes calls from a pod, several at once, and returns what became of each, in order."""
    entered = ["nsenter", "-t", str(pod.pid), "-n", sys.executable, "-I", str(_LISTENING), "call"]
    asked = json.dumps(list(calls))
    done = subprocess.run(
        entered,
        input=asked,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
        env=dict(os.environ, **ENVIRONMENT),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


TRANSPARENT = f"""
table inet mesh {{
  chain out {{
    type nat hook output priority -100; policy accept;
    meta skgid {GROUP} return
    oifname lo return
    meta l4proto tcp redirect to :15001
  }}
  chain in {{
    type filter hook prerouting priority mangle; policy accept;
    iifname lo meta mark 1337 ct mark set 1337
    iifname lo return
    meta nfproto ipv4 meta l4proto tcp meta mark set 1337 tproxy ip to :15006 accept
    meta nfproto ipv6 meta l4proto tcp meta mark set 1337 tproxy ip6 to :15006 accept
  }}
  chain back {{
    type route hook output priority mangle; policy accept;
    ct mark 1337 meta mark set 1337
  }}
}}
"""
"""What comes in is left as it is and given to the proxy all the same; what the application answers to a client goes back to the proxy."""


def redirect(pod: Namespace, rules: str, folder: Path) -> None:
    """Puts rules in force; those that are transparent need a way back."""
    file = folder / f"{pod.pid}.nft"
    file.write_text(rules)
    pod.run("nft", "-f", str(file))
    if rules is TRANSPARENT:
        for family, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
            pod.run("ip", family, "rule", "add", "fwmark", "1337", "lookup", "133")
            pod.run("ip", family, "route", "add", "local", everything, "dev", "lo", "table", "133")
