"""Servers that are started once for a whole test run, and only where a test asks for them; and the draws of CI, which are the same in every run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from tests.faults.places import KINDS, Tampered, behind_control, in_directory, in_registry, in_s3
from tests.store_servers import registry_server, s3_server

hypothesis.settings.register_profile("weft-ci", derandomize=True, database=None)
if os.environ.get("WEFT_REQUIRE_ALL") == "1":
    hypothesis.settings.load_profile("weft-ci")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server's URL."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of an OCI registry."""
    with registry_server(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(params=KINDS)
def tampered(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tampered]:
    """An empty place of each kind of store, in turn."""
    with ExitStack() as stack:
        match request.param:
            case "directory":
                yield in_directory(tmp_path)
            case "s3":
                yield stack.enter_context(in_s3(request.getfixturevalue("s3_endpoint")))
            case "oci":
                yield stack.enter_context(in_registry(request.getfixturevalue("registry")))
            case _:
                yield stack.enter_context(behind_control(tmp_path))
