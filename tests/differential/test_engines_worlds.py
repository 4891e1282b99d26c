"""What the comparison of engines covers, and that a difference would be seen: its slices, its logs, its copies."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from policies.limits import RateLimit
from policies.traffic import Forward
from snapshot.prepared import PreparedSlice
from snapshot.section import MeshUpstream, TlsUpstream
from tests.differential.comparing import unexplained
from tests.differential.generated import generated
from tests.differential.logs import AGENT, differences, lines
from tests.differential.requests import Request
from tests.differential.running import NOTHING
from tests.differential.worlds import MANIFESTS, REPO, World, worlds

ASKED = Request("GET", "/", ())


@pytest.fixture(scope="module")
def everything() -> list[World]:
    return worlds(1, meshes=10)


def test_every_example_and_every_corpus_has_slices(everything: list[World]) -> None:
    stems = {world.name.partition("/")[0] for world in everything}
    assert {path.parent.name for path in (REPO / "examples").glob("*/mesh")} <= stems
    assert {"sidecar listeners", "delegates", "origination", "generated"} <= stems
    if not MANIFESTS.exists():
        if os.environ.get("WEFT_REQUIRE_ALL"):
            pytest.fail(f"no conformance data at {MANIFESTS}")
        pytest.skip("no conformance data: set WEFT_CONFORMANCE")
    named = " ".join(stems)
    for part in ("httproute-", "grpcroute-", "tlsroute-", "tcproute-", "listenerset-", "backendtlspolicy", "mesh-"):
        assert part in named
    assert "virtualServiceCases" in named
    assert "gatewayCases" in named


def test_what_was_written_for_it_has_what_it_is_for(everything: list[World]) -> None:
    """Delegates whose rules arrived, and TLS of three kinds that is originated."""
    by_name = {world.name: world.prepared for world in everything}
    delegated = by_name["delegates/gateway/shop/edge"]
    actions = [one.route for host in delegated.hosts.values() for one in host.routes.values()]
    assert any(isinstance(one.action, Forward) and one.action.mirrors for one in actions)
    assert any(one.fault is not None for one in actions)
    originated = [cluster.tls for cluster in by_name["origination/gateway/shop/edge"].clusters.values()]
    wanted = {
        (tls.ca != "", tls.credential != "", tls.skip_verify) for tls in originated if isinstance(tls, TlsUpstream)
    }
    assert len(wanted) == 3
    assert any(
        isinstance(cluster.tls, MeshUpstream) for world in everything for cluster in world.prepared.clusters.values()
    )


def limits_of(prepared: PreparedSlice) -> list[RateLimit]:
    return [limit for host in prepared.hosts.values() for one in host.routes.values() for limit in one.route.limits]


def test_generated_meshes_have_limits_only_where_one_chain_counts() -> None:
    meshes = generated(3, 30)
    limited = [one for one in meshes if limits_of(one)]
    assert 3 < len(limited) < 30
    assert {len(one.listeners["http"].chains) for one in limited} == {1}
    assert any({cluster.protocol for cluster in one.clusters.values()} == {"http1"} for one in meshes)


def line(**changes: object) -> dict[str, object]:
    said = {"user_agent": f"{AGENT}1", "response_code": 200, "response_flags": "-", "route_name": None, "bytes_sent": 7}
    return {**said, **changes}


def test_logs_are_compared_by_line_and_field(tmp_path: Path) -> None:
    file = tmp_path / "log"
    written = [line(), line(user_agent="somebody"), line(user_agent=None)]
    file.write_text("".join(f"{json.dumps(one)}\n" for one in written))
    found = lines(file)
    assert list(found) == [f"{AGENT}1"]
    ours = found[f"{AGENT}1"]
    assert differences(ours, line(), echoed=False) == []
    assert differences(ours, line(response_flags="UF"), echoed=False) == ["log response_flags: '-' -> 'UF'"]
    assert differences(ours, line(bytes_sent=8), echoed=True) == []
    assert differences(ours, line(bytes_sent=8), echoed=False) == ["log bytes_sent: 7 -> 8"]
    assert differences(ours, None, echoed=False) == ["log: a line -> nothing"]


@pytest.mark.parametrize(
    "text",
    [
        "log response_flags: '-' -> 'UF'",
        "log route_name: 'a' -> 'b'",
        "log path: '/a' -> '/b'",
        "copies x-one: ['1'] -> None",
        "copies: [] -> ['one']",
        "reply x-seen-tls: ['a h2 '] -> ['a http/1.1 ']",
        "status: 400 -> 200",
        "reply x-ratelimit-remaining: ['1'] -> ['2']",
    ],
)
def test_what_no_section_explains_stays_a_difference(text: str) -> None:
    used: dict[str, int] = {}
    assert unexplained(ASKED, NOTHING, [text], used) == [text]
    assert used == {}
