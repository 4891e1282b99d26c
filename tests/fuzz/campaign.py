"""A run of fuzzing: rounds of Hypothesis with numbered seeds, each fault kept once by the place that raised it."""

from __future__ import annotations

import contextlib
import io
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from tests.fuzz.targets import TARGETS, Target


class Fault(NamedTuple):
    """Something that an input broke: where it was raised, and the shrunk input with the traceback."""

    where: str
    text: str


class Outcome(NamedTuple):
    """How many inputs a round tried, and what the first that failed broke (None where all passed)."""

    inputs: int
    fault: Fault | None


def run_round(target: Target, number: int, examples: int) -> Outcome:
    """Tries ``examples`` inputs of a target. The same number gives the same inputs, on any machine with the same seeds."""
    tried = 0
    broken: Any = None

    def once(value: Any) -> None:
        nonlocal tried, broken
        tried += 1
        try:
            target.run(value)
        except Exception:
            # The last one that fails is the smallest.
            broken = value
            raise

    phases = (Phase.generate, Phase.shrink)
    quiet = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
    )
    test: Callable[[], None] = seed(number)(quiet(given(target.inputs())(once)))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            test()
    except Exception as error:  # noqa: BLE001  this is the place where whatever a target raises is caught
        return Outcome(tried, Fault(_place(error), f"{broken!r}\n\n{''.join(traceback.format_exception(error))}"))
    return Outcome(tried, None)


def run_campaign(names: list[str], *, seconds: float, first: int, folder: Path, say: Callable[[str], None]) -> int:
    """Runs rounds of the named targets in turn until the time is up; returns how many different faults were found.

    Each fault is written to a file of ``folder`` when it is first seen.
    """
    until = time.monotonic() + seconds
    tried = dict.fromkeys(names, 0)
    faults: set[str] = set()
    number = first
    while time.monotonic() < until:
        for name in names:
            outcome = run_round(TARGETS[name], number, 200)
            tried[name] += outcome.inputs
            if outcome.fault is not None and outcome.fault.where not in faults:
                faults.add(outcome.fault.where)
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{name}-{number}.txt"
                path.write_text(outcome.fault.text)
                say(f"{name}, round {number}: {outcome.fault.where} (see {path})")
        number += 1
    counts = ", ".join(f"{name} {count:,}" for name, count in tried.items())
    say(f"rounds {first} to {number - 1}; inputs: {counts}; faults: {len(faults)}")
    return len(faults)


def _place(error: BaseException) -> str:
    """The innermost frame and the kind of error: two inputs that break the same line are one fault."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} in {last.name}"
