"""What surrounds a namespace is enough for every check, and what does not concern it is not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.analysis import analyze
from compiler.dates import Dates
from compiler.guardrails import Guards
from compiler.inventory import Inventory
from compiler.memory import Memory
from compiler.surroundings import Neighbours
from compiler.tree import MemoryTree, Tree
from tests.compiler.catalog_cases import CODES, NOW, case


def inventory(tree: Tree) -> Inventory:
    return Inventory(file for file in Memory().survey(tree, Guards(())) if file.outline.stands)


@pytest.mark.parametrize("verdict", ["good", "bad"])
@pytest.mark.parametrize("code", CODES)
def test_in_every_case_of_the_catalog_the_parts_show_what_the_whole_shows(
    code: str, verdict: str, tmp_path: Path
) -> None:
    held = inventory(case(code, verdict, tmp_path))
    parts = [item for part in Neighbours(held).all() for item in part.findings(Dates(NOW))]
    assert sorted(parts, key=repr) == sorted(analyze(held.mesh(Dates(NOW))), key=repr)


SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: {port}}}]}}
"""
ROUTED = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: front}
spec:
  hosts: [b.back.svc.cluster.local]
  http: [{route: [{destination: {host: b.back.svc.cluster.local}}]}]
"""
RULED = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: rule, namespace: {namespace}}}
spec: {{host: "{host}"}}
"""
FILES = {
    "far/rule.yaml": RULED.format(host="d.far.svc.cluster.local", namespace="far"),
    "front/a.yaml": SERVICE.format(name="a", namespace="front", port=80),
    "front/routes.yaml": ROUTED,
    "back/b.yaml": SERVICE.format(name="b", namespace="back", port=80),
    "back/c.yaml": SERVICE.format(name="c", namespace="back", port=80),
    "far/d.yaml": SERVICE.format(name="d", namespace="far", port=80),
}
MORE = {
    "a VirtualService's destination": ({"back/b.yaml": SERVICE.format(name="b", namespace="back", port=81)}, True),
    "a neighbour of the destination": ({"back/c.yaml": SERVICE.format(name="c", namespace="back", port=81)}, False),
    "a namespace that it does not name": ({"far/d.yaml": SERVICE.format(name="d", namespace="far", port=81)}, False),
    "another claim of its host": ({"far/e.yaml": ROUTED.replace("namespace: front", "namespace: far")}, True),
    "a rule for its destination": (
        {"far/rule.yaml": RULED.format(host="b.back.svc.cluster.local", namespace="far")},
        True,
    ),
    "a rule of its destination's namespace for a pattern": (
        {"back/rule.yaml": RULED.format(host="*.svc.cluster.local", namespace="back")},
        True,
    ),
    "a rule of its destination's namespace for another host": (
        {"back/rule.yaml": RULED.format(host="c.back.svc.cluster.local", namespace="back")},
        False,
    ),
    "a comment in a file of its own": ({"front/routes.yaml": f"# why\n{ROUTED}"}, True),
    "a comment far away": ({"far/d.yaml": f"# why\n{FILES['far/d.yaml']}"}, False),
}


@pytest.mark.parametrize("name", MORE)
def test_a_change_concerns_those_alone_whose_documents_name_what_changed(name: str) -> None:
    change, concerned = MORE[name]
    assert (fingerprint(FILES) != fingerprint(FILES | change)) is concerned


def fingerprint(files: dict[str, str]) -> bytes:
    """The fingerprint of the namespace ``front``."""
    parts = Neighbours(inventory(MemoryTree({name: text.encode() for name, text in files.items()}))).all()
    return next(part.fingerprint for part in parts if part.home == "front")
