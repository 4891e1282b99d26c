"""Signatures that were verified before: what is left out, and everything that is not."""

from __future__ import annotations

import pytest
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from snapshot.trust.signatures import MAX_HELD, RememberingKey, VerifiedSignatures

DATA = b"the signed bytes"


def remembering(signer: CryptoSigner) -> RememberingKey:
    key = signer.public_key
    return RememberingKey(key.keyid, key.keytype, key.scheme, dict(key.keyval))


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the library really verified."""
    made: list[bytes] = []
    verify = SSlibKey.verify_signature

    def counted(key: SSlibKey, signature: Signature, data: bytes) -> None:
        made.append(data)
        verify(key, signature, data)

    monkeypatch.setattr(SSlibKey, "verify_signature", counted)
    return made


def test_a_signature_that_held_is_not_verified_again(checks: list[bytes]) -> None:
    signer = CryptoSigner.generate_ed25519()
    signature = signer.sign(DATA)
    with VerifiedSignatures().at_hand():
        for _ in range(3):
            # A key of another parse of the same root: what counts is what it says.
            remembering(signer).verify_signature(signature, DATA)
    assert checks == [DATA]


def test_other_bytes_another_signature_and_another_key_are_verified_each_time(checks: list[bytes]) -> None:
    signer, other = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    signature = signer.sign(DATA)
    forged = RememberingKey(signer.public_key.keyid, "ed25519", "ed25519", dict(other.public_key.keyval))
    broken = Signature(signature.keyid, signature.signature[:-2] + ("00" if signature.signature[-2:] != "00" else "01"))
    with VerifiedSignatures().at_hand():
        remembering(signer).verify_signature(signature, DATA)
        for key, tried, data in (
            (remembering(signer), signature, DATA + b"."),
            (remembering(signer), broken, DATA),
            (remembering(signer), other.sign(DATA), DATA),
            (forged, signature, DATA),
        ):
            for _ in range(2):
                with pytest.raises((UnverifiedSignatureError, VerificationError)):
                    key.verify_signature(tried, data)
    assert len(checks) == 1 + 4 * 2


def test_nothing_is_left_out_where_nobody_remembers(checks: list[bytes]) -> None:
    signer = CryptoSigner.generate_ed25519()
    signature, held = signer.sign(DATA), VerifiedSignatures()
    with held.at_hand():
        remembering(signer).verify_signature(signature, DATA)
    remembering(signer).verify_signature(signature, DATA)
    with VerifiedSignatures().at_hand():
        remembering(signer).verify_signature(signature, DATA)
    assert checks == [DATA] * 3


def test_only_so_many_are_held() -> None:
    held = VerifiedSignatures()
    for number in range(MAX_HELD + 1):
        held.add(number.to_bytes(4, "big"))
    assert MAX_HELD.to_bytes(4, "big") in held
    assert (0).to_bytes(4, "big") not in held
