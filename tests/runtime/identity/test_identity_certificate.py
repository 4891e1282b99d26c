"""Certificates that others made to be right or wrong: every wrong one is refused, every good one accepted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from policies.spiffe import SpiffeError
from runtime.identity.certificate import read_chain
from tests.conformance.corpus import DATA

FOLDER = DATA / "x509" / "spiffe" / "x509-certs"
WHY = {
    "wrong-empty-spiffe-id.pem": "URI names|not a SPIFFE ID",
    "wrong-intermediate-no-ca.pem": "CA is false",
    "wrong-intermediate-no-key-cert-sign.pem": "intermediate of the chain may not sign",
    "wrong-leaf-ca-true.pem": "CA is true",
    "wrong-leaf-cert-sign.pem": "keyCertSign",
    "wrong-leaf-crl-sign.pem": "cRLSign",
    "wrong-leaf-no-digital-signature.pem": "digitalSignature|keyCertSign",
    "corrupted": "not certificates in PEM",
}


@pytest.fixture(scope="module")
def folder() -> Path:
    if not FOLDER.is_dir():
        if os.environ.get("WEFT_REQUIRE_ALL") == "1":
            pytest.fail(f"{FOLDER} is not there")
        pytest.skip(f"the conformance data is not at {DATA}")
    return FOLDER


def test_every_wrong_certificate_is_refused_for_its_own_reason(folder: Path) -> None:
    assert {path.name for path in folder.iterdir() if path.name.startswith("wrong-")} < set(WHY)
    for name, why in WHY.items():
        with pytest.raises(SpiffeError, match=why):
            read_chain((folder / name).read_bytes())


def test_every_good_certificate_is_accepted(folder: Path) -> None:
    for name in ("2-chain.pem", "3-good-leaf-only.pem"):
        facts = read_chain((folder / name).read_bytes())
        assert str(facts.identity).startswith("spiffe://")
        assert facts.issued_at < facts.expires_at
