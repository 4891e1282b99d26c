"""A call to the control plane that is given up while the two sides still shake hands."""

from __future__ import annotations

import pytest
import trio

from runtime.discovery.control import ControlClient

pytestmark = pytest.mark.integration


async def test_a_call_that_is_cancelled_in_the_handshake_closes_its_connection() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    client = ControlClient(f"https://127.0.0.1:{port}", "")
    async with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.read_bundle)
            ours = await listener.accept()
            assert await ours.receive_some(), "the client's hello"
            nursery.cancel_scope.cancel()
        async with ours:
            with trio.fail_after(5):
                assert await ours.receive_some() == b""
    await client.close()
