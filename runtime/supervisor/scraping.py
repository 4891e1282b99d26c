"""The application's own metrics, shown behind the proxy's on the merged page (15020): who scrapes one page of a pod has everything."""

from __future__ import annotations

import httpx
import trio

from runtime.bootstrap import Bootstrap
from runtime.telemetry import Instruments
from snapshot.section import Scrape

LIMIT_S = 5.0
MAX_BYTES = 16 * 1024 * 1024
ACCEPT = "text/plain;version=0.0.4;q=0.9,*/*;q=0.1"
"""What our own metrics are written in; OpenMetrics could not follow them on one page."""

FAILED = "weft_application_scrape_failed_total"


class ScrapeError(Exception):
    """There is nothing to show; the message is the closed reason: ``unreachable``, ``status`` or ``too_large``."""


async def application_metrics(
    bootstrap: Bootstrap, scrape: Scrape, instruments: Instruments, *, max_bytes: int = MAX_BYTES
) -> bytes:
    """The text of the application's page, with a line feed at its end; b"" where there is none within LIMIT_S, which is counted by reason."""
    port = bootstrap.application_ports.get(str(scrape.port), scrape.port)
    host = f"[{bootstrap.application}]" if ":" in bootstrap.application else bootstrap.application
    url = f"http://{host}:{port}{scrape.path}"
    reason = "unreachable"
    try:
        with trio.move_on_after(LIMIT_S):
            # In a thread: httpx's asynchronous reader cannot be left in the middle of a body, which is what a limit asks for.
            return await trio.to_thread.run_sync(_read, url, max_bytes, abandon_on_cancel=True)
    except ScrapeError as error:
        reason = str(error)
    instruments.add(FAILED, reason)
    return b""


def _read(url: str, max_bytes: int) -> bytes:
    found = bytearray()
    try:
        with (
            httpx.Client(trust_env=False, timeout=LIMIT_S) as client,
            client.stream("GET", url, headers={"accept": ACCEPT}) as reply,
        ):
            if reply.status_code != httpx.codes.OK:
                raise ScrapeError("status")
            for part in reply.iter_bytes():
                found += part
                if len(found) > max_bytes:
                    raise ScrapeError("too_large")
    except (httpx.HTTPError, httpx.InvalidURL):
        raise ScrapeError("unreachable") from None
    return _without_end(bytes(found))


def _without_end(text: bytes) -> bytes:
    """OpenMetrics' end mark would hide what follows it from a strict reader."""
    lines = [line for line in text.splitlines() if line.strip() != b"# EOF"]
    return b"".join(line + b"\n" for line in lines)
