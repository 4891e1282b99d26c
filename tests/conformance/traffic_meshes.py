"""The meshes of Istio's traffic cases by themselves, for who compares engines and sends requests of his own."""

from __future__ import annotations

from collections.abc import Iterator

from snapshot.index import Snapshot
from tests.conformance import traffic
from tests.conformance.corpus import read
from tests.conformance.traffic_mesh import PORTS, Town


def snapshots() -> Iterator[tuple[str, Snapshot]]:
    """Every case's mesh, compiled, by the case's group and line; a case that does not compile here has none."""
    town = Town()
    # Nobody serves there: the mesh only has to name some port.
    town.programs["external"].ports.update({workload: workload for _, _, workload, _ in PORTS})
    cases = read("routing/traffic_cases.json")["cases"]
    for number, case in enumerate(cases):
        if case["group"] in traffic.LEFT_OUT:
            continue
        for child in case.get("children") or [case]:
            lost = traffic.lost_of(case, child["name"] if child is not case else "")
            try:
                yield f"{case['group']} {case['line']}/{number}", town.compile(traffic.config_of(case, lost, cases))
            except ValueError:
                continue
