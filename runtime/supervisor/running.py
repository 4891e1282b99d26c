"""What this proxy runs and what went wrong last: written by the supervisor, read by admin pages, metrics and status reports."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import trio

from runtime.control.interface import ProxyStatus
from runtime.fetch.news import FetchProblem, VerifiedSlice
from runtime.identity.certificate import read_certificates
from runtime.pages.histograms import Intervals
from runtime.supervisor.facts import SliceFacts
from runtime.supervisor.fleet import Outcome
from runtime.telemetry import Instruments
from snapshot.live import Svid


class Problem(msgspec.Struct, frozen=True):
    """Something that went wrong: its closed reason, a sentence, and when (seconds since 1970)."""

    reason: str
    message: str
    at: float


class Deployed(msgspec.Struct, frozen=True):
    """What serves: the slice with its release, what was read of it, and when and how fast it came."""

    verified: VerifiedSlice
    facts: SliceFacts
    swapped_at: float
    took_ms: float
    pause_ms: float


class Running:
    """Owns the state. ``problem`` is the store's last problem, None once news was good again; ``refused`` the last slice that could not be
    prepared, None once one could. ``changed`` is set, and replaced, at every change: take it before looking. ``intervals`` are those of the
    histograms on ``/stats``."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.started_at = clock()
        self.deployed: Deployed | None = None
        self.problem: Problem | None = None
        self.refused: Problem | None = None
        self.svid: Svid | None = None
        self.expiries: dict[str, float] = {}
        self.instruments = Instruments()
        self.intervals = Intervals()
        self.changed = trio.Event()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def took(self, verified: VerifiedSlice, facts: SliceFacts, *, took_ms: float, outcome: Outcome) -> None:
        """A slice serves."""
        self.deployed = Deployed(verified, facts, self.clock(), took_ms, outcome.pause_ms)
        self.refused = None
        if verified.fetched_at >= self.started_at:
            # One from the disk says nothing about the store, so the store's problem stays.
            self.problem = None
        self.instruments.add("weft_swap_total", "ok")
        self.instruments.set("weft_swap_duration_seconds", took_ms / 1000)
        self.instruments.raise_to("weft_lane_pause_seconds", outcome.pause_ms / 1000)
        self._announce(verified)

    def identified(self, svid: Svid) -> None:
        """A certificate came; the bundle counts with the root that ends first, the chain with its intermediate."""
        self.svid = svid
        chain = [one.not_valid_after_utc.timestamp() for one in read_certificates(svid.certificate_chain)]
        roots = [one.not_valid_after_utc.timestamp() for one in read_certificates(svid.bundle)]
        self.expiries = {"svid": svid.expires_at, "bundle": min(roots)}
        if len(chain) > 1:
            self.expiries["intermediate"] = min(chain[1:])
        self._tell()

    def renewed(self, verified: VerifiedSlice) -> None:
        """The serving slice was verified again, or published again under another version."""
        assert self.deployed is not None
        self.deployed = msgspec.structs.replace(self.deployed, verified=verified)
        self.problem = None
        self._announce(verified)

    def refuse(self, reason: str, message: str) -> bool:
        """A slice could not be prepared; what served goes on. True where that is not what was said last."""
        known = self.refused
        self.refused = Problem(reason, message, self.clock())
        self.instruments.add("weft_swap_total", "refused")
        self.instruments.add("weft_prepare_failed_total", reason)
        self._tell()
        return known is None or known.message != message

    def fetch_failed(self, problem: FetchProblem) -> bool:
        """The store had a problem; True where it is another one than last time."""
        self.instruments.add("weft_fetch_problem_total", problem.reason.value)
        known = self.problem
        self.problem = Problem(problem.reason.value, problem.message, self.clock())
        self._tell()
        return known is None or (known.reason, known.message) != (self.problem.reason, self.problem.message)

    def fresh(self) -> bool:
        """Whether the store's signatures that stand behind what serves are still in their time."""
        return self.deployed is not None and self.clock() < self.deployed.verified.fresh_until

    def last_error(self) -> Problem | None:
        """What an operator should look at first: a refused slice before the store's problem."""
        return self.refused or self.problem

    def status(self, proxy: ProxyStatus) -> ProxyStatus:
        """A status report with the changing part filled in."""
        error = self.last_error()
        deployed = self.deployed
        if deployed is not None:
            release = deployed.verified.release
            proxy = msgspec.structs.replace(
                proxy,
                channel=release.channel,
                version=release.version,
                snapshot=deployed.verified.slice.snapshot,
                commit=release.commit,
                break_glass=release.break_glass,
                fresh=self.fresh(),
                prepared_at=deployed.swapped_at,
                swapped_at=deployed.swapped_at,
            )
        return msgspec.structs.replace(
            proxy,
            error=error.message if error else "",
            error_reason=error.reason if error else "",
            svid_expires_at=self.svid.expires_at if self.svid else 0.0,
        )

    def measure(self, restarts: int) -> Instruments:
        """The supervisor's own metrics, those that depend on the time brought up to it."""
        now = self.clock()
        own = self.instruments
        own.set("weft_worker_restarts_total", restarts)
        own.set("weft_snapshot_fresh", 1 if self.fresh() else 0)
        if self.deployed is not None:
            own.set("weft_snapshot_age_seconds", now - self.deployed.swapped_at)
        for role, expires_at in self.expiries.items():
            own.set("weft_cert_expiry_seconds", expires_at - now, role)
        return own

    def _announce(self, verified: VerifiedSlice) -> None:
        release = verified.release
        self.instruments.forget("weft_snapshot_info")
        labels = (verified.slice.snapshot, release.commit, release.channel, str(release.version))
        self.instruments.set("weft_snapshot_info", 1, *labels)
        self._tell()
