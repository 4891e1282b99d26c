"""An upgrade in place: the supervisor runs its program anew in the same process, and the new one takes over what must not be let go.

    request      SIGUSR2, or POST /upgrade
    preflight    the new program is started once to say whether it runs, reads this bootstrap and understands what it would be given
    exec         listening sockets, the pages' ports and the channels to the workers stay open; everything else ends
    take over    the new program starts workers of its own on the same sockets; the old ones serve meanwhile
    retire       once the new workers serve, the old ones stop to accept, finish what they have, and end

Where the new program cannot serve the slice, the old workers go on. The process id stays, so a service manager sees nothing.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

import msgspec
import trio

from runtime.ipc import Channel
from runtime.supervisor.predecessor import Predecessor
from snapshot.decoding import packed_decoder

FORMAT = 1
"""Of what is handed over. A program that reads another one says so in its preflight, and nothing happens."""

DESCRIPTOR, PREFLIGHT = "WEFT_HANDOVER", "WEFT_PREFLIGHT"
PREFLIGHT_S = 30.0
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGUSR2})
"""Held back while the program changes: their default would end it."""

log = logging.getLogger("weft.proxy")


class HandoverError(Exception):
    """There is no upgrade; the message says why. What serves goes on."""


class HandedWorker(msgspec.Struct, frozen=True):
    """A worker that serves, or was told to drain: its channel's descriptor, and bytes that were read from it and are no whole frame yet."""

    number: int
    pid: int
    channel: int
    pending: bytes
    draining: bool = False


class Handed(msgspec.Struct, frozen=True):
    """What is handed over, descriptors by name. ``outbound`` is the port that a free one was chosen for."""

    format: int
    sockets: dict[str, tuple[int, ...]]
    pages: dict[str, int]
    workers: tuple[HandedWorker, ...]
    outbound: int


class Inherited(msgspec.Struct, frozen=True):
    """The same on the other side."""

    sockets: dict[str, list[socket.socket]] = {}
    pages: dict[str, socket.socket] = {}
    workers: tuple[Predecessor, ...] = ()
    outbound: int = 0

    @property
    def workers_per_address(self) -> int:
        """How many workers the sockets were bound for."""
        return max((len(bound) for bound in self.sockets.values()), default=0)


def asked_for_preflight() -> bool:
    """Whether this process was only started to say whether it could take over; prints the answer."""
    if os.environ.get(PREFLIGHT) is None:
        return False
    sys.stdout.write(json.dumps({"handover": FORMAT}))
    return True


async def preflight() -> None:
    """Starts the program that would take over, as this one was started, to hear whether it could; raises HandoverError."""
    environment = {**os.environ, PREFLIGHT: "1"}
    with trio.move_on_after(PREFLIGHT_S) as limit:
        try:
            done = await trio.run_process(
                [sys.executable, *sys.orig_argv[1:]],
                env=environment,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        except OSError as error:
            raise HandoverError(f"the program cannot be started: {error.strerror}") from None
    if limit.cancelled_caught:
        raise HandoverError(f"the program did not say within {PREFLIGHT_S:g} s that it could take over")
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HandoverError(f"the program would not run: {said[-1] if said else f'status {done.returncode}'}")
    try:
        known = json.loads(done.stdout)["handover"]
    except (ValueError, KeyError, TypeError):
        known = None
    if known != FORMAT:
        raise HandoverError(f"the program reads handovers of format {known}, this one writes {FORMAT}: restart instead")


def execute(handed: Handed) -> None:
    """Becomes the new program, with these descriptors; returns only by OSError. Signals wait until it asks for them (``ready_for_signals``)."""
    keep = [*handed.pages.values(), *(worker.channel for worker in handed.workers)]
    keep += [number for numbers in handed.sockets.values() for number in numbers]
    paper = os.memfd_create("weft-handover", 0)
    os.write(paper, msgspec.msgpack.encode(handed))
    os.lseek(paper, 0, os.SEEK_SET)
    for number in (*keep, paper):
        os.set_inheritable(number, True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        environment = {**os.environ, DESCRIPTOR: str(paper)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  our own program
    finally:
        # Only reached where it failed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(paper)
        for number in keep:
            os.set_inheritable(number, False)


def ready_for_signals() -> None:
    """Lets signals in that were held back while the program changed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def take_over() -> Inherited:
    """What the program before this one has handed over; nothing where there was none."""
    number = os.environ.pop(DESCRIPTOR, "")
    if not number:
        return Inherited()
    with open(int(number), "rb") as paper:  # noqa: PTH123  a descriptor has no path
        handed = packed_decoder(Handed).decode(paper.read())
    return Inherited(
        {name: [_owned(one) for one in numbers] for name, numbers in handed.sockets.items()},
        {name: _owned(one) for name, one in handed.pages.items()},
        tuple(
            Predecessor(one.number, one.pid, Channel(_owned(one.channel), pending=one.pending), draining=one.draining)
            for one in handed.workers
        ),
        handed.outbound,
    )


def _owned(number: int) -> socket.socket:
    """A descriptor as a socket that no further program inherits."""
    os.set_inheritable(number, False)
    return socket.socket(fileno=number)


def numbers_of(sockets: Mapping[str, Sequence[socket.socket]]) -> dict[str, tuple[int, ...]]:
    """The descriptors of sockets by name."""
    return {name: tuple(one.fileno() for one in bound) for name, bound in sockets.items()}
