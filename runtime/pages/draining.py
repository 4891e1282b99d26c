"""The pages that take a proxy out of service, by Envoy's paths. They act on traffic, so they want a token, or the Unix socket.

Whoever may open a socket file is the proxy's own user; a port on loopback is open to every process of the machine, and in a pod to every container.
"""

from __future__ import annotations

import functools
import hmac
from pathlib import Path

import trio

from runtime.pages.asked import Asked, Page, text_answer
from runtime.service import ServiceRequest, ServiceResponse
from runtime.supervisor.handover import HandoverError

_OK = "OK\n"
MAX_TOKEN_BYTES = 4096


async def fail_health(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Fails the readiness page and asks clients to leave."""
    del request
    await asked.leaving.set_healthy(healthy=False)
    return text_answer(_OK)


async def restore_health(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Takes that back."""
    del request
    await asked.leaving.set_healthy(healthy=True)
    return text_answer(_OK)


async def drain_listeners(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Stops listening; ``graceful`` first asks clients to leave for the drain's time, ``skip_exit`` then goes on listening, ``inboundonly``
    leaves outbound listeners alone."""
    wanted = request.query
    graceful = "graceful" in wanted
    if "skip_exit" in wanted and not graceful:
        return text_answer("skip_exit requires graceful\n", status=400)
    asked.in_background(
        lambda: asked.leaving.drain_listeners(
            graceful=graceful, inbound_only="inboundonly" in wanted, keep_open="skip_exit" in wanted
        )
    )
    return text_answer(_OK)


async def quit_gracefully(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Ends the proxy: what is in flight is finished first, at most the drain's time."""
    del request
    asked.stop()
    return text_answer(_OK)


async def upgrade(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Has the proxy become the program that is installed now, without letting go of a connection; 409 with the reason where it cannot."""
    del request
    try:
        await asked.preflight()
    except HandoverError as error:
        return text_answer(f"{error}\n", status=409)
    asked.in_background(asked.upgrade_soon)
    return text_answer(_OK)


def guarded(page: Page) -> Page:
    """The same page for who comes over the Unix socket or bears the token, 403 for others."""

    @functools.wraps(page)
    async def answer(asked: Asked, request: ServiceRequest) -> ServiceResponse:
        if not request.peer.source_ip or await _bears_token(asked.bootstrap.admin_token, request):
            return await page(asked, request)
        how = (
            "the header `authorization: Bearer TOKEN`"
            if asked.bootstrap.admin_token
            else "`admin_token` in the bootstrap"
        )
        return text_answer(f"this needs {how}, or the Unix socket `admin_socket`\n", status=403)

    return answer


async def _bears_token(path: str, request: ServiceRequest) -> bool:
    """Whether the request bears the token of the file, which is read anew each time; an empty or missing file accepts none."""
    if not path:
        return False
    shown = [value for name, value in request.headers if name == b"authorization"]
    try:
        wanted = (await trio.Path(Path(path)).read_bytes())[:MAX_TOKEN_BYTES].strip()
    except OSError:
        return False
    return len(shown) == 1 and bool(wanted) and hmac.compare_digest(shown[0], b"Bearer " + wanted)
