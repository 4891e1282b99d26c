"""What survives a restart of the control plane, in one SQLite file: join tokens, issued certificates, registrations.

Every method blocks (SQLite syncs to disk), so the server calls them in a thread; a lock makes one connection safe to share. ``weft ca``
opens the same file from another process, which the write-ahead log allows.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from runtime.control.keyfiles import StateError
from runtime.control.leases import Key, key_of
from snapshot.decoding import packed_decoder
from snapshot.live import RegisteredWorkload

TOKEN_PREFIX = "weft-join-"  # noqa: S105  what a secret scanner can look for, not a secret
LISTED = 10_000
"""The most issued certificates that ``issued`` returns, newest first."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
  hash TEXT PRIMARY KEY, identity TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL, uses_left INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS issued (
  serial TEXT PRIMARY KEY, identity TEXT NOT NULL, by TEXT NOT NULL, issued_at REAL NOT NULL, expires_at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS issued_expiry ON issued (expires_at);
CREATE TABLE IF NOT EXISTS registrations (
  namespace TEXT NOT NULL, name TEXT NOT NULL, address TEXT NOT NULL, workload BLOB NOT NULL,
  PRIMARY KEY (namespace, name, address)
) STRICT;
CREATE TABLE IF NOT EXISTS starts (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL) STRICT;
"""


class IssuedCertificate(msgspec.Struct, frozen=True):
    """One row of the record of issued certificates. ``by`` is ``token``, ``renewal`` or ``server``; ``serial`` is hexadecimal."""

    serial: str
    identity: str
    by: str
    issued_at: float
    expires_at: float


class LedgerError(Exception):
    """The ledger's file could not be read or written (a full disk, a lock held too long); nothing was changed."""


class Ledger:
    """Owns the SQLite file. Every method raises LedgerError where the file does not work.

    All times are seconds since 1970 and are given, never read from a clock here."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file (mode 0600); raises StateError."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        try:
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"cannot open {path}: {error}") from None
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(SCHEMA)
        except sqlite3.Error as error:
            self._connection.close()
            raise StateError(f"cannot open {path}: {error}") from None

    def close(self) -> None:
        """Closes the file; the ledger is of no use afterwards."""
        with self._lock:
            self._connection.close()

    # --- join tokens ---------------------------------------------------------------------------------------------------------

    def create_token(self, identity: str, *, now: float, ttl_s: float, uses: int) -> str:
        """Makes a join token for one SPIFFE ID and returns it; only its hash is kept, so this is the one time it can be read."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        with self._writing() as cursor:
            cursor.execute("DELETE FROM tokens WHERE expires_at <= ? OR uses_left <= 0", (now,))
            cursor.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, ?)", (_hash(token), identity, now, now + ttl_s, uses)
            )
        return token

    def token_identity(self, token: str, *, now: float) -> str | None:
        """The SPIFFE ID that a token would buy now, or None where it is unknown, expired or used up. Does not use it."""
        query = "SELECT identity FROM tokens WHERE hash = ? AND expires_at > ? AND uses_left > 0"
        return self._first(query, (_hash(token), now))

    def use_token(self, token: str, *, now: float) -> str | None:
        """Takes one use of a token and returns its SPIFFE ID, or None; of two callers for the last use, one gets it."""
        query = (
            "UPDATE tokens SET uses_left = uses_left - 1"
            " WHERE hash = ? AND expires_at > ? AND uses_left > 0 RETURNING identity"
        )
        return self._first(query, (_hash(token), now))

    # --- issued certificates -------------------------------------------------------------------------------------------------

    def record(self, certificate: IssuedCertificate, *, keep_s: float = 30 * 86_400.0) -> None:
        """Records an issued certificate; rows that expired over ``keep_s`` before its issue are dropped."""
        with self._writing() as cursor:
            cursor.execute("DELETE FROM issued WHERE expires_at < ?", (certificate.issued_at - keep_s,))
            cursor.execute("INSERT INTO issued VALUES (?, ?, ?, ?, ?)", msgspec.structs.astuple(certificate))

    def issued(self) -> list[IssuedCertificate]:
        """The record of issued certificates, newest first, at most LISTED."""
        query = "SELECT serial, identity, by, issued_at, expires_at FROM issued ORDER BY issued_at DESC, serial LIMIT ?"
        return [IssuedCertificate(*row) for row in self._read(query, (LISTED,))]

    # --- registrations -------------------------------------------------------------------------------------------------------

    def keep_registrations(self, changed: list[RegisteredWorkload], gone: list[Key]) -> None:
        """Writes changed registrations and drops those gone. Refreshed leases are not written: they change nothing."""
        rows = [(*key_of(workload), msgspec.msgpack.encode(workload)) for workload in changed]
        with self._writing() as cursor:
            cursor.executemany("INSERT OR REPLACE INTO registrations VALUES (?, ?, ?, ?)", rows)
            cursor.executemany("DELETE FROM registrations WHERE namespace = ? AND name = ? AND address = ?", gone)

    def registrations(self) -> list[RegisteredWorkload]:
        """The registrations as last written, by key. Rows of another version's shape are skipped: leases renew them."""
        rows = self._read("SELECT workload FROM registrations ORDER BY namespace, name, address", ())
        return [workload for (row,) in rows if (workload := _workload(row)) is not None]

    def count_start(self, *, now: float) -> int:
        """Numbers this start of the control plane: 1, 2, 3 ... Registry versions begin with it, so they never go back."""
        with self._writing() as cursor:
            cursor.execute("INSERT INTO starts (at) VALUES (?)", (now,))
            number = cursor.lastrowid
            assert number is not None
            cursor.execute("DELETE FROM starts WHERE number < ?", (number,))
        return number

    def _first(self, query: str, values: tuple[str | float, ...]) -> str | None:
        rows = self._read(query, values)
        return rows[0][0] if rows else None

    def _read(self, query: str, values: tuple[str | float, ...]) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise LedgerError(f"the control plane's ledger: {error}") from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        with self._lock:
            cursor = self._connection.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                cursor.execute("COMMIT")
            except sqlite3.Error as error:
                raise LedgerError(f"the control plane's ledger: {error}") from None
            finally:
                # Still inside a transaction means that it did not end well, whatever the reason.
                if self._connection.in_transaction:
                    self._connection.rollback()


def _hash(token: str) -> str:
    # A token has 256 random bits, so a plain hash cannot be searched and needs neither salt nor stretching.
    return hashlib.sha256(token.encode()).hexdigest()


def _workload(row: bytes) -> RegisteredWorkload | None:
    try:
        return packed_decoder(RegisteredWorkload).decode(row)
    except msgspec.DecodeError:
        return None
