"""The credentials directory: slots are filled, a half-written pair never replaces a good one, a change is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trustme

from runtime.credentials import CredentialFiles
from snapshot.live import Credential
from snapshot.slots import KeyFiles

SLOT = frozenset({"shop/web"})


def write(folder: Path, authority: trustme.CA, *, slot: str = "shop/web") -> bytes:
    place = folder / slot
    place.mkdir(parents=True, exist_ok=True)
    issued = authority.issue_cert("web.test")
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    (place / "tls.crt").write_bytes(chain)
    (place / "tls.key").write_bytes(issued.private_key_pem.bytes())
    return chain


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_slot_is_filled_from_its_folder_and_others_are_not_read(tmp_path: Path, authority: trustme.CA) -> None:
    chain = write(tmp_path, authority)
    write(tmp_path, authority, slot="shop/other")
    files = CredentialFiles(str(tmp_path))
    assert await files.want(SLOT)
    (credential,) = files.all()
    assert (credential.name, credential.certificate_chain) == ("shop/web", chain)
    assert not await files.want(SLOT)


async def test_a_ca_alone_fills_a_slot(tmp_path: Path, authority: trustme.CA) -> None:
    (tmp_path / "shop" / "web").mkdir(parents=True)
    (tmp_path / "shop" / "web" / "ca.crt").write_bytes(authority.cert_pem.bytes())
    files = CredentialFiles(str(tmp_path))
    await files.want(SLOT)
    assert files.all() == (Credential("shop/web", ca=authority.cert_pem.bytes()),)


async def test_a_key_that_is_not_the_certificates_leaves_the_last_good_pair(
    tmp_path: Path, authority: trustme.CA
) -> None:
    write(tmp_path, authority)
    files = CredentialFiles(str(tmp_path))
    await files.want(SLOT)
    good = files.all()
    other = authority.issue_cert("web.test").private_key_pem.bytes()
    (tmp_path / "shop" / "web" / "tls.key").write_bytes(other)
    assert not await files.want(SLOT)
    assert files.all() == good


@pytest.mark.parametrize("slot", ["web", "shop/", "/web", "../web", "shop/..", "shop/a/b"])
async def test_a_slot_whose_name_would_leave_the_folder_is_not_read(
    tmp_path: Path, authority: trustme.CA, slot: str
) -> None:
    write(tmp_path, authority, slot="shop/a/b")
    inside = tmp_path / "shop"
    files = CredentialFiles(str(inside))
    await files.want(frozenset({slot}))
    assert files.all() == ()


async def test_a_slot_that_no_slice_declares_any_more_is_let_go(tmp_path: Path, authority: trustme.CA) -> None:
    write(tmp_path, authority)
    files = CredentialFiles(str(tmp_path))
    await files.want(SLOT)
    assert await files.want(frozenset())
    assert files.all() == ()


@pytest.mark.integration
async def test_a_changed_file_is_told(tmp_path: Path, authority: trustme.CA) -> None:
    write(tmp_path, authority)
    files = CredentialFiles(str(tmp_path))
    await files.want(SLOT)
    send, receive = trio.open_memory_channel[tuple[Credential, ...]](4)
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(files.watch_forever, send.send)
            while True:
                chain = write(tmp_path, authority)
                with trio.move_on_after(1.0):
                    (credential,) = await receive.receive()
                    if credential.certificate_chain == chain:
                        break
            nursery.cancel_scope.cancel()


async def test_generic_secrets_and_a_secret_for_the_cas_fill_a_slot_too(tmp_path: Path, authority: trustme.CA) -> None:
    chain = write(tmp_path, authority)
    place = tmp_path / "shop" / "web"
    (place / "tls.crt").rename(place / "cert")
    (place / "tls.key").rename(place / "key")
    beside = tmp_path / "shop" / "web-cacert"
    beside.mkdir()
    (beside / "cacert").write_bytes(authority.cert_pem.bytes())
    (beside / "ca.crl").write_bytes(b"revoked")
    files = CredentialFiles(str(tmp_path))
    await files.want(SLOT)
    (found,) = files.all()
    assert (found.certificate_chain, found.private_key) == (chain, (place / "key").read_bytes())
    assert (found.ca, found.crl) == (authority.cert_pem.bytes(), b"revoked")


async def test_a_secrets_own_ca_comes_before_one_beside_it(tmp_path: Path, authority: trustme.CA) -> None:
    for folder, text in (("web", b"own"), ("web-cacert", b"other")):
        (tmp_path / "shop" / folder).mkdir(parents=True)
        (tmp_path / "shop" / folder / "ca.crt").write_bytes(text)
    files = CredentialFiles(str(tmp_path))
    await files.want(SLOT)
    assert files.all()[0].ca == b"own"


async def test_a_slot_that_names_files_is_filled_from_them(tmp_path: Path, authority: trustme.CA) -> None:
    chain = write(tmp_path, authority)
    place = tmp_path / "shop" / "web"
    (place / "ca.pem").write_bytes(authority.cert_pem.bytes())
    slot = KeyFiles(str(place / "tls.crt"), str(place / "tls.key"), str(place / "ca.pem")).slot
    files = CredentialFiles("")
    assert await files.want(frozenset({slot}))
    assert files.all() == (Credential(slot, chain, (place / "tls.key").read_bytes(), authority.cert_pem.bytes()),)


@pytest.mark.parametrize("path", ["ca.pem", "/dev/zero", "/nowhere/ca.pem"])
async def test_a_slot_is_not_filled_from_what_is_no_plain_file(path: str) -> None:
    files = CredentialFiles("")
    assert not await files.want(frozenset({KeyFiles(ca=path).slot}))
    assert files.all() == ()
