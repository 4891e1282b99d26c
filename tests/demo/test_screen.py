"""What the audience reads."""

from __future__ import annotations

import io

from rich.console import Console

from weft.demo.load import Report
from weft.demo.plan import BY_NAME
from weft.demo.screen import PlainScreen, load_line, proxy_table, share_text
from weft.demo.story import percentile
from weft.local.views import Problem, ProxyView, Running


def test_plain_lines_carry_the_seconds_since_the_start() -> None:
    times = iter((100.0, 101.5, 102.25, 103.0))
    lines: list[str] = []
    with PlainScreen(lines.append, clock=lambda: next(times)) as screen:
        screen.title("(a) something")
        screen.say("it happened")
        screen.quote("error\n  --> here\n")
    assert lines == [
        "\n  1.5 s  (a) something",
        "  2.2 s    it happened",
        "           | error",
        "           |   --> here",
    ]


def test_the_table_tells_who_serves_what_and_who_refused_what() -> None:
    running = Running(version=3, commit="abcdef0123", digest="d" * 64, since_s=0.0, fresh=True)
    views: dict[str, ProxyView | None] = {name: ProxyView(running) for name in BY_NAME}
    views["ratings"] = ProxyView(running, problem=Problem("wrong_signature", "no"))
    views["egress"] = None
    written = io.StringIO()
    console = Console(width=140, file=written)
    console.print(proxy_table(views))
    rows = {line.split()[0]: line for line in written.getvalue().splitlines() if line.strip()}
    assert rows["ratings"].split()[1:] == [
        "127.20.0.7",
        "3",
        "d" * 12,
        "abcdef0",
        "wrong_signature:",
        "refused,",
        "still",
        "serving",
    ]
    assert rows["egress"].rstrip().endswith("not running")
    assert rows["ingress"].split()[-1] == "serving"


def test_the_load_line_counts() -> None:
    report = Report(1200, 0, 0, 1200, {}, {"v1": 4, "v2": 1}, [], 1.25, 9.5)
    assert load_line(report).plain.strip() == (
        "load: 1,200 requests, 0 failed, p50 1.2 ms, p99 9.5 ms; pages with reviews v1 80 %, v2 20 %"
    )
    assert share_text({}) == ""


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([], 0.5)) == (50.0, 99.0, 0.0)
    assert percentile([7.0], 0.99) == 7.0
