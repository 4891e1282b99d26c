"""The verifier without network: rotation, thresholds, expiry, and every refusal's reason."""

from __future__ import annotations

from functools import cache

import pytest
from securesystemslib.signer import CryptoSigner, Signature
from tuf.api.metadata import Metadata, Root

from snapshot.trust.chain import KnownRoots, verify_chain, verify_release
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.keys import SigningKeys, sign_root
from snapshot.trust.layout import ROLES
from snapshot.trust.source import read_from
from tests.stores import DAY, NOW, MemoryStore, mesh, release_mesh, signing_keys


@cache
def two_of_each() -> dict[str, list[CryptoSigner]]:
    return {role: [CryptoSigner.generate_ed25519() for _ in range(2)] for role in ROLES}


def with_threshold_two(*, signing: int) -> tuple[bytes, SigningKeys]:
    """A root that asks for two targets signatures, and keys of which ``signing`` sign."""
    signers = two_of_each()
    root = sign_root(signers, version=1, now=NOW, thresholds={"targets": 2})
    return root, SigningKeys("test", root, {role: tuple(keys[:signing]) for role, keys in signers.items()})


def rotated(*, signed_by_old: bool = True, version: int = 2) -> bytes:
    """A second root with a new root key, signed by the new one and, unless said, by the old one."""
    root = Metadata[Root].from_bytes(signing_keys().root)
    new = CryptoSigner.generate_ed25519()
    root.signed.version = version
    root.signed.add_key(new.public_key, "root")
    root.signed.revoke_key(signing_keys().signers["root"][0].public_key.keyid, "root")
    root.sign(new)
    if signed_by_old:
        root.sign(signing_keys().signers["root"][0], append=True)
    return root.to_bytes()


def refusal(store: MemoryStore, root: bytes) -> Reason:
    with pytest.raises(Untrusted) as caught:
        verify_chain(root, read_from(store))
    return caught.value.reason


def test_an_expired_store_verifies_and_says_since_when() -> None:
    store = MemoryStore()
    release = release_mesh(store, mesh("one"), now=NOW - 30 * DAY)
    chain = verify_chain(signing_keys().root, read_from(store))
    assert chain.fresh_until == NOW - 29 * DAY
    assert chain.expires["targets"] == NOW + 60 * DAY
    assert verify_release(chain.targets, "stable", read_from(store))[0] == release


def test_the_files_that_it_took_are_enough_to_verify_again() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    chain = verify_chain(signing_keys().root, read_from(store))
    assert verify_chain(signing_keys().root, chain.files.get).fresh_until == chain.fresh_until
    assert sorted(chain.files) == ["metadata/1.snapshot.json", "metadata/1.targets.json", "metadata/timestamp.json"]


def test_enough_signatures_verify_and_too_few_do_not() -> None:
    store = MemoryStore()
    root, keys = with_threshold_two(signing=2)
    release_mesh(store, mesh("one"), keys=keys)
    assert verify_chain(root, read_from(store)).targets.version == 1
    store = MemoryStore()
    root, keys = with_threshold_two(signing=1)
    release_mesh(store, mesh("one"), keys=keys)
    assert refusal(store, root) is Reason.THRESHOLD


def test_a_root_signed_by_the_pinned_one_is_followed() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    store.files["metadata/2.root.json"] = rotated()
    assert verify_chain(signing_keys().root, read_from(store)).root.version == 2


def test_a_root_that_the_pinned_one_did_not_sign_is_unknown() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    store.files["metadata/2.root.json"] = rotated(signed_by_old=False)
    assert refusal(store, signing_keys().root) is Reason.UNKNOWN_ROOT


def test_a_root_that_skips_a_version_is_refused() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    store.files["metadata/2.root.json"] = rotated(version=3)
    assert refusal(store, signing_keys().root) is Reason.ROLLBACK


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("metadata/timestamp.json", b"{}", Reason.UNDECODABLE),
        ("metadata/timestamp.json", b"[" * 16_000, Reason.UNDECODABLE),
        ("metadata/timestamp.json", b" " * 20_000, Reason.TOO_LARGE),
        ("metadata/1.snapshot.json", b"{}", Reason.DIGEST),
        ("metadata/1.targets.json", b"", Reason.DIGEST),
        ("metadata/2.root.json", b"{}", Reason.UNKNOWN_ROOT),
    ],
)
def test_a_wrong_file_is_refused_for_its_reason(name: str, content: bytes, reason: Reason) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    store.files[name] = content
    assert refusal(store, signing_keys().root) is reason


@pytest.mark.parametrize("name", ["metadata/timestamp.json", "metadata/1.snapshot.json", "metadata/1.targets.json"])
def test_a_missing_file_is_missing(name: str) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    del store.files[name]
    assert refusal(store, signing_keys().root) is Reason.MISSING


def test_one_role_cannot_speak_for_another() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    store.files["metadata/timestamp.json"] = store.files["metadata/1.snapshot.json"]
    assert refusal(store, signing_keys().root) is Reason.UNDECODABLE


def test_a_root_that_is_no_root_is_unknown() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    assert refusal(store, b"not json") is Reason.UNKNOWN_ROOT
    assert refusal(store, store.files["metadata/timestamp.json"]) is Reason.UNKNOWN_ROOT


def test_a_root_that_is_known_is_read_again_and_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store, known = MemoryStore(), KnownRoots()
    release_mesh(store, mesh("one"))
    store.files["metadata/2.root.json"] = rotated()
    first = verify_chain(signing_keys().root, read_from(store), known)
    asked = []
    verify = Root.get_verification_result

    def counted(root: Root, role: str, payload: bytes, signatures: dict[str, Signature]) -> object:
        asked.append(role)
        return verify(root, role, payload, signatures)

    monkeypatch.setattr(Root, "get_verification_result", counted)
    again = verify_chain(signing_keys().root, read_from(store), known)
    assert (again.root, again.files) == (first.root, first.files)
    assert sorted(asked) == ["snapshot", "targets", "timestamp"]


def test_what_is_known_of_one_root_vouches_for_no_other() -> None:
    store, known = MemoryStore(), KnownRoots()
    release_mesh(store, mesh("one"))
    store.files["metadata/2.root.json"] = rotated()
    verify_chain(signing_keys().root, read_from(store), known)
    # The same bytes after another root, a forged successor, and a successor that is gone: none of them is what verified.
    with pytest.raises(Untrusted) as caught:
        verify_chain(signing_keys("theirs").root, read_from(store), known)
    assert caught.value.reason is Reason.UNKNOWN_ROOT
    store.files["metadata/2.root.json"] = rotated(signed_by_old=False)
    with pytest.raises(Untrusted) as caught:
        verify_chain(signing_keys().root, read_from(store), known)
    assert caught.value.reason is Reason.UNKNOWN_ROOT
    del store.files["metadata/2.root.json"]
    assert verify_chain(signing_keys().root, read_from(store), known).root.version == 1
