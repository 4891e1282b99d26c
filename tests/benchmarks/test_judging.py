"""What the hot-swap benchmark takes for a reply that was made from two snapshots, from none, or from one that was over."""

from __future__ import annotations

import pytest

from benchmarks.judging import Judge, Marks, Pairs

OLD, NEW = "a" * 64, "b" * 64
MARKS = Marks(
    ("app", "edge"),
    tuple(
        (digest, {"app": {"x-in": mark}, "edge": {"x-route": mark, "x-to": mark}})
        for digest, mark in ((OLD, "1"), (NEW, "2"))
    ),
)


def reply(app: str, edge: str, *, limit: str, route: str, to: str) -> Pairs:
    stamps = [("x-weft-snapshot", f"app={app[:12]}"), ("x-weft-snapshot", f"edge={edge[:12]}")]
    return [*stamps, ("x-in", limit), ("x-route", route), ("x-to", to)]


@pytest.mark.parametrize(
    ("pairs", "before", "found"),
    [
        (reply(OLD, OLD, limit="1", route="1", to="1"), (0, 0), ""),
        (reply(OLD, NEW, limit="1", route="2", to="2"), (0, 0), ""),
        (reply(NEW, OLD, limit="2", route="1", to="1"), (0, 0), ""),
        (reply(NEW, NEW, limit="2", route="1", to="2"), (0, 0), "mixed"),
        (reply(NEW, NEW, limit="2", route="2", to="1"), (0, 0), "mixed"),
        (reply(NEW, NEW, limit="1", route="2", to="2"), (0, 0), "mixed"),
        (reply(OLD, NEW, limit="1", route="2", to="2"), (1, 0), "stale"),
        (reply(NEW, OLD, limit="2", route="1", to="1"), (0, 1), "stale"),
        (reply("c" * 64, OLD, limit="1", route="1", to="1"), (0, 0), "unknown"),
        (reply(OLD, OLD, limit="1", route="1", to="1")[1:], (0, 0), "unknown"),
        (
            [*reply(OLD, OLD, limit="1", route="1", to="1")[1:], ("x-weft-snapshot", f"app={OLD[:12]}")],
            (0, 0),
            "unknown",
        ),
    ],
    ids=[
        "one snapshot",
        "a hop ahead",
        "a hop behind",
        "route mixed",
        "destination mixed",
        "limit mixed",
        "first hop went back",
        "second hop went back",
        "never published",
        "a hop silent",
        "hops out of order",
    ],
)
def test_a_reply_is_judged_by_what_each_hop_says(pairs: Pairs, before: tuple[int, int], found: str) -> None:
    assert Judge(MARKS).verdict(pairs, before) == found


def test_the_judge_counts_changes_and_keeps_the_newest_by_hop() -> None:
    judge = Judge(MARKS)
    for app, edge in ((OLD, OLD), (OLD, NEW), (NEW, NEW), (NEW, NEW)):
        mark = {OLD: "1", NEW: "2"}
        assert not judge.verdict(reply(app, edge, limit=mark[app], route=mark[edge], to=mark[edge]), (0, 0))
    assert judge.changes == [2, 2]
    assert judge.newest == [1, 1]


def test_only_what_matters_is_read_from_a_reply() -> None:
    assert MARKS.names == {"x-weft-snapshot", "x-in", "x-route", "x-to"}
