"""What one destination among several makes of a request by itself: path, authority, or a redirect."""

from __future__ import annotations

import json

import pytest

from policies.match import PathSegments
from policies.traffic import Destination, Forward, Redirect, Rewrite
from tests.echo import Echo, running
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration


async def answer(*destinations: Destination, rewrite: Rewrite | None = None, path: str = "/a/x") -> bytes:
    async with running(Echo("app")) as (origin,):
        action = Forward(destinations, rewrite)
        sections = host_sections("all", ["*"], [route(PathSegments("/a"), action=action)])
        upstream = cluster("app", (origin.address, origin.port))
        async with proxying(gateway_listener(), table(), *sections, upstream) as proxy:
            return await proxy.get(path)


def seen(reply: bytes) -> tuple[str, str, list[str]]:
    """Path and host that the back end saw, and the original path that it was told."""
    record = json.loads(reply.partition(b"\r\n\r\n")[2])
    return record["path"], record["host"], record["headers"].get("x-envoy-original-path", [])


UNUSED = Destination("app", 0)


async def test_a_destination_rewrites_path_and_authority_by_itself() -> None:
    own = Destination("app", rewrite=Rewrite(prefix="/b", authority="b.test"))
    assert seen(await answer(own, UNUSED)) == ("/b/x", "b.test", ["/a/x"])


async def test_the_routes_own_rewrite_wins() -> None:
    own = Destination("app", rewrite=Rewrite(prefix="/b", authority="b.test"))
    common = Rewrite(path="/c", authority="c.test")
    assert seen(await answer(own, UNUSED, rewrite=common)) == ("/c", "c.test", ["/a/x"])


async def test_a_destination_redirects_its_share() -> None:
    own = Destination("", redirect=Redirect(307, prefix="/r"))
    reply = await answer(own, UNUSED, path="/a/x?q")
    assert reply.startswith(b"HTTP/1.1 307")
    assert b"\r\nlocation: http://a.test/r/x?q\r\n" in reply
