"""The processes of a local mesh. Each is the leader of a session of its own, so ending it ends what it started."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import trio

STOP_S = 8.0
COMMAND_S = 60.0
TAIL_BYTES = 2_000


class LocalError(Exception):
    """A mesh on this machine cannot be run; the message says why and what to do."""


class Finished(msgspec.Struct, frozen=True):
    """A command that ran to its end."""

    code: int
    output: str
    errors: str
    seconds: float


def weft_command(*arguments: str) -> list[str]:
    """``weft`` with these arguments, by the interpreter that runs this."""
    return [sys.executable, "-m", "weft", *arguments]


def _environment() -> dict[str, str]:
    # The commands' output is read and shown again: no colours, and no proxy of the user's in the way of loopback.
    hidden = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
    kept = {name: value for name, value in os.environ.items() if name.lower() not in hidden}
    return {**kept, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


async def run(command: Sequence[str], *, cwd: Path | None = None) -> Finished:
    """Runs a command and returns what it said; raises LocalError where it is not installed or does not end within COMMAND_S."""
    if shutil.which(command[0]) is None:
        raise LocalError(
            f"the program {command[0]} is needed here and not installed: install it, or put it on the PATH"
        )
    started = trio.current_time()
    with trio.move_on_after(COMMAND_S):
        done = await trio.run_process(
            command, cwd=cwd, env=_environment(), capture_stdout=True, capture_stderr=True, check=False
        )
        return Finished(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
            trio.current_time() - started,
        )
    raise LocalError(f"{' '.join(command)} did not end within {COMMAND_S:.0f} s")


async def require(command: Sequence[str], *, cwd: Path | None = None) -> Finished:
    """Runs a command that must succeed; raises LocalError with what it said."""
    done = await run(command, cwd=cwd)
    if done.code != 0:
        said = (done.errors.strip() or done.output.strip())[-TAIL_BYTES:]
        raise LocalError(f"{' '.join(command)} ended with {done.code}:\n{said}")
    return done


class Child(msgspec.Struct):
    """One running process and where its output goes."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")


class Children:
    """Owns every long-running process, by name; ``stop_all`` leaves none.

    Unless they are to outlive us, they are also told to end when this process dies, however it dies."""

    def __init__(self, logs: Path, *, outlive: bool) -> None:
        self._logs = logs
        self._outlive = outlive
        self._running: dict[str, Child] = {}

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Starts a process whose output is appended to ``<name>.log``; ``environment`` adds to ours. Raises LocalError where it cannot."""
        log = self._logs / f"{name}.log"
        try:
            process = self._spawn(command, log, cwd, environment or {})
        except OSError as error:
            raise LocalError(f"{name} cannot be started: {error.strerror}: {error.filename}") from None
        child = self._running[name] = Child(name, list(command), log, process)
        return child

    def _spawn(
        self, command: Sequence[str], log: Path, cwd: Path | None, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with log.open("ab") as sink:
            # Not by Trio, which forks in a thread: the parent whose death counts is the thread that forked.
            return subprocess.Popen(  # noqa: S603  our own commands, or those of the user's own file
                command,
                cwd=cwd,
                env={**_environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=None if self._outlive else end_with_parent,
            )

    def ended(self) -> list[Child]:
        """The processes that ended by themselves and were not stopped since."""
        return [child for child in self._running.values() if child.process.poll() is not None]

    def require_alive(self) -> None:
        """Raises LocalError for a process that ended by itself, with the end of its log."""
        for child in self.ended():
            raise LocalError(f"{child.name} ended with {child.process.returncode}; {child.log} says:\n{child.tail}")

    async def stop(self, name: str) -> None:
        """Asks one process to end (SIGTERM) and waits; what is left of its session after STOP_S is killed."""
        child = self._running.pop(name)
        _signal(child, signal.SIGTERM)
        with trio.move_on_after(STOP_S):
            await wait_ended(child.process)
        self._end_session(child)

    async def stop_all(self) -> None:
        """Ends all, last started first, together; runs to the end also when cancelled."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for name in reversed(list(self._running)):
                    nursery.start_soon(self.stop, name)

    def tail(self, name: str) -> str:
        """The end of a running process's log."""
        return self._running[name].tail

    def pids(self) -> list[int]:
        """The leaders' process ids."""
        return [child.process.pid for child in self._running.values()]

    @staticmethod
    def _end_session(child: Child) -> None:
        # The leader may be gone while a worker of its is not: the group is what must be empty.
        try:
            os.killpg(child.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.process.wait()


async def wait_ended(process: subprocess.Popen[bytes]) -> None:
    """Waits until a process has ended."""
    if process.poll() is None:
        handle = os.pidfd_open(process.pid)
        try:
            await trio.lowlevel.wait_readable(handle)
        finally:
            os.close(handle)


def end_with_parent() -> None:
    """Runs in the child before its program: SIGTERM when we are gone (Linux: prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _signal(child: Child, number: int) -> None:
    if child.process.poll() is None:
        child.process.send_signal(number)
