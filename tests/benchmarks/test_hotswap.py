"""The hot-swap benchmark: what it publishes, and a short run of it with real proxies."""

from __future__ import annotations

import pytest

from benchmarks.edits import APP, BURST, EDGE, FAR, GATEWAY, NEAR, SIDECAR, Edited
from benchmarks.hotswap import WAYS, Event, Row, measure, table
from benchmarks.paced import Seen
from snapshot.index import Snapshot, assemble
from snapshot.prepared import PreparedSlice, prepare

PORTS = {"gateway": 8080, "load": 9001, "chat": 9002, "calls": 9003}
CHANGES_AT_LEAST = 15
"""Of twenty publications: a proxy on a busy machine may miss one that the next follows at once."""


def prepared(snapshot: Snapshot, name: str) -> PreparedSlice:
    (entry,) = [entry for entry in snapshot.index.slices if entry.name == name]
    return prepare(assemble(snapshot.digest, entry, snapshot.blobs))


def test_every_edit_compiles_to_another_snapshot_that_bears_its_mark_at_both_levels() -> None:
    edited = Edited(PORTS)
    first, second = edited.snapshot(1), edited.snapshot(2)
    assert first.digest != second.digest
    assert Edited(PORTS).snapshot(1).digest == first.digest
    (entry,) = prepared(second, GATEWAY).tables.values()
    for name in (NEAR, FAR):
        (decision,) = [route.decision for route in entry.exact[name].routes.values()]
        assert decision is not None
        marks = [*decision.response_edits, *(one.response_headers for one in decision.destinations)]
        assert [edits.set for edits in marks] == [(("x-mark-route", "2"),), (("x-mark-destination", "2"),)]


def test_the_sidecar_behind_the_gateway_says_the_mark_in_its_limit_and_takes_mutual_tls_alone() -> None:
    edited = Edited(PORTS)
    slice_ = prepared(edited.snapshot(3), SIDECAR)
    limits = {
        limit.burst for host in slice_.hosts.values() for one in host.routes.values() for limit in one.route.limits
    }
    assert limits == {BURST + 3}
    assert edited.marks(3)[APP] == {"x-ratelimit-limit": f"{BURST + 3}"}
    inbound = [one for name, one in slice_.listeners.items() if name.startswith("inbound|")]
    assert len(inbound) == 3
    assert all(chain.tls is not None for one in inbound for chain in one.chains)


def test_what_envoy_would_end_connections_for_is_not_edited_there() -> None:
    edited = Edited(PORTS, limits=False)
    slice_ = prepared(edited.snapshot(3), SIDECAR)
    assert not any(one.route.limits for host in slice_.hosts.values() for one in host.routes.values())
    assert edited.marks(3)[APP] == {}


def test_a_row_with_a_fault_says_what_it_was() -> None:
    load = Seen(
        requests=10, seconds=2.0, failed=[(1.0, "closed after 0 bytes")], refused={"503": [1.0]}, wrong={"mixed": 2}
    )
    event = Event("worker of edge killed", 100, 7, 1, 0, 0.5, 600.0)
    row = Row("two", 200, 7.0, load, 20, 99, ["OSError: gone"], [event])
    assert row.faults == 1 + 1 + 2 + 1 + 1
    for text in (
        "5 (71.4%)",
        "closed after 0 bytes",
        "1 answered 503",
        "2 mixed",
        "OSError: gone",
        "7 of 100 requests failed",
    ):
        assert text in table([row])


@pytest.mark.integration
def test_twenty_publications_under_load_cost_no_request_and_mix_no_reply() -> None:
    (two,) = [way for way in WAYS if way.name == "two"]
    row = measure(two, 20, 3, events=False)
    assert row.faults == 0, table([row])
    assert (two.hops, len(row.load.changes)) == ((APP, EDGE), 2)
    assert min(row.load.changes) >= CHANGES_AT_LEAST
    assert row.messages > 0
