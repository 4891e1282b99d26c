"""From a location, as a command line or a bootstrap file gives it, to a store."""

from __future__ import annotations

from pathlib import Path

from snapshot.store import Store, StoreError
from snapshot.store_directory import DirectoryStore


def open_store(location: str, *, ca: str = "", token: str = "") -> Store:
    """The store at a directory or an ``http(s)://`` URL.

    ``ca`` is a PEM file that an https server's certificate must chain to ("" is the system's roots), ``token`` what publishing over
    HTTP presents. Raises StoreError for a location of no known kind or an unreadable ``ca``.
    """
    if location.startswith(("http://", "https://")):
        # httpx takes 60 ms to import, which a directory store need not pay.
        from snapshot.store_http import HttpStore

        return HttpStore(location, ca=ca, token=token)
    if "://" in location:
        raise StoreError(f"{location}: a store is a directory, an http:// or an https:// URL")
    return DirectoryStore(Path(location))
