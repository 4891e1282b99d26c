"""Nothing is accepted and ignored: every leaf of every schema is carried, inert, or refused with its position."""

from __future__ import annotations

import pytest

from compiler import schemas
from compiler.carried import not_carried
from compiler.carried_leaves import CARRIED, CARRIED_KEYS, EVERY_KIND, INERT, REFUSED, REFUSED_VALUES
from compiler.documents import load_documents
from compiler.kinds import KINDS, Kind
from compiler.tree import MemoryTree


def source_name(kind: Kind) -> str:
    return (
        f"{kind.name}.{kind.group}"
        if (kind.group, kind.name) == ("gateway.networking.k8s.io", "Gateway")
        else kind.name
    )


def covered(leaf: str, refused: frozenset[str]) -> bool:
    return any(leaf == path or (leaf.startswith(path) and leaf[len(path)] in ".[{") for path in refused)


@pytest.mark.parametrize("kind", KINDS, ids=source_name)
def test_every_leaf_of_a_schema_is_carried_or_refused_and_none_is_both(kind: Kind) -> None:
    name = source_name(kind)
    leaves = set(schemas.leaves(kind.name, kind.api_versions[0]))
    carried = EVERY_KIND | CARRIED[name] | INERT.get(name, frozenset())
    refused = REFUSED.get(name, frozenset())
    assert sorted(leaf for leaf in leaves if leaf not in carried and not covered(leaf, refused)) == []
    assert sorted(leaf for leaf in carried if covered(leaf, refused)) == []
    assert sorted(carried - leaves) == []
    assert sorted(path for path in refused if not any(covered(leaf, frozenset({path})) for leaf in leaves)) == []
    assert set(REFUSED_VALUES.get(name, {})) <= carried
    assert {f"{path}{{}}" for path in CARRIED_KEYS.get(name, {})} <= carried


def findings(text: str) -> list[tuple[str, int, int, str]]:
    documents, _ = load_documents(MemoryTree({"mesh.yaml": text.encode()}))
    found = [item for document in documents for item in not_carried(document)]
    return [(item.code, item.span.line, item.span.column, item.message.split("`")[1]) for item in found]


def test_a_refused_part_is_reported_once_at_its_key() -> None:
    text = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - route:
    - destination: {host: a}
    fault:
      abort:
        http2Error: CANCEL
"""
    assert findings(text) == [("WFT0200", 11, 9, "spec.http[0].fault.abort.http2Error")]


def test_a_refused_value_is_reported_at_the_value() -> None:
    text = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec:
  action: AUDIT
"""
    assert findings(text) == [("WFT0200", 5, 11, "spec.action: AUDIT")]


def test_what_is_carried_is_not_reported() -> None:
    text = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: a}
spec:
  selector: {matchLabels: {app: a}}
  mtls: {mode: STRICT}
  portLevelMtls: {8080: {mode: DISABLE}}
"""
    assert findings(text) == []


def test_of_a_map_that_anybody_may_write_into_only_known_keys_are_carried() -> None:
    text = """\
apiVersion: weft/v1
kind: MeshConfig
metadata: {name: m}
spec:
  defaultConfig:
    proxyMetadata:
      ISTIO_META_DNS_CAPTURE: "true"
      SOMETHING_ELSE: "true"
"""
    assert findings(text) == [("WFT0200", 8, 7, "spec.defaultConfig.proxyMetadata.SOMETHING_ELSE")]
