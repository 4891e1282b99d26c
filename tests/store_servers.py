"""Real servers for the remote stores: moto's S3 and Debian's docker-registry, each on a port of its own choice, ended with the test run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import boto3
import pytest

from snapshot.writer_lease import Pace

QUICK = Pace(lease_s=2.0, margin_s=0.5, confirm_s=0.4, poll_s=0.05)
"""A lease for tests: a dead publisher is waited for two seconds; a claim must be fast, but not faster than a busy machine allows."""

_REGISTRY = """
version: 0.1
log: {{level: info, formatter: text}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:0"}}
"""
_ACCESS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The endpoint of an S3 server in memory; the environment holds credentials that it takes."""
    with _serving(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], r"Running on (http://\S+)"
    ) as at:
        kept = {name: os.environ.get(name) for name in _ACCESS}
        os.environ.update(_ACCESS)
        try:
            yield at
        finally:
            for name, value in kept.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def registry_server(folder: Path) -> Iterator[str]:
    """``host:port`` of a registry that keeps its files in ``folder``."""
    if shutil.which("docker-registry") is None:
        assert os.environ.get("WEFT_REQUIRE_ALL") != "1", "docker-registry is needed and not installed"
        pytest.skip("docker-registry is not installed (the Debian package of that name)")
    config = folder / "registry.yml"
    config.write_text(_REGISTRY.format(root=folder / "registry"))
    with _serving(["docker-registry", "serve", str(config)], r"listening on (127\.0\.0\.1:\d+)") as at:
        yield at


def new_prefix(endpoint: str) -> str:
    """The location of an empty place in a bucket."""
    return f"s3://{_bucket(endpoint)}/mesh/{uuid.uuid4().hex[:12]}?endpoint={endpoint}"


def new_repository(registry: str) -> str:
    """A repository's location that nobody else uses."""
    return f"oci://{registry}/mesh/{uuid.uuid4().hex[:12]}"


@cache
def _bucket(endpoint: str) -> str:
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="weft-tests")
    client.close()
    return "weft-tests"


@contextlib.contextmanager
def _serving(command: list[str], announced: str) -> Iterator[str]:
    """What the server announces on its standard error stream as the place where it listens."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if found := re.search(announced, line):
                    break
            else:
                raise AssertionError(f"{command[0]} did not start")
            # Its log must not fill the pipe; nobody reads it from here on.
            drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
            yield found.group(1)
        finally:
            server.terminate()
            server.wait(10)
    drain.wait(10)
