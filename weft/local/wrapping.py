"""One process and the sidecar around it: the proxy is ready before the process starts, and serves until after it has ended.

    supervisor ready -> start the process -> pass signals -> it ends -> drain -> its exit code

A signal that ends the process is passed on only after peers have heard that this workload is leaving: a process that closes its socket at once
would otherwise cost the requests that were on their way.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

from runtime.bootstrap import Bootstrap
from runtime.supervisor.supervisor import Supervisor
from weft.local.children import STOP_S, LocalError, end_with_parent, wait_ended

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
PASSED = (*ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LEAVE_S = 2.0
"""How long at most leaving the registry may hold up a signal."""


class Wrapped(msgspec.Struct, frozen=True):
    """A command, whether it is told to call through the sidecar, and the descriptors that are its standard output and error."""

    command: Sequence[str]
    http_proxy: bool = False
    output: int = 1
    errors: int = 2


class Wrapping:
    """Owns one process and the supervisor of its sidecar. ``run`` is called once."""

    def __init__(self, bootstrap: Bootstrap, wrapped: Wrapped, *, ready_s: float) -> None:
        self._supervisor = Supervisor(bootstrap)
        self._wrapped = wrapped
        self._ready_s = ready_s
        self._process: subprocess.Popen[bytes] | None = None
        self._early = 0
        self._waiting = trio.CancelScope()

    async def run(self) -> int:
        """Runs both to their end and returns the process's code (128 and the signal's number where one ended it).

        Raises LocalError where the proxy is not ready in time or the command cannot be started, and what the supervisor raises.
        Whatever is raised, the process is ended first.
        """
        with trio.open_signal_receiver(*PASSED) as signals:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._serve, nursery.cancel_scope)
                    nursery.start_soon(self._pass_signals, signals)
                    await self._wait_ready()
                    if not self._early:
                        self._process = self._start()
                        await wait_ended(self._process)
                    self._supervisor.stop()
                    await trio.sleep_forever()
            finally:
                await self._end()
        code = self._process.returncode if self._process is not None else -self._early
        return code if code >= 0 else 128 - code

    async def _serve(self, rest: trio.CancelScope) -> None:
        await self._supervisor.run()
        rest.cancel()

    async def _wait_ready(self) -> None:
        with self._waiting, trio.move_on_after(self._ready_s):
            await self._supervisor.wait_ready()
            return
        if not self._early:
            reason = self._supervisor.not_ready()
            problem = self._supervisor.running.refused or self._supervisor.running.problem
            why = f"{reason}; {problem.message}" if problem is not None else reason
            raise LocalError(f"the proxy is not ready after {self._ready_s:g} s, so nothing was started: {why}")

    async def _pass_signals(self, signals: AsyncIterator[int]) -> None:
        asked = False
        async for number in signals:
            if self._process is None:
                if number in ENDING:
                    self._early = number
                    self._waiting.cancel()
                continue
            if number in ENDING and not asked:
                asked = True
                with trio.move_on_after(LEAVE_S):
                    await self._supervisor.withdraw()
            if self._process.poll() is None:
                self._process.send_signal(number)

    def _start(self) -> subprocess.Popen[bytes]:
        wrapped = self._wrapped
        try:
            return subprocess.Popen(  # noqa: S603  the user's own command
                wrapped.command,
                env={**os.environ, **self._proxied()},
                stdout=wrapped.output,
                stderr=wrapped.errors,
                preexec_fn=partial(_lead, has_terminal()),
            )
        except OSError as error:
            raise LocalError(f"{wrapped.command[0]} cannot be started: {error.strerror}") from None

    def _proxied(self) -> dict[str, str]:
        """TLS is the mesh's business, so https_proxy is not set."""
        if not self._wrapped.http_proxy:
            return {}
        known = self._supervisor.bootstrap
        return {"http_proxy": f"http://{known.address}:{known.ports.outbound}", "no_proxy": "localhost,127.0.0.1"}

    async def _end(self) -> None:
        """Ends the process where it still runs, which it does only after a failure, and what it left behind in its group."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            with trio.CancelScope(shield=True), trio.move_on_after(STOP_S):
                await wait_ended(process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if os.isatty(0):
            _take_terminal(os.getpgrp())


def has_terminal() -> bool:
    """Whether the terminal's keys are ours to hand on."""
    return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()


def _lead(with_terminal: bool) -> None:
    """In the child, before its program: a group of its own, as a shell makes one, so that Ctrl-C reaches it once and not us."""
    os.setpgid(0, 0)
    end_with_parent()
    if with_terminal:
        _take_terminal(os.getpid())


def _take_terminal(group: int) -> None:
    # A process in the background may set the foreground group only while it ignores this signal.
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with suppress(OSError):
        os.tcsetpgrp(0, group)
    signal.signal(signal.SIGTTOU, before)


@contextmanager
def own_output(log: Path | None) -> Iterator[tuple[int, int]]:
    """Descriptors for the command's output and errors. With ``log`` what the proxy and its workers write goes there instead; raises OSError."""
    if log is None:
        yield 1, 2
        return
    kept = os.dup(1), os.dup(2)
    with log.open("ab") as sink:
        for number in (1, 2):
            os.dup2(sink.fileno(), number)
    try:
        yield kept
    finally:
        for number, one in zip((1, 2), kept, strict=True):
            os.dup2(one, number)
            os.close(one)
