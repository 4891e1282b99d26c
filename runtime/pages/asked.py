"""What the pages are made from, and the two forms in which they answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from runtime.bootstrap import Bootstrap
from runtime.service import ServiceRequest, ServiceResponse
from runtime.supervisor.dns import DnsPart
from runtime.supervisor.leaving import Leaving
from runtime.supervisor.running import Running
from runtime.telemetry import Instruments
from snapshot.live import Credential, FetchedKeys

JSON = ((b"content-type", b"application/json"), (b"cache-control", b"no-cache, max-age=0"))


class Asked(Protocol):
    """The supervisor, as the pages see it."""

    running: Running
    bootstrap: Bootstrap
    leaving: Leaving
    dns: DnsPart

    def not_ready(self) -> str:
        """Why the proxy is not ready, "" where it is."""

    def listeners(self) -> dict[str, str]:
        """The bound addresses by listener name."""

    def workers(self) -> dict[int, int]:
        """Process ids by worker."""

    @property
    def restarts(self) -> int:
        """How often a worker was started again."""

    def credentials(self) -> tuple[Credential, ...]:
        """What fills the slice's credential slots."""

    def token_keys(self) -> tuple[FetchedKeys, ...]:
        """The keys by which tokens are checked."""

    def measure(self) -> Instruments:
        """The supervisor's own metrics, brought up to now."""

    async def ask(self, page: str) -> list[bytes]:
        """A page of every worker."""

    async def native(self, path: str, query: dict[str, str], *, method: str = "GET") -> tuple[int, bytes] | None:
        """The engine's own page, its status and its body; None where it has none and ours is asked for."""

    async def application_metrics(self) -> bytes:
        """What the application behind the proxy measures, where it is to be shown with ours."""

    async def more_metrics(self) -> bytes:
        """Metrics that the engine has in the text format already."""

    def stop(self) -> None:
        """Asks for a graceful end."""

    async def preflight(self) -> None:
        """Asks the program that is installed now whether it could take over; raises HandoverError."""

    async def upgrade_soon(self) -> None:
        """Becomes that program, once the answer to this request is out."""

    def in_background(self, act: Callable[[], Awaitable[None]]) -> None:
        """Runs something that takes longer than an answer may."""

    async def set_levels(self, levels: dict[str, str]) -> None:
        """Sets how much the loggers of all processes say."""


Page = Callable[[Asked, ServiceRequest], Awaitable[ServiceResponse]]


def json_answer(value: object) -> ServiceResponse:
    """A value as indented JSON."""
    return ServiceResponse(headers=JSON, body=msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def text_answer(text: str, *, status: int = 200) -> ServiceResponse:
    """Plain text."""
    return ServiceResponse(status=status, body=text.encode())


def written(seconds: float) -> str:
    """A time (seconds since 1970) as people and Envoy write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
