"""What the load tools say is read rightly, and the table compares with Envoy of the same work."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.certificates import Certificates
from benchmarks.load import h2load_result, wrk_result
from benchmarks.measure import Row, hops_of
from benchmarks.report import table
from benchmarks.works import WORKS, Work

WRK = """Running 2s test @ http://127.0.0.1:8080/route-0/item
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.01ms  200.00us   9.00ms   90.00%
  Latency Distribution
     50%  871.00us
     75%    1.02ms
     90%    1.20ms
     99%    1.50ms
  64000 requests in 2.00s, 75.00MB read
Requests/sec:  32000.50
"""
H2LOAD = """finished in 2.00s, 1500.00 req/s, 1.60MB/s
requests: 3000 total, 3000 started, 3000 done, 2998 succeeded, 2 failed, 0 errored, 0 timeout
"""
FILES = Certificates(Path("root.pem"), Path("leaf.pem"), Path("leaf.key"), Path("both.pem"))


def test_wrk_says_requests_rate_and_percentiles_in_microseconds() -> None:
    load = wrk_result(WRK)
    assert (load.requests, load.failed, load.requests_per_s) == (64000, 0, 32000.5)
    assert (load.p50_us, load.p99_us) == (871.0, 1500.0)


def test_replies_that_are_errors_and_connections_that_break_are_failures() -> None:
    more = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 90\n"
    assert wrk_result(WRK + more).failed == 100


def test_h2load_says_failures_and_its_log_the_percentiles(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"17\t200\t{number}\n" for number in range(1, 101)))
    load = h2load_result(H2LOAD, log)
    assert (load.requests, load.failed, load.requests_per_s) == (2998, 2, 1500.0)
    assert (load.p50_us, load.p99_us) == (50.5, 100.0)


def test_a_tool_that_says_nothing_is_an_error_and_no_row_of_zeros(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nothing useful"):
        wrk_result("unable to connect")
    with pytest.raises(RuntimeError, match="nothing useful"):
        h2load_result("", tmp_path / "log")


def test_the_table_gives_ratios_to_envoy_of_the_same_work() -> None:
    rows = [
        Row("h1-plain", "weft", 40.0, 20_000.0, 100.0, 200.0, runs=3),
        Row("h1-plain", "envoy", 50.0, 18_000.0, 200.0, 300.0, runs=3),
        Row("h2-h2", "nginx", lacks="no HTTP/2 to upstreams"),
    ]
    _, weft, envoy, nginx = table(rows).splitlines()
    assert weft.split() == ["h1-plain", "weft", "40.0", "0.80", "20000", "100", "0.50", "200", "0"]
    assert envoy.split()[3] == "1.00"
    assert nginx.endswith("no HTTP/2 to upstreams")


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_the_hops_of_a_work_lead_from_the_load_to_the_origin(work: Work) -> None:
    hops = hops_of(work, "weft", 9999, FILES)
    assert len(hops) == work.hops
    assert [hop.upstream for hop in hops] == [*(hop.port for hop in hops[1:]), 9999]
    assert [hop.tls_out for hop in hops[:-1]] == [hop.tls_in for hop in hops[1:]]
    assert not hops[0].tls_in, "the load speaks plain"
    assert (hops[-1].origin, hops[-1].tls_out) == (True, work.origin_tls)
