"""``weft check --status`` as users call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from weft.cli import weft

MESH = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: edge
  namespace: infra
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: cart
  namespace: infra
spec:
  parentRefs: [{name: edge, port: 80}]
  rules: [{backendRefs: [{name: gone, port: 80}]}]
"""
TABLE = """\
OBJECT                   ROUTES  WHERE         CONDITIONS
Gateway infra/edge               mesh.yaml:4   Accepted, Programmed, ResolvedRefs
  listener http               1                Accepted, Programmed, ResolvedRefs
HTTPRoute infra/cart             mesh.yaml:13
  Gateway infra/edge:80                        Accepted, not ResolvedRefs (BackendNotFound)
      ResolvedRefs: Service infra/gone does not exist
"""


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(weft, ["check", *arguments], standalone_mode=False)


def test_the_table_lines_up_and_findings_are_on_standard_error() -> None:
    result = check("--status")
    assert result.stdout == TABLE
    assert "WFT0111" in result.stderr
    assert result.return_value == 0


def test_colours_tell_good_from_bad() -> None:
    coloured = check("--status", "--color", "always").stdout
    assert "\x1b[32mProgrammed\x1b[0m" in coloured
    assert "\x1b[1;31mnot ResolvedRefs (BackendNotFound)\x1b[0m" in coloured


def test_yaml_and_json_are_a_list_in_kubernetes_form() -> None:
    written = yaml.safe_load(check("--status", "-o", "yaml").stdout)
    assert written == json.loads(check("--status", "-o", "json").stdout)
    assert [item["kind"] for item in written["items"]] == ["Gateway", "HTTPRoute"]
    parent = written["items"][1]["status"]["parents"][0]
    assert parent["parentRef"] == {"name": "edge", "port": 80}
    assert parent["controllerName"] == "weft.dev/gateway-controller"
    assert [(item["type"], item["status"], item["reason"]) for item in parent["conditions"]] == [
        ("Accepted", "True", "Accepted"),
        ("ResolvedRefs", "False", "BackendNotFound"),
    ]
    assert written["items"][0]["status"]["listeners"][0]["attachedRoutes"] == 1


def test_an_error_exits_1(repository: Path) -> None:
    (repository / "bad.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {nme: x}\n")
    assert check("--status").return_value == 1


def test_what_an_api_server_would_refuse_has_no_status(repository: Path) -> None:
    (repository / "mesh.yaml").write_text(MESH.replace("backendRefs", "backendReffs"))
    result = check("--status")
    assert "Gateway infra/edge" in result.stdout
    assert "HTTPRoute" not in result.stdout
    assert result.return_value == 1


def test_errors_that_leave_no_mesh_leave_no_status(repository: Path) -> None:
    broken = "apiVersion: weft/v1\nkind: MeshConfig\nmetadata: {name: m}\nspec: {trustDomain: [x]}\n"
    (repository / "mesh.yaml").write_text(f"{MESH}---\n{broken}")
    result = check("--status")
    assert (result.stdout, result.return_value) == ("", 1)
    assert result.stderr.endswith("nothing can stand in for what they break\n")


def test_a_mesh_without_gateway_api_says_so(repository: Path) -> None:
    (repository / "mesh.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
    assert check("--status").stdout == "no Gateway API object that weft serves\n"


@pytest.mark.parametrize(
    "arguments", [("-o", "yaml"), ("--complete",), ("--status", "--watch"), ("--status", "--format", "sarif")]
)
def test_flags_that_do_not_go_together_are_refused(arguments: tuple[str, ...]) -> None:
    assert "--status" in str(check(*arguments).exception)
