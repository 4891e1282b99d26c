"""Servers that are started once for a whole test run, and only where a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store_servers import registry_server, s3_server


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
