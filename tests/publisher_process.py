"""A publisher as a process of its own, to be killed: publishes one mesh after the other over a location until it dies.

Arguments: the store's location, a keys directory. Prints the version of each release once it is published.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from snapshot.store import Store
from snapshot.stores import open_store
from snapshot.trust.keys import load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from tests.store_servers import QUICK
from tests.stores import mesh, release_mesh


def opened(location: str) -> Store:
    """The store there, with a lease that a test can wait for."""
    if location.startswith("oci://"):
        from snapshot.store_oci import OciStore

        return OciStore(location, pace=QUICK)
    return open_store(location)


def main(location: str, keys: str) -> None:
    """Publishes without end."""
    store = opened(location)
    signing = load_keys(Path(keys), PUBLISHER_ROLES)
    for number in count():
        release = release_mesh(store, mesh(f"{number}", routes=3), keys=signing)
        print(release.version, release.snapshot, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
