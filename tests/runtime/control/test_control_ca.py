"""The authority: what its certificates say, and what it refuses to open."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from runtime.control import ca
from runtime.control.certificates import BACKDATE_S, chain_pem, key_pem, make_intermediate, make_root, new_key
from runtime.control.keyfiles import StateError

NOW = 1_800_000_000.0
IDENTITY = "spiffe://shop.test/ns/shop/sa/reviews"


@pytest.fixture
def authority(tmp_path: Path) -> ca.Authority:
    return ca.create_or_open(tmp_path / "ca", "shop.test", now=NOW)


def svid(authority: ca.Authority, life_s: float = 3600.0) -> x509.Certificate:
    return authority.sign_svid(new_key().public_key(), IDENTITY, now=NOW, life_s=life_s)


def test_an_svid_says_what_the_x509_svid_specification_asks(authority: ca.Authority) -> None:
    leaf = svid(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.UniformResourceIdentifier(IDENTITY)]
    assert names.critical, "an empty subject makes the SAN critical"
    assert leaf.subject == x509.Name([])
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_an_svid_lives_from_a_minute_ago_until_its_time(authority: ca.Authority) -> None:
    leaf = svid(authority, life_s=90.0)
    assert leaf.not_valid_before_utc.timestamp() == NOW - BACKDATE_S
    assert leaf.not_valid_after_utc.timestamp() == NOW + 90.0


def test_an_svid_does_not_outlive_the_intermediate(authority: ca.Authority) -> None:
    leaf = svid(authority, life_s=10 * ca.INTERMEDIATE_LIFE_S)
    assert leaf.not_valid_after_utc == authority.issuer.certificate.not_valid_after_utc


def test_serial_numbers_do_not_repeat(authority: ca.Authority) -> None:
    assert len({svid(authority).serial_number for _ in range(50)}) == 50


def test_the_chain_verifies_under_the_bundle_and_nothing_else(authority: ca.Authority, tmp_path: Path) -> None:
    leaf, intermediate = x509.load_pem_x509_certificates(authority.chain(svid(authority)))
    at = dt.datetime.fromtimestamp(NOW, dt.UTC)
    ours = PolicyBuilder().store(Store(x509.load_pem_x509_certificates(authority.bundle))).time(at)
    verified = ours.build_client_verifier().verify(leaf, [intermediate])
    assert verified.subjects == [x509.UniformResourceIdentifier(IDENTITY)]
    other = ca.create_or_open(tmp_path / "other", "shop.test", now=NOW)
    theirs = PolicyBuilder().store(Store(list(other.roots))).time(at).build_client_verifier()
    with pytest.raises(x509.verification.VerificationError):
        theirs.verify(leaf, [intermediate])


def test_the_server_certificate_covers_names_and_addresses_and_has_no_identity(authority: ca.Authority) -> None:
    leaf = authority.sign_server(new_key().public_key(), ["mesh.test", "127.0.0.1", "::1"], now=NOW, life_s=60.0)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mesh.test"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == []


def test_a_second_start_opens_what_the_first_made(authority: ca.Authority, tmp_path: Path) -> None:
    again = ca.create_or_open(tmp_path / "ca", "shop.test", now=NOW + 3600)
    assert again.bundle == authority.bundle
    assert again.issuer.certificate == authority.issuer.certificate


def test_keys_can_be_read_by_their_owner_alone(authority: ca.Authority, tmp_path: Path) -> None:
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "ca").glob("*.key")} == {
        "root.key": 0o600,
        "intermediate.key": 0o600,
    }


def test_the_root_key_may_be_taken_away(authority: ca.Authority, tmp_path: Path) -> None:
    (tmp_path / "ca" / "root.key").unlink()
    assert ca.create_or_open(tmp_path / "ca", "shop.test", now=NOW).bundle == authority.bundle


def test_an_intermediate_near_its_end_is_renewed_where_the_root_key_is_there(
    authority: ca.Authority, tmp_path: Path
) -> None:
    late = NOW + ca.INTERMEDIATE_LIFE_S - ca.RENEW_INTERMEDIATE_S + 60
    renewed = ca.create_or_open(tmp_path / "ca", "shop.test", now=late)
    assert renewed.issuer.certificate != authority.issuer.certificate
    assert renewed.roots == authority.roots


def test_further_roots_of_the_folder_are_in_the_bundle(authority: ca.Authority, tmp_path: Path) -> None:
    next_root = make_root("shop.test", now=NOW, life_s=ca.ROOT_LIFE_S)
    (tmp_path / "ca" / "trusted").mkdir()
    (tmp_path / "ca" / "trusted" / "next.pem").write_bytes(chain_pem(next_root.certificate))
    again = ca.open_authority(tmp_path / "ca", "shop.test", now=NOW)
    assert again.roots == (*authority.roots, next_root.certificate)


def readable_key(folder: Path) -> None:
    (folder / "intermediate.key").chmod(0o644)


def other_key(folder: Path) -> None:
    (folder / "intermediate.key").write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))


def other_root(folder: Path) -> None:
    (folder / "root.pem").write_bytes(chain_pem(make_root("shop.test", now=NOW, life_s=60).certificate))


def expired(folder: Path) -> None:
    root = ca._issuer(folder, "root")
    ca._keep(folder, "intermediate", make_intermediate(root, "shop.test", now=NOW - 120, life_s=60))
    (folder / "root.key").unlink()


def not_pem(folder: Path) -> None:
    (folder / "intermediate.pem").write_bytes(b"hello")


def no_root_key(folder: Path) -> None:
    (folder / "root.key").unlink()
    (folder / "intermediate.pem").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (readable_key, "chmod 600"),
        (other_key, "is not the key of"),
        (other_root, "is not signed by"),
        (expired, "outside its time"),
        (not_pem, "not a certificate"),
        (no_root_key, "cannot read"),
    ],
)
def test_a_folder_that_is_not_sound_is_refused_with_its_file(authority, tmp_path: Path, spoil, says: str) -> None:
    spoil(tmp_path / "ca")
    with pytest.raises(StateError, match=says):
        ca.create_or_open(tmp_path / "ca", "shop.test", now=NOW)
