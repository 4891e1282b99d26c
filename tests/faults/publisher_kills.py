"""A publisher killed with SIGKILL at random moments: a program, and what a test runs a few rounds of.

    python -m tests.faults.publisher_kills --store directory,s3,oci,http --kills 100 [--seed N]

Every round starts a publisher in a process of its own, kills it, and lets three verifying clients look: each must load the release
before or the new one, whole. Then the next publication must succeed, without waiting for anybody's help.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import click
import msgspec

from snapshot.trust.keys import create_keys, load_keys
from snapshot.trust.layout import PUBLISHER_ROLES, TIMESTAMP
from tests.faults.dying import DONE, READY, mesh_of_round, publish_once
from tests.faults.places import KINDS, Place, a_place
from tests.faults.witnesses import Record, Seen, Witnesses
from tests.stores import NOW, release_mesh

SPREAD = 1.15
"""Moments are drawn over so much of a whole publication's duration, so that some come right after its end."""

START_S = 30.0


class Round(msgspec.Struct, frozen=True):
    """One kill: during which write the publisher died ("" before the first, DONE after all), and whether its release stands."""

    during: str
    published: bool


class Moment(msgspec.Struct, frozen=True):
    """When to kill: so many seconds after so many writes were begun."""

    writes: int
    after_s: float


class Tally(msgspec.Struct):
    """Owns the rounds of one store; ``names`` is how many names of signed metadata there are at the end."""

    rounds: list[Round] = msgspec.field(default_factory=list)
    publication_s: float = 0.0
    names: int = 0

    def moments(self) -> Counter[str]:
        """How many died during which kind of write."""
        return Counter(_stage(one.during) for one in self.rounds)


def kill_publishers(place: Place, folder: Path, *, kills: int, seed: int) -> Tally:
    """Runs the rounds; ``folder`` is empty. Raises AssertionError, Untrusted or StoreError where a store is spoiled."""
    root = create_keys(folder / "keys", now=NOW)
    trial = _Trial(place, folder, root)
    tally = Tally()
    trial.publish("first")
    tally.publication_s, writes = trial.time_a_publication()
    rng = random.Random(seed)
    for number in range(kills):
        tally.rounds.append(trial.kill(f"round {number}", _moment(rng, tally.publication_s, writes)))
        trial.publish(f"after round {number}")
    tally.names = trial.count_names()
    return tally


def _moment(rng: random.Random, publication_s: float, writes: int) -> Moment:
    """Half of the moments are spread evenly over time, half over the writes: most of the time goes by in few of them."""
    if rng.random() < 0.5:
        return Moment(0, rng.uniform(0, SPREAD * publication_s))
    return Moment(rng.randint(1, writes), rng.uniform(0, publication_s / writes))


class _Trial:
    """Owns the witnesses and the last release that stands."""

    def __init__(self, place: Place, folder: Path, root: bytes) -> None:
        self._place = place
        self._keys = folder / "keys"
        self._witnesses = Witnesses(folder, root)
        self._record = Record()
        self._stands = Seen(0, "")

    def publish(self, body: str) -> None:
        """A publication that nobody disturbs: it must succeed, with a version that nobody has used."""
        with closing(self._place.open()) as store:
            release = release_mesh(store, mesh_of_round(body), keys=load_keys(self._keys, PUBLISHER_ROLES))
        assert release.version > self._stands.version
        assert self._look(release.snapshot) == Seen(release.version, release.snapshot)

    def time_a_publication(self) -> tuple[float, int]:
        """Lets a publisher live; returns how many seconds it took, and how many writes."""
        with _publisher(self._place, self._keys, "timed") as (_, told):
            begin = time.monotonic()
            writes = told.read(until=DONE)
            took_s = time.monotonic() - begin
        self._look(mesh_of_round("timed").digest)
        return took_s, len(writes) - 1

    def kill(self, body: str, moment: Moment) -> Round:
        """Kills a publisher and looks at what it left."""
        before = self._stands
        with _publisher(self._place, self._keys, body) as (process, told):
            told.read(lines=moment.writes)
            process.join(moment.after_s)
            process.kill()
            process.join()
            writes = told.read()
        self._look(before.snapshot, mesh_of_round(body).digest)
        return Round(during=writes[-1] if writes else "", published=self._stands != before)

    def count_names(self) -> int:
        """Reads every name of signed metadata once more, and counts them."""
        with closing(self._place.open()) as store:
            return self._record.read_all(store)

    def _look(self, *allowed: str) -> Seen:
        with closing(self._place.open()) as store:
            seen = self._witnesses.look(store)
            self._record.read(store, seen.version)
        self._record.note(seen)
        assert seen.snapshot in allowed
        assert seen == self._stands or seen.version > self._stands.version
        self._stands = seen
        return seen


class _Told:
    """Owns what a publisher has told so far, line by line."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lines: list[str] = []

    def read(self, *, until: str = "", lines: int = -1) -> list[str]:
        """Reads until there is the line ``until``, or so many ``lines``, or the publisher has ended; returns all since READY."""
        partial = b""
        while not (until in self._lines or 0 <= lines <= len(self._lines)):
            chunk = os.read(self._pipe.fileno(), 65_536)
            if not chunk:
                break
            *whole, partial = (partial + chunk).split(b"\n")
            self._lines += [line.decode() for line in whole]
        assert not partial, "lines are written whole"
        return self._lines


@contextmanager
def _publisher(place: Place, keys: Path, body: str) -> Iterator[tuple[BaseProcess, _Told]]:
    """A publisher that is ready to begin, forked from a process that has imported everything; and what it tells from then on."""
    starting = multiprocessing.get_context("forkserver")
    starting.set_forkserver_preload(["tests.faults.dying", "snapshot.store_oci", "snapshot.store_s3"])
    told, telling = starting.Pipe(duplex=False)
    process = starting.Process(target=publish_once, args=(place, str(keys), body, telling, dict(os.environ)))
    with told:
        process.start()
        telling.close()
        try:
            assert told.poll(START_S), "the publisher did not start"
            assert os.read(told.fileno(), len(READY) + 1) == f"{READY}\n".encode()
            yield process, _Told(told)
        finally:
            process.kill()
            process.join()
            process.close()


def _stage(during: str) -> str:
    if during in ("", DONE):
        return during or "before the first write"
    if during == TIMESTAMP:
        return "timestamp"
    folder = during.partition("/")[0]
    return during.split(".")[-2] if folder == "metadata" else {"blobs": "blobs", "targets": "release record"}[folder]


@click.command()
@click.option("--store", "kinds", default=",".join(KINDS), show_default=True, help="Kinds of stores.")
@click.option("--kills", default=100, show_default=True, help="Kills per store.")
@click.option("--seed", default=1, show_default=True, help="Seed of the moments.")
def main(kinds: str, kills: int, seed: int) -> None:
    """Kill publishers at random moments and see that no store is ever spoiled."""
    for kind in kinds.split(","):
        begin = time.monotonic()
        with a_place(kind) as tampered, tempfile.TemporaryDirectory(prefix="weft-faults-") as folder:
            tally = kill_publishers(tampered.place, Path(folder), kills=kills, seed=seed)
        moments = ", ".join(f"{stage} {count}" for stage, count in tally.moments().most_common())
        print(
            f"{kind}: {len(tally.rounds)} kills over {SPREAD * tally.publication_s * 1000:.0f} ms (died in: {moments}); "
            f"{sum(one.published for one in tally.rounds)} releases stand; {tally.names} names, none used twice; "
            f"{time.monotonic() - begin:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
