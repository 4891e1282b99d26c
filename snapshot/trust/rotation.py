"""Changing a role's key while readers go on reading: every reader, old or new, verifies at every moment.

The root role changes in one step: the next root lists the new key and is signed by the old key and the new one. Any other role takes three,
because what it has signed must verify under every root that a reader can see:

    a root that lists the old key and the new one -> what is published, signed again with the new key -> a root without the old key

The new key waits on the disk as ``<role>.pem.next`` until the last step, so a rotation that was interrupted is finished by running it
again. Old keys are moved to ``retired/``, never deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, Root

from snapshot.store import Store, StoreError
from snapshot.store_directory import write_atomically
from snapshot.trust.chain import newest_root
from snapshot.trust.keys import KeyProblem, SigningKeys, further_signers, is_break_glass, read_root, signers_of
from snapshot.trust.layout import LIFETIMES, TIMESTAMP, metadata_name
from snapshot.trust.publisher import read_published, sign_again
from snapshot.trust.source import read_from

SIGNED_WITH = {
    "targets": ("targets", "snapshot", "timestamp"),
    "snapshot": ("snapshot", "timestamp"),
    "timestamp": ("timestamp",),
}
"""The roles that sign anew when a role's key changes: each pins the one before it."""

Tell = Callable[[str], None]


def rotation_steps(folder: Path, role: str) -> tuple[str, ...]:
    """What ``rotate`` does, a sentence each, in order."""
    begin = f"make a new {role} key, {folder / role}.pem.next (or go on with the one that is there)"
    end = f"move the old {role}.pem to {folder / 'retired'}, the new one to its place, and write the new root.json"
    if role == "root":
        return begin, "publish a root that lists the new key, signed by the old root key and the new one", end
    again = ", ".join(SIGNED_WITH[role])
    return (
        begin,
        f"publish a root that lists the old {role} key and the new one",
        f"sign what is published with the new key ({again}); no release changes",
        f"publish a root that no longer lists the old {role} key",
        end,
    )


def rotate(store: Store, folder: Path, role: str, *, now: datetime, tell: Tell) -> bytes:
    """Changes the key of ``role`` in the store and in ``folder``; returns the new root. ``tell`` hears of every step that is done.

    Needs the root key in ``folder``, and the keys of the roles that sign again; not the old key of a role other than root. Expired metadata is
    no obstacle. Raises KeyProblem, Untrusted, Conflict (somebody published meanwhile: run again) and StoreError; running again finishes.
    """
    pinned, root = read_root(folder)
    _require_same(store, folder, pinned, root.version)
    newest = newest_root(pinned, read_from(store))
    _require_before(folder, role, newest.signed)
    new = _next_key(folder, role, tell)
    rotation = _Rotation(store, folder, role, new, now.replace(microsecond=0), tell)
    newest = rotation.change_root_key(newest) if role == "root" else rotation.change_role_key(newest, pinned)
    raw = newest.to_bytes()
    _settle(folder, role, raw)
    tell(f"{folder / role}.pem is the new key; {folder / 'root.json'} is version {newest.signed.version} of the root")
    return raw


class _Rotation:
    """One rotation under way: where, of which role, and to which key. Owns nothing."""

    def __init__(self, store: Store, folder: Path, role: str, new: CryptoSigner, now: datetime, tell: Tell) -> None:
        self._store = store
        self._folder = folder
        self._role = role
        self._new = new
        self._now = now
        self._tell = tell

    def change_root_key(self, newest: Metadata[Root]) -> Metadata[Root]:
        """The next root, signed by the old root keys at hand and the new one; the newest as it is, where that was done before."""
        if self._listed(newest.signed):
            return newest
        old = signers_of(self._folder, "root", newest.signed)
        kept = {signer.public_key.keyid for signer in further_signers(self._folder, "root", newest.signed)}
        return self._put_root(newest, kept, (*old, self._new))

    def change_role_key(self, newest: Metadata[Root], pinned: bytes) -> Metadata[Root]:
        """The newest root after the three steps, each left out where it was done before."""
        masters = signers_of(self._folder, "root", newest.signed)
        if not self._listed(newest.signed):
            newest = self._put_root(newest, set(newest.signed.roles[self._role].keyids), masters)
        kept = self._kept(newest.signed)
        if set(newest.signed.roles[self._role].keyids) <= kept:
            return newest
        published = read_published(self._store, pinned, channel="")
        if published is not None:
            sign_again(self._store, self._signing(newest), self._role, published=published, now=self._now)
            self._tell(f"signed what is published with the new key ({', '.join(SIGNED_WITH[self._role])})")
        return self._put_root(newest, kept, masters)

    def _listed(self, root: Root) -> bool:
        return self._new.public_key.keyid in root.roles[self._role].keyids

    def _kept(self, root: Root) -> set[str]:
        """The keys of the role that stay: the new one, further ones in the directory, and the one for emergencies."""
        further = {signer.public_key.keyid for signer in further_signers(self._folder, self._role, root)}
        emergency = {keyid for keyid in root.roles[self._role].keyids if is_break_glass(root, keyid)}
        return further | emergency | {self._new.public_key.keyid}

    def _signing(self, newest: Metadata[Root]) -> SigningKeys:
        signers: dict[str, tuple[Signer, ...]] = {
            role: signers_of(self._folder, role, newest.signed)
            for role in SIGNED_WITH[self._role]
            if role != self._role
        }
        signers[self._role] = (self._new, *further_signers(self._folder, self._role, newest.signed))
        return SigningKeys(str(self._folder), newest.to_bytes(), signers)

    def _put_root(self, newest: Metadata[Root], kept: set[str], masters: tuple[Signer, ...]) -> Metadata[Root]:
        """Publishes the next root: of the role's keys those in ``kept`` stay, and the new one is added. Raises KeyProblem where too few sign."""
        root = deepcopy(newest.signed)
        root.version += 1
        root.expires = self._now + LIFETIMES["root"]
        root.add_key(self._new.public_key, self._role)
        gone = [keyid for keyid in root.roles[self._role].keyids if keyid not in kept | {self._new.public_key.keyid}]
        for keyid in gone:
            root.revoke_key(keyid, self._role)
        metadata = Metadata(root)
        for signer in masters:
            metadata.sign(signer, append=True)
        result = root.get_root_verification_result(newest.signed, metadata.signed_bytes, metadata.signatures)
        if not result.verified:
            raise KeyProblem(
                f"the root keys in {self._folder} do not suffice to sign a new root: bring back all that the role asks for"
            )
        self._store.put(metadata_name("root", root.version), metadata.to_bytes())
        revoked = f", and no longer {', '.join(keyid[:12] for keyid in gone)}" if gone else ""
        self._tell(f"published version {root.version} of the root: it lists {self._new.public_key.keyid[:12]}{revoked}")
        return metadata


def _require_same(store: Store, folder: Path, pinned: bytes, version: int) -> None:
    """Raises KeyProblem where the store was made with other keys: a root of ours among its roots would end every reader's trust."""
    held = read_from(store)(metadata_name("root", version))
    if held == pinned or (held is None and not store.contains(TIMESTAMP)):
        return
    raise KeyProblem(
        f"the store was published with other keys: its version {version} of the root is not {folder / 'root.json'}; "
        "look at --store and --keys. Nothing was changed"
    )


def _require_before(folder: Path, role: str, root: Root) -> None:
    """Raises KeyProblem, before anything is written, where a key is missing that a later step needs."""
    for needed in SIGNED_WITH.get(role, ()):
        if needed != role:
            signers_of(folder, needed, root)
    if not (folder / f"{role}.pem.next").exists() or role != "root":
        signers_of(folder, "root", root)


def _next_key(folder: Path, role: str, tell: Tell) -> CryptoSigner:
    path = folder / f"{role}.pem.next"
    try:
        if path.exists():
            tell(f"going on with {path}, which an interrupted rotation left")
            return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
        signer = CryptoSigner.generate_ed25519()
        write_atomically(path, signer.private_bytes, mode=0o600)
    except (OSError, StoreError, ValueError, TypeError) as error:
        raise KeyProblem(f"cannot keep the new key at {path}: {error}") from None
    tell(f"made a new {role} key: {path}")
    return signer


def _settle(folder: Path, role: str, root: bytes) -> None:
    """Puts the new key and the new root in their places. The key waits under its own name until both are, so this too can be done again."""
    retired = folder / "retired"
    current, waiting = folder / f"{role}.pem", folder / f"{role}.pem.next"
    try:
        retired.mkdir(mode=0o700, exist_ok=True)
        write_atomically(folder / "root.json", root)
        if current.exists():
            current.replace(retired / f"{role}-until-root-{_version(root)}.pem")
        waiting.replace(current)
    except (OSError, StoreError) as error:
        raise KeyProblem(
            f"the store has the new key, but {folder} could not be changed: {error}. Run it again"
        ) from None


def _version(root: bytes) -> int:
    return Metadata[Root].from_bytes(root).signed.version
