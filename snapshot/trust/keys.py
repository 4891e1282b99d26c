"""Signing keys on disk and the root of trust that lists them.

A keys directory holds ``<role>.pem`` (further keys of a role are ``<role>-<anything>.pem``), each an ed25519 key in PKCS#8, mode 0600, and
``root.json``, which is public: it is what proxies pin. ``break-glass.pem``, where there is one, is a second targets key, for when CI is gone:
the root marks it, so what it signs can be told from the rest. The root key signs nothing but roots and belongs on a disk that is off the
network; the publisher needs targets, snapshot and timestamp; ``weft control`` needs snapshot and timestamp to renew them.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from snapshot.store import StoreError, not_written
from snapshot.store_directory import write_atomically
from snapshot.trust.layout import LIFETIMES, MAX_BYTES, ROLES

BREAK_GLASS = "break-glass"
_USE = "x-weft-use"
"""The field of a root's key that says what the key is for; TUF clients keep it and do not look at it."""


class KeyProblem(Exception):  # noqa: N818  what the user has with a key
    """A keys directory cannot be made or used; the message names the file and the next step."""


class SigningKeys(msgspec.Struct, frozen=True):
    """The pinned root and, per role, the signers at hand. ``folder`` is for messages."""

    folder: str
    root: bytes
    signers: dict[str, tuple[Signer, ...]]


def create_keys(folder: Path, *, now: datetime, break_glass: bool = False) -> bytes:
    """Makes one key per role and a signed root in ``folder``; returns the root. Raises KeyProblem rather than overwrite anything.

    ``break_glass`` makes break-glass.pem too, which may sign targets in place of targets.pem.
    """
    made = (*ROLES, BREAK_GLASS) if break_glass else ROLES
    taken = [name for name in ("root.json", *(f"{name}.pem" for name in made)) if (folder / name).exists()]
    if taken:
        raise KeyProblem(f"{folder / taken[0]} exists already: keys are never overwritten. Choose an empty directory")
    signers = {name: CryptoSigner.generate_ed25519() for name in made}
    by_role = {role: [signers[role]] for role in ROLES}
    if break_glass:
        signers[BREAK_GLASS].public_key.unrecognized_fields[_USE] = BREAK_GLASS
        by_role["targets"].append(signers[BREAK_GLASS])
    metadata = sign_root(by_role, version=1, now=now)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, signer in signers.items():
            write_atomically(folder / f"{name}.pem", signer.private_bytes, mode=0o600)
        write_atomically(folder / "root.json", metadata)
    except OSError as error:
        raise KeyProblem(f"cannot write keys to {folder}: {not_written(error)}") from None
    except StoreError as error:
        raise KeyProblem(str(error)) from None
    return metadata


def sign_root(
    signers: dict[str, list[CryptoSigner]], *, version: int, now: datetime, thresholds: dict[str, int] | None = None
) -> bytes:
    """A root that lists the public parts of all signers and is signed by those of the role root. A threshold not given is 1."""
    root = Root(version=version, expires=_whole_seconds(now + LIFETIMES["root"]), consistent_snapshot=True)
    for role, keys in signers.items():
        for signer in keys:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = (thresholds or {}).get(role, 1)
    metadata = Metadata(root)
    for signer in signers["root"]:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def load_keys(folder: Path, roles: Iterable[str], *, break_glass: bool = False) -> SigningKeys:
    """The root and the private keys of ``roles``; raises KeyProblem where one is missing, readable by others, or not listed by the root.

    ``break_glass`` takes break-glass.pem in place of the targets key.
    """
    raw, root = read_root(folder)
    signers = {role: signers_of(folder, role, root) for role in roles if not (break_glass and role == "targets")}
    if break_glass:
        signers["targets"] = (_break_glass_signer(folder, root),)
    return SigningKeys(folder=str(folder), root=raw, signers=signers)


def read_root(folder: Path) -> tuple[bytes, Root]:
    """The root of a keys directory, its bytes and what they say; raises KeyProblem."""
    raw = _read(folder / "root.json", max_bytes=MAX_BYTES["root"])
    try:
        root = Metadata[Root].from_bytes(raw).signed
    except RepositoryError as error:
        raise KeyProblem(f"{folder / 'root.json'} is not a TUF root: {error}") from None
    if not isinstance(root, Root):
        raise KeyProblem(f"{folder / 'root.json'} is not a TUF root, but {root.type} metadata")
    return raw, root


def is_break_glass(root: Root, keyid: str) -> bool:
    """Whether the root marks a key as the one for emergencies."""
    return keyid in root.keys and root.keys[keyid].unrecognized_fields.get(_USE) == BREAK_GLASS


def _break_glass_signer(folder: Path, root: Root) -> Signer:
    path = folder / f"{BREAK_GLASS}.pem"
    if not path.exists():
        raise KeyProblem(f"{folder} has no {path.name}: it is made by `weft keys init --break-glass`, and kept apart")
    signer = _signer(path, "targets", root)
    if not is_break_glass(root, signer.public_key.keyid):
        raise KeyProblem(f"{path} is not the break-glass key of {folder / 'root.json'}")
    return signer


def signers_of(folder: Path, role: str, root: Root) -> tuple[Signer, ...]:
    """The signers of a role whose keys are in ``folder``, as ``root`` lists them; raises KeyProblem as ``load_keys`` does."""
    first = folder / f"{role}.pem"
    signers = (*([_signer(first, role, root)] if first.exists() else []), *further_signers(folder, role, root))
    if not signers:
        raise KeyProblem(
            f"{folder} has no {role}.pem: give the directory that `weft keys init` made, with the {role} key in it"
        )
    return signers


def further_signers(folder: Path, role: str, root: Root) -> tuple[Signer, ...]:
    """As ``signers_of``, of the further keys alone, and none where there are none."""
    return tuple(_signer(path, role, root) for path in sorted(folder.glob(f"{role}-*.pem")))


def _signer(path: Path, role: str, root: Root) -> Signer:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyProblem(
            f"{path} is readable by others (mode {mode:04o}): a private key must be yours alone. Run: chmod 600 {path}"
        )
    try:
        private = load_pem_private_key(_read(path, max_bytes=65_536), None)
        public = CryptoSigner(private).public_key
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyProblem(f"{path} is not an unencrypted ed25519, ECDSA or RSA key in PEM: {error}") from None
    # The key's name in the root counts, which need not be the one that the library would compute.
    for keyid in root.roles[role].keyids:
        listed = root.keys[keyid]
        if isinstance(listed, SSlibKey) and listed.keyval == public.keyval:
            return CryptoSigner(private, listed)
    raise KeyProblem(
        f"{path} is not a {role} key of {path.parent / 'root.json'}: keys and root must be of one `weft keys init`"
    )


def _read(path: Path, *, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise KeyProblem(f"cannot read {path}: {error.strerror}. `weft keys init` makes keys") from None
    if len(content) > max_bytes:
        raise KeyProblem(f"{path} is larger than {max_bytes} bytes")
    return content


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
