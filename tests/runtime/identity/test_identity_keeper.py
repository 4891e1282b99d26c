"""The keeper under a clock of the test's own, with an authority that can be told to fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.control.certificates import Issuer, chain_pem, make_intermediate, make_root, make_svid
from runtime.control.interface import SignedCertificate
from runtime.discovery.control import ControlClient, ControlError
from runtime.identity.keeper import IdentityKeeper
from runtime.identity.saved import SavedIdentity
from snapshot.live import Svid

START = 1_800_000_000.0
LIFE_S = 1000.0
ALICE = "spiffe://td/ns/a/sa/alice"


class Authority(ControlClient):
    """Signs as the control plane does. ``down`` refuses everything; ``identity`` is what it gives, whoever asks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__("https://127.0.0.1:1", "")
        now = clock()
        self.root = make_root("td", now=now, life_s=10 * LIFE_S)
        self.issuer: Issuer = make_intermediate(self.root, "td", now=now, life_s=10 * LIFE_S)
        self.bundle = chain_pem(self.root.certificate)
        self.identity = ALICE
        self.down = False
        self.asked: list[tuple[float, str]] = []
        self.bundles_read = 0
        self.moved = trio.Event()
        self._now = clock

    def tell(self) -> None:
        """Something happened that a test may wait for."""
        self.moved.set()
        self.moved = trio.Event()

    async def sign(self, csr: bytes, token: str = "") -> SignedCertificate:
        self.asked.append((trio.current_time(), token))
        self.tell()
        if self.down:
            raise ControlError("unreachable", "the authority is away")
        key = x509.load_pem_x509_csr(csr).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        leaf = make_svid(self.issuer, key, self.identity, now=self._now(), life_s=LIFE_S)
        chain = chain_pem(leaf, self.issuer.certificate).decode()
        return SignedCertificate(chain, self.bundle.decode(), self.identity, self._now(), self._now() + LIFE_S)

    async def read_bundle(self) -> bytes:
        self.bundles_read += 1
        self.tell()
        if self.down:
            raise ControlError("unreachable", "the authority is away")
        return self.bundle


class Setting:
    """A keeper, its authority, and what it emitted with the time of it."""

    def __init__(self, folder: Path) -> None:
        self.clock: Callable[[], float] = lambda: START + trio.current_time()
        self.authority = Authority(self.clock)
        (folder / "token").write_text("secret\n")
        self.folder = folder
        self.emitted: list[tuple[float, Svid]] = []
        self.keeper = self.new_keeper()

    def new_keeper(self) -> IdentityKeeper:
        saved = SavedIdentity(self.folder / "state")
        return IdentityKeeper(self.authority, saved, str(self.folder / "token"), clock=self.clock, draw=lambda: 0.5)

    async def emit(self, svid: Svid) -> None:
        self.emitted.append((trio.current_time(), svid))
        self.authority.tell()

    async def until(self, condition: Callable[[], object], *, follow_bundle: bool = False) -> None:
        """Runs the keeper until something holds. No deadline of the test's own: the clock could jump over it while a thread works."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keeper.run, self.emit)
            if follow_bundle:
                nursery.start_soon(self.keeper.follow_bundle, self.emit)
            while not condition():
                await self.authority.moved.wait()
            nursery.cancel_scope.cancel()

    async def emits(self, count: int, *, follow_bundle: bool = False) -> None:
        """Runs the keeper until it has emitted so often in all."""
        await self.until(lambda: len(self.emitted) >= count, follow_bundle=follow_bundle)


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """Jumps only when nothing has happened for a while: threads take real time, in which it must stand still."""
    return trio.testing.MockClock(autojump_threshold=0.02)


@pytest.fixture
async def setting(tmp_path: Path, clock: trio.testing.MockClock) -> Setting:
    return Setting(tmp_path)


async def test_the_token_buys_the_first_certificate_and_the_certificate_the_next(
    setting: Setting, clock: trio.testing.MockClock
) -> None:
    await setting.emits(2)
    assert [token for _, token in setting.authority.asked] == ["secret", ""]
    times = [at for at, _ in setting.emitted]
    assert times[1] - times[0] == pytest.approx(LIFE_S / 2, abs=5)


async def test_while_the_authority_is_away_the_last_certificate_stays_and_recovery_is_told(
    setting: Setting, clock: trio.testing.MockClock
) -> None:
    await setting.emits(1)
    setting.authority.down = True
    await setting.until(lambda: setting.keeper.failed_total > 3)
    assert setting.keeper.problem == "the authority is away"
    assert setting.keeper.svid is not None
    held = len(setting.emitted)
    setting.authority.down = False
    await setting.emits(held + 2)
    assert setting.keeper.problem == ""
    assert setting.emitted[-1][1] != setting.emitted[0][1]


async def test_after_its_end_a_new_certificate_is_bought_with_the_token_again(
    setting: Setting, clock: trio.testing.MockClock
) -> None:
    await setting.emits(1)
    setting.authority.down = True
    await setting.until(lambda: setting.clock() > START + 1.01 * LIFE_S)
    held = len(setting.emitted)
    setting.authority.down = False
    await setting.emits(held + 1)
    assert setting.authority.asked[-1][1] == "secret"
    assert setting.keeper.problem == ""


async def test_a_restart_takes_up_the_saved_certificate_without_asking(
    setting: Setting, clock: trio.testing.MockClock
) -> None:
    await setting.emits(1)
    setting.authority.down = True
    setting.keeper = setting.new_keeper()
    await setting.emits(2)
    assert setting.emitted[1][1].certificate_chain == setting.emitted[0][1].certificate_chain
    assert len(setting.authority.asked) == 1


async def test_a_renewal_for_another_identity_is_not_taken(setting: Setting, clock: trio.testing.MockClock) -> None:
    await setting.emits(1)
    setting.authority.identity = "spiffe://td/ns/a/sa/mallory"
    await setting.until(lambda: setting.keeper.failed_total >= 2)
    assert {svid.identity for _, svid in setting.emitted} == {ALICE}
    assert "mallory" in setting.keeper.problem


async def test_a_changed_bundle_counts_between_rotations(setting: Setting, clock: trio.testing.MockClock) -> None:
    await setting.emits(1)
    setting.authority.bundle += chain_pem(make_root("td", now=setting.clock(), life_s=LIFE_S).certificate)
    # The first that a keeper emits after its start is what it had saved.
    await setting.emits(3, follow_bundle=True)
    (began, before), (at, last) = setting.emitted[-2:]
    assert at - began <= 5.0
    assert last.bundle == setting.authority.bundle
    assert msgspec.structs.replace(last, bundle=b"") == msgspec.structs.replace(before, bundle=b"")


async def test_a_bundle_that_is_no_bundle_is_not_taken(setting: Setting, clock: trio.testing.MockClock) -> None:
    await setting.emits(1)
    good = setting.authority.bundle
    setting.authority.bundle = b"garbage"
    await setting.until(lambda: setting.authority.bundles_read >= 3, follow_bundle=True)
    assert setting.keeper.svid is not None
    assert setting.keeper.svid.bundle == good


async def test_a_state_folder_that_cannot_be_written_costs_only_the_restart(
    setting: Setting, clock: trio.testing.MockClock
) -> None:
    (setting.folder / "state").write_text("a file where the folder should be")
    await setting.emits(1)
    assert [svid.identity for _, svid in setting.emitted] == [ALICE]


def test_a_saved_certificate_that_is_damaged_or_over_is_not_taken(tmp_path: Path) -> None:
    saved = SavedIdentity(tmp_path)
    assert saved.load(now=0.0) is None
    saved.certificate.write_bytes(b"garbage")
    saved.bundle.write_bytes(b"garbage")
    assert saved.load(now=0.0) is None
