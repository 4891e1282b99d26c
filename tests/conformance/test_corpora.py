"""Every corpus of outside cases, as a test: no case is wrong."""

from __future__ import annotations

import importlib
import os

import pytest

from tests.conformance.corpus import DATA

PURE = (
    "spiffe",
    "tokens",
    "bearers",
    "matching",
    "analyzer",
    "schemas",
    "validation",
    "warnings",
    "paths",
    "samples",
    "bookinfo",
    "authorization",
    "status",
)


SERVING = ("llhttp", "http11probe", "h1spec", "gadgets", "gadgets_http2", "gateway", "traffic")
"""Those that run data planes and send them requests."""


@pytest.mark.parametrize("corpus", [*PURE, *(pytest.param(name, marks=pytest.mark.integration) for name in SERVING)])
def test_no_case_of_a_corpus_is_wrong(corpus: str) -> None:
    if not DATA.is_dir() and os.environ.get("WEFT_REQUIRE_ALL") != "1":
        pytest.skip("no conformance data: set WEFT_CONFORMANCE")
    tally = importlib.import_module(f"tests.conformance.{corpus}").run()
    assert tally.wrong == []
    assert tally.right > 0
