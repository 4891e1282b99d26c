"""What the ledger keeps, and that a join token is worth what it says and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.control.keyfiles import StateError
from runtime.control.ledger import IssuedCertificate, Ledger, LedgerError
from snapshot.live import RegisteredWorkload

NOW = 1_800_000_000.0
IDENTITY = "spiffe://shop.test/ns/shop/sa/reviews"
WORKLOAD = RegisteredWorkload("shop", "reviews-1", "127.0.0.3", (("app", "reviews"),), IDENTITY)


@pytest.fixture
def ledger(tmp_path: Path):
    opened = Ledger(tmp_path / "control.sqlite")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("uses", "age_s", "tries", "granted"),
    [(1, 0, 1, 1), (1, 0, 3, 1), (2, 0, 3, 2), (5, 59, 1, 1), (5, 60, 1, 0), (0, 0, 1, 0)],
)
def test_a_token_buys_its_identity_as_often_and_as_long_as_it_says(ledger, uses, age_s, tries, granted) -> None:
    token = ledger.create_token(IDENTITY, now=NOW, ttl_s=60, uses=uses)
    answers = [ledger.use_token(token, now=NOW + age_s) for _ in range(tries)]
    assert answers == [IDENTITY] * granted + [None] * (tries - granted)


def test_looking_at_a_token_does_not_use_it(ledger) -> None:
    token = ledger.create_token(IDENTITY, now=NOW, ttl_s=60, uses=1)
    assert ledger.token_identity(token, now=NOW) == IDENTITY
    assert ledger.use_token(token, now=NOW) == IDENTITY
    assert ledger.token_identity(token, now=NOW) is None


def test_a_token_that_nobody_made_buys_nothing(ledger) -> None:
    ledger.create_token(IDENTITY, now=NOW, ttl_s=60, uses=1)
    assert ledger.use_token("weft-join-guess", now=NOW) is None


def test_the_file_holds_no_token_in_clear_and_is_private(ledger, tmp_path: Path) -> None:
    token = ledger.create_token(IDENTITY, now=NOW, ttl_s=60, uses=1)
    ledger.close()
    assert all(token.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    assert (tmp_path / "control.sqlite").stat().st_mode & 0o777 == 0o600


def test_everything_is_there_after_a_restart(ledger, tmp_path: Path) -> None:
    token = ledger.create_token(IDENTITY, now=NOW, ttl_s=60, uses=1)
    certificate = IssuedCertificate("0af", IDENTITY, "token", NOW, NOW + 60)
    ledger.record(certificate)
    ledger.keep_registrations([WORKLOAD], [])
    first = ledger.count_start(now=NOW)
    ledger.close()
    again = Ledger(tmp_path / "control.sqlite")
    assert again.use_token(token, now=NOW) == IDENTITY
    assert again.issued() == [certificate]
    assert again.registrations() == [WORKLOAD]
    assert again.count_start(now=NOW) == first + 1
    again.close()
    again.close()


def test_a_registration_that_ended_is_not_kept(ledger) -> None:
    ledger.keep_registrations([WORKLOAD], [])
    ledger.keep_registrations([], [("shop", "reviews-1", "127.0.0.3")])
    assert ledger.registrations() == []


def test_certificates_long_expired_leave_the_record(ledger) -> None:
    ledger.record(IssuedCertificate("01", IDENTITY, "token", NOW, NOW + 60))
    ledger.record(IssuedCertificate("02", IDENTITY, "renewal", NOW + 100, NOW + 160), keep_s=30)
    assert [row.serial for row in ledger.issued()] == ["02"]


def test_a_write_that_fails_changes_nothing(ledger) -> None:
    certificate = IssuedCertificate("01", IDENTITY, "token", NOW, NOW + 60)
    ledger.record(certificate)
    with pytest.raises(LedgerError, match="UNIQUE"):
        ledger.record(certificate)
    assert ledger.issued() == [certificate]


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "control.sqlite").write_bytes(b"not a database, but long enough to look like a file of its own kind")
    with pytest.raises(StateError, match=r"control\.sqlite"):
        Ledger(tmp_path / "control.sqlite")
