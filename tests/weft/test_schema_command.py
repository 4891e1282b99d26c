"""``weft schema``: the schemas for people and for editors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from compiler.editor import editor_schema
from compiler.kinds import KINDS
from weft.commands.schema import command


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.output


def test_a_kinds_schema_is_printed_complete_in_itself() -> None:
    code, output = run("virtualservice")
    schema = json.loads(output)
    assert (code, schema["title"]) == (0, "VirtualService")
    assert "types.json" not in output


def test_a_name_of_two_groups_needs_the_group() -> None:
    code, output = run("Gateway")
    assert code == 2
    assert "Gateway.networking.istio.io or Gateway.gateway.networking.k8s.io" in output
    code, output = run("Gateway.gateway.networking.k8s.io")
    assert json.loads(output)["properties"]["apiVersion"]["enum"][0] == "gateway.networking.k8s.io/v1"


def test_a_misspelt_kind_is_answered_with_the_one_that_was_meant() -> None:
    code, output = run("VirtualServce")
    assert code == 2
    assert "did you mean VirtualService?" in output


def test_without_a_kind_all_are_listed() -> None:
    code, output = run()
    assert code == 0
    assert len(output.splitlines()) == len(KINDS)


def test_an_editor_gets_one_schema_and_the_setting_that_uses_it(tmp_path: Path) -> None:
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode/settings.json").write_text(
        '{"editor.rulers": [100], "yaml.schemas": {"other.json": "x.yaml"}}'
    )
    code, _ = run("--vscode", str(tmp_path))
    settings = json.loads((tmp_path / ".vscode/settings.json").read_text())
    assert code == 0
    assert settings["editor.rulers"] == [100]
    assert settings["yaml.schemas"] == {"other.json": "x.yaml", "./.vscode/weft.schema.json": ["*.yaml", "*.yml"]}
    assert json.loads((tmp_path / ".vscode/weft.schema.json").read_text()) == editor_schema()


def test_settings_with_comments_are_left_alone_and_the_lines_to_add_are_shown(tmp_path: Path) -> None:
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode/settings.json").write_text('{\n  // mine\n  "a": 1\n}\n')
    code, output = run("--vscode", str(tmp_path))
    assert code == 0
    assert '"yaml.schemas"' in output
    assert "// mine" in (tmp_path / ".vscode/settings.json").read_text()


@pytest.mark.parametrize(
    ("resource", "valid"),
    [
        ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}, True),
        ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}}, False),
        ({"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "a"}, "spec": {}}, False),
        ({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "anything": True}, True),
    ],
)
def test_the_editors_schema_judges_by_apiversion_and_kind(resource: dict[str, object], valid: bool) -> None:
    schema = editor_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    assert jsonschema.Draft7Validator(schema).is_valid(resource) is valid


def test_the_editors_schema_has_no_expression_that_javascript_cannot_read() -> None:
    text = json.dumps(editor_schema())
    assert not re.search(r"\(\?[a-z]", text)
    assert not re.search(r'"x-[a-z-]+": ', text)
