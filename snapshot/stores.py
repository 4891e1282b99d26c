"""From a location, as a command line or a bootstrap file gives it, to a store."""

from __future__ import annotations

from pathlib import Path

from snapshot.store import Store, StoreError
from snapshot.store_directory import DirectoryStore


def open_store(location: str, *, ca: str = "", token: str = "") -> Store:
    """The store at a directory, or at an ``http(s)://``, ``s3://`` or ``oci://`` location.

    ``ca`` is a PEM file that a server's certificate must chain to ("" is the system's roots), ``token`` what publishing over HTTP
    presents, or ``user:password`` for a registry. Raises StoreError for a location of no known kind, an unreadable ``ca``, or a kind whose
    optional dependency is not installed.
    """
    if location.startswith(("http://", "https://")):
        # httpx takes 60 ms to import, which a directory store need not pay.
        from snapshot.store_http import HttpStore

        return HttpStore(location, ca=ca, token=token)
    if location.startswith("s3://"):
        from snapshot.store_s3 import S3Store

        return S3Store(location, ca=ca)
    if location.startswith("oci://"):
        from snapshot.store_oci import OciStore

        return OciStore(location, ca=ca, login=token)
    if "://" in location:
        raise StoreError(f"{location}: a store is a directory, or an http://, https://, s3:// or oci:// location")
    return DirectoryStore(Path(location))
