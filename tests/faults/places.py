"""Where the fault programs publish to: one place per kind of store, each also in the hands of somebody who breaks our rules."""

from __future__ import annotations

import contextlib
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import httpx
import msgspec

from snapshot.store import Store
from snapshot.store_oci import OciStore, tag_of
from snapshot.stores import open_store
from snapshot.writer_lease import Pace
from tests.store_servers import QUICK, new_prefix, new_repository, registry_server, s3_server

KINDS = ("directory", "s3", "oci", "http")
WEFT = (sys.executable, "-m", "weft")


UNHURRIED = Pace(lease_s=4.0, margin_s=1.0, confirm_s=0.4, poll_s=0.05)
"""A lease for the programs, which run for minutes on a machine that does other things too: being too slow is refused, rightly."""


class Place(msgspec.Struct, frozen=True):
    """How a store is reached, as plain values: a process that is started for it gets them by pickle."""

    kind: str
    location: str
    ca: str = ""
    token: str = ""
    pace: Pace = QUICK

    def open(self) -> Store:
        """The store, with a lease that a test can wait for."""
        if self.kind == "oci":
            return OciStore(self.location, pace=self.pace)
        return open_store(self.location, ca=self.ca, token=self.token)


class Tampered(msgspec.Struct, frozen=True):
    """A place whose files anybody may overwrite and remove, past every rule of a store."""

    place: Place
    overwrite: Callable[[str, bytes], None]
    remove: Callable[[str], None]


@contextlib.contextmanager
def a_place(kind: str) -> Iterator[Tampered]:
    """A new place of one kind, with its server where it needs one."""
    with tempfile.TemporaryDirectory(prefix="weft-faults-") as name:
        folder = Path(name)
        match kind:
            case "directory":
                yield in_directory(folder)
            case "s3":
                with s3_server() as endpoint, in_s3(endpoint) as tampered:
                    yield tampered
            case "oci":
                with registry_server(folder) as address, in_registry(address, pace=UNHURRIED) as tampered:
                    yield tampered
            case _:
                with behind_control(folder) as tampered:
                    yield tampered


def in_directory(folder: Path) -> Tampered:
    """A place in ``folder``."""
    return _files(Place("directory", str(folder / "store")), folder / "store")


@contextlib.contextmanager
def in_s3(endpoint: str) -> Iterator[Tampered]:
    """A place in a bucket of an S3 server, whose credentials are in the environment."""
    location = new_prefix(endpoint)
    bucket, _, prefix = location.removeprefix("s3://").partition("?")[0].partition("/")
    client = boto3.session.Session().client("s3", endpoint_url=endpoint)

    def overwrite(name: str, content: bytes) -> None:
        client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=content)

    def remove(name: str) -> None:
        client.delete_object(Bucket=bucket, Key=f"{prefix}/{name}")

    with contextlib.closing(client):
        yield Tampered(Place("s3", location), overwrite, remove)


@contextlib.contextmanager
def in_registry(address: str, *, pace: Pace = QUICK) -> Iterator[Tampered]:
    """A place in a repository of its own. What it is overwritten with are sound manifests: only our own checks can tell."""
    place = Place("oci", new_repository(address), pace=pace)
    store = OciStore(place.location, pace=place.pace)
    repository = place.location.removeprefix(f"oci://{address}/")

    def overwrite(name: str, content: bytes) -> None:
        store._registry.write_manifest(tag_of(name), store._upload(name, content))

    def remove(name: str) -> None:
        digest = store._version(tag_of(name))
        httpx.delete(f"http://{address}/v2/{repository}/manifests/{digest}").raise_for_status()

    with contextlib.closing(store):
        yield Tampered(place, overwrite, remove)


@contextlib.contextmanager
def behind_control(folder: Path) -> Iterator[Tampered]:
    """A store that a ``weft control`` process serves, whose folder somebody else writes to."""
    (folder / "token").write_text(secrets.token_hex(8))
    (folder / "token").chmod(0o600)
    state = ["--state", str(folder / "control")]
    command = ["control", *state, "--store", str(folder / "store"), "--publish-token", str(folder / "token")]
    command += ["--listen", "127.0.0.1:0", "--monitoring", "127.0.0.1:0"]
    log = folder / "control.log"
    with log.open("wb") as output, subprocess.Popen([*WEFT, *command], stderr=output) as plane:
        try:
            url = _announced(log, plane)
            bundle = subprocess.run([*WEFT, "ca", "bundle", *state], check=True, capture_output=True).stdout
            (folder / "bundle.pem").write_bytes(bundle)
            token = (folder / "token").read_text()
            yield _files(Place("http", f"{url}/store", str(folder / "bundle.pem"), token), folder / "store")
        finally:
            plane.terminate()


def _announced(log: Path, plane: subprocess.Popen[bytes]) -> str:
    while plane.poll() is None:
        if found := re.search(r"^ready: (\S+) ", log.read_text(), re.MULTILINE):
            return found.group(1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            plane.wait(0.02)
    raise AssertionError(f"weft control did not start: {log.read_text()}")


def _files(place: Place, folder: Path) -> Tampered:
    def overwrite(name: str, content: bytes) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # What is there may have a second name: a store makes its files by links.
        file.unlink(missing_ok=True)
        file.write_bytes(content)

    def remove(name: str) -> None:
        (folder / name).unlink()

    return Tampered(place, overwrite, remove)
