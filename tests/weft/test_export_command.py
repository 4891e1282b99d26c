"""``weft export envoy``, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from compiler.pipeline import compile_tree
from compiler.worktree import WorkTree
from snapshot.live import RegisteredWorkload, Registry
from snapshot.store_directory import DirectoryStore
from tests.runtime.envoy_export import fill, objections
from tests.stores import release_mesh, signing_keys
from weft.cli import weft

MESH = Path(__file__).parents[2] / "examples" / "bookshop" / "mesh"
REVIEWS = "sidecar/bookshop/reviews-v1"
DATAGRAMS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: games, namespace: shop}
spec:
  gatewayClassName: istio
  listeners: [{name: play, port: 7777, protocol: UDP}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: friends, namespace: shop}
spec:
  rules: [{when: [{key: destination.ip, values: [10.0.0.0/8]}]}]
"""


def export(*arguments: str) -> Result:
    return CliRunner().invoke(weft, ["export", "envoy", *arguments], standalone_mode=False)


def test_what_is_printed_has_the_slice_and_no_key() -> None:
    done = export(str(MESH), "--proxy", REVIEWS)
    assert done.exception is None, done.exception
    printed = yaml.safe_load(done.stdout)
    names = {one["name"] for one in printed["static_resources"]["listeners"]}
    assert {"inbound|9080", "virtualOutbound"} <= names
    assert "PRIVATE KEY" not in done.stdout
    assert printed["static_resources"]["secrets"][0]["validation_context"]["trusted_ca"]["filename"].startswith(
        "/etc/weft"
    )
    assert export(str(MESH), "--proxy", REVIEWS).stdout == done.stdout


@pytest.mark.integration
def test_envoy_accepts_what_is_printed(tmp_path: Path) -> None:
    for folder in ("identity", "credentials/gateways/bookshop-certificate"):
        fill(tmp_path / folder)
    live = ("--identity", str(tmp_path / "identity"), "--credentials", str(tmp_path / "credentials"))
    for name, form in (("gateway/gateways/ingressgateway", "yaml"), (REVIEWS, "json")):
        done = export(str(MESH), "--proxy", name, "-o", form, *live)
        file = tmp_path / f"envoy.{form}"
        file.write_text(done.stdout)
        assert objections(file) == ""


def test_registered_workloads_become_endpoints(tmp_path: Path) -> None:
    workload = RegisteredWorkload(
        "bookshop",
        "ratings-1",
        "127.20.0.9",
        (("app", "ratings"),),
        "spiffe://bookshop.example/ns/bookshop/sa/ratings",
        ports=(("9080", 9080),),
    )
    file = tmp_path / "workloads.json"
    file.write_bytes(msgspec.json.encode(Registry(1, (workload,))))
    clusters = json.loads(export(str(MESH), "--proxy", REVIEWS, "--registry", str(file), "-o", "json").stdout)[
        "static_resources"
    ]["clusters"]
    found = next(one for one in clusters if one["name"].startswith("outbound|9080||ratings"))
    assert "127.20.0.9" in json.dumps(found["load_assignment"])


def test_a_published_slice_is_exported_like_a_compiled_one(tmp_path: Path) -> None:
    snapshot = compile_tree(WorkTree(MESH), allow_partial=True).snapshot
    assert snapshot is not None
    release_mesh(DirectoryStore(tmp_path / "store"), snapshot)
    (tmp_path / "root.json").write_bytes(signing_keys().root)
    published = export("--store", str(tmp_path / "store"), "--root", str(tmp_path / "root.json"), "--proxy", REVIEWS)
    assert published.exception is None, published.exception
    assert published.stdout == export(str(MESH), "--proxy", REVIEWS).stdout
    assert published.stdout


def test_a_slice_that_is_not_there_is_answered_with_those_that_are() -> None:
    done = export(str(MESH), "--proxy", "sidecar/bookshop/nobody")
    assert REVIEWS in str(done.exception)


def test_what_envoy_cannot_be_told_is_an_error_at_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(DATAGRAMS)
    done = export(str(tmp_path), "--proxy", "gateway/shop/games")
    assert done.return_value == 1
    assert done.stdout == ""
    assert "mesh.yaml:7:" in done.stderr
