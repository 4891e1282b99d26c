"""The mutations of a published release served through a real store, one at a time: a program, and what a test runs a part of.

python -m tests.faults.trust_mutations --store s3,oci,http [--every N]
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import click

from tests.faults.mutations import Outcome, Victim
from tests.faults.places import KINDS, Tampered, a_place


def mutate(tampered: Tampered, *, every: int) -> Outcome:
    """Puts release 2 into the place, then every nth mutation after the other, and has a proxy of release 1 look at each.

    Raises AssertionError where one is loaded, release 1 does not go on, or the place is not sound again at the end.
    """
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="weft-faults-") as folder, closing(tampered.place.open()) as store:
        victim = Victim(Path(folder))
        for name, content in victim.newer.items():
            tampered.overwrite(name, content)
        for mutation in itertools.islice(victim.mutations(), 0, None, every):
            if mutation.content is None:
                tampered.remove(mutation.name)
            else:
                tampered.overwrite(mutation.name, mutation.content)
            victim.judge(store, mutation, outcome)
            tampered.overwrite(mutation.name, victim.newer[mutation.name])
        victim.require_none_loaded(outcome, keeps_blobs=tampered.place.kind == "http")
        sound = victim.restarted(store).refresh(wait_s=0.0)
        assert sound is not None
        assert sound.release.version == 2
    return outcome


@click.command()
@click.option("--store", "kinds", default=",".join(KINDS), show_default=True, help="Kinds of stores.")
@click.option("--every", default=1, show_default=True, help="Only every so many of the mutations.")
def main(kinds: str, every: int) -> None:
    """Serve a release with one thing wrong in it through real stores, and count what a proxy refuses."""
    for kind in kinds.split(","):
        begin = time.monotonic()
        with a_place(kind) as tampered:
            outcome = mutate(tampered, every=every)
        reasons = ", ".join(f"{reason} {count}" for reason, count in outcome.refused.most_common())
        print(
            f"{kind}: {outcome.refused.total()} refused ({reasons}); {len(outcome.loaded)} changed nothing; "
            f"{time.monotonic() - begin:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
