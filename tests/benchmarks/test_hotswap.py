"""The hot-swap benchmark: what it publishes, and that it would see a reply made from two snapshots."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.edits import LOADED, NAME, Edited
from benchmarks.hotswap import _seen, _wrk
from snapshot.index import assemble
from snapshot.prepared import prepare

PORTS = {"gateway": 8080, "load": 9001, "chat": 9002, "calls": 9003}


def test_every_edit_compiles_to_another_snapshot_that_bears_its_mark_at_both_levels() -> None:
    edited = Edited(PORTS)
    first, second = edited.snapshot(1), edited.snapshot(2)
    assert first.digest != second.digest
    assert Edited(PORTS).snapshot(1).digest == first.digest
    (entry,) = [entry for entry in second.index.slices if entry.name == NAME]
    prepared = prepare(assemble(second.digest, entry, second.blobs))
    host = next(table for table in prepared.tables.values()).exact[LOADED]
    (decision,) = [route.decision for route in host.routes.values()]
    assert decision is not None
    marks = [*decision.response_edits, *(one.response_headers for one in decision.destinations)]
    assert [edits.set for edits in marks] == [(("x-mark-route", "2"),), (("x-mark-destination", "2"),)]


@pytest.mark.integration
@pytest.mark.skipif(
    shutil.which("wrk") is None and not os.environ.get("WEFT_REQUIRE_ALL"), reason="wrk is not installed"
)
@pytest.mark.parametrize(
    ("stamp", "route", "found"),
    [("edge=0123456789ab", "1", (0, 0)), ("edge=0123456789ab", "2", (1, 0)), ("edge=another-one-", "1", (0, 1))],
    ids=["one snapshot", "two snapshots", "no snapshot"],
)
def test_a_reply_from_two_snapshots_or_none_is_seen(
    tmp_path: Path, stamp: str, route: str, found: tuple[int, int]
) -> None:
    head = f"x-weft-snapshot: {stamp}\r\nx-mark-route: {route}\r\nx-mark-destination: 1\r\ncontent-length: 0"
    reply = f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode()

    def serve(stream: socket.socket) -> None:
        with stream, suppress(OSError):  # wrk resets what is open when its time is over.
            while stream.recv(4096):
                stream.sendall(reply)

    def accept() -> None:
        while True:
            try:
                stream, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(stream,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        seen = _wrk(tmp_path, server.getsockname()[1], {"0123456789ab": "1"}, duration_s=1.0, delay_ms=20)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert seen.requests > 10
    assert (bool(seen.mixed), bool(seen.unknown)) == tuple(bool(one) for one in found)


def test_output_that_says_nothing_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nothing useful"):
        _seen("unable to connect")
