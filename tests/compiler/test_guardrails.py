"""Guardrails: what the starter set forbids, what a wrong guardrail says, and where findings point."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.diagnostic import Severity
from compiler.pipeline import check, compile_tree
from compiler.tree import MemoryTree
from compiler.worktree import WorkTree

EXAMPLE = Path(__file__).parents[2] / "examples" / "guardrails"
STARTER = {f"guardrails/{path.name}": path.read_bytes() for path in sorted((EXAMPLE / "guardrails").glob("*.yaml"))}
MESH = {f"mesh/{path.name}": path.read_bytes() for path in sorted((EXAMPLE / "mesh").glob("*.yaml"))}


def resource(kind: str, api_version: str, spec: str, *, namespace: str = "shop") -> str:
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a, namespace: {namespace}}}\nspec: {spec}\n"


ISTIO, SECURITY = "networking.istio.io/v1", "security.istio.io/v1"
HOST = "cart.shop.svc.cluster.local"
ROUTE = f"route: [{{destination: {{host: {HOST}}}}}]"


def found(files: dict[str, bytes]) -> list[tuple[str, str, int, int, str]]:
    items = check(MemoryTree(files))
    return [(item.code, item.span.file, item.span.line, item.span.column, item.message) for item in items]


def guarded(text: str) -> list[tuple[int, int, str]]:
    """Line, column and message of what the starter set finds in a text that is added to the example."""
    return [
        (line, column, message)
        for code, file, line, column, message in found({**STARTER, **MESH, "mesh/x.yaml": text.encode()})
        if code == "WFT0301" and file == "mesh/x.yaml"
    ]


def test_the_example_keeps_its_own_rules() -> None:
    assert check(WorkTree(EXAMPLE)) == []
    assert compile_tree(WorkTree(EXAMPLE)).snapshot is not None


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        (resource("PeerAuthentication", SECURITY, "{mtls: {mode: PERMISSIVE}}"), (4, 21), "STRICT [strict-mtls]"),
        (resource("PeerAuthentication", SECURITY, "{}"), (3, 18), "STRICT [strict-mtls]"),
        (
            resource(
                "PeerAuthentication",
                SECURITY,
                "{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}",
            ),
            (4, 68),
            "every port [strict-mtls]",
        ),
        (
            resource("DestinationRule", ISTIO, f"{{host: {HOST}, trafficPolicy: {{tls: {{mode: DISABLE}}}}}}"),
            (4, 71),
            "[no-disabled-tls]",
        ),
        (
            resource("ServiceEntry", ISTIO, "{hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}]}"),
            (3, 32),
            "in the namespace egress [no-public-egress]",
        ),
    ],
)
def test_the_starter_set_finds_what_it_forbids(text: str, at: tuple[int, int], words: str) -> None:
    findings = guarded(text)
    assert any((line, column) == at and message.endswith(words) for line, column, message in findings), findings


def test_a_schema_fragment_points_at_each_part_that_breaks_it() -> None:
    text = resource(
        "VirtualService",
        ISTIO,
        f"\n  hosts: [a.example, '*.other']\n  http:\n  - {ROUTE}\n  - {{timeout: 1s, {ROUTE}}}",
    )
    assert [(line, column) for line, column, _ in guarded(text)] == [(5, 22), (7, 5)]


def test_a_mesh_without_what_a_rule_asks_for_is_pointed_at_the_rule() -> None:
    files = {**STARTER, "mesh/a.yaml": b"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"}
    (item,) = found(files)
    assert item[:2] == ("WFT0301", "guardrails/strict-mtls.yaml")
    assert "in istio-system without a selector" in item[4]


def guardrail(spec: str) -> dict[str, bytes]:
    text = f"apiVersion: weft/v1\nkind: Guardrail\nmetadata: {{name: mine}}\nspec:\n  message: not this\n{spec}"
    return {
        "guardrails/a.yaml": text.encode(),
        "mesh/a.yaml": b"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
    }


def test_a_rule_over_the_mesh_names_the_resources_that_it_lists() -> None:
    files = guardrail("  mesh: [{cel: \"resources.filter(r, r.metadata.name.startsWith('s'))\"}]\n")
    assert [item[:4] for item in found(files)] == [("WFT0301", "mesh/a.yaml", 3, 18)]


def test_a_rule_that_gives_no_answer_counts_as_broken() -> None:
    (item,) = found(guardrail('  rules: [{cel: "object.spec.size == 1"}]\n'))
    assert item[0] == "WFT0301"
    assert "gives no answer: there is no field 'spec'" in item[4]


@pytest.mark.parametrize(
    ("selector", "count"),
    [
        ("{kinds: [Namespace]}", 1),
        ("{kinds: [Service]}", 0),
        ("{namespaces: ['sh*']}", 0),
        ("{labels: {a: b}}", 0),
    ],
)
def test_a_selector_takes_what_fits_all_its_parts(selector: str, count: int) -> None:
    assert len(found(guardrail(f"  selector: {selector}\n  rules: [{{cel: 'false'}}]\n"))) == count


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ("  rules: [{cel: 'object.a =='}]\n", "WFT0300", "the expression is no CEL"),
        ("  rules: [{cel: 'resorces.size() > 0'}]\n", "WFT0300", "`resorces` is not defined here"),
        ("  schema: {type: strnig}\n", "WFT0300", "the schema cannot be used"),
        ("  schema: {$ref: 'https://example.org/a.json'}\n", "WFT0300", "the schema cannot be used"),
        ("  severty: note\n  rules: [{cel: 'true'}]\n", "IST0106", "did you mean `severity`"),
        ("", "IST0106", "is needed"),
    ],
)
def test_a_guardrail_that_cannot_guard_is_an_error(spec: str, code: str, words: str) -> None:
    files = guardrail(spec)
    (item,) = found(files)
    assert item[0] == code
    assert item[1] == "guardrails/a.yaml"
    assert words in item[4]
    assert compile_tree(MemoryTree(files)).snapshot is None


def test_a_guardrail_elsewhere_is_not_silently_without_effect() -> None:
    files = {"mesh/a.yaml": guardrail("  rules: [{cel: 'false'}]\n")["guardrails/a.yaml"]}
    assert [item[:3] for item in found(files)] == [("WFT0300", "mesh/a.yaml", 2)]


@pytest.mark.parametrize(("severity", "published"), [("error", False), ("warning", True), ("note", True)])
def test_the_guardrail_says_whether_publishing_stops(severity: str, *, published: bool) -> None:
    files = guardrail(f"  severity: {severity}\n  rules: [{{cel: 'false'}}]\n")
    compilation = compile_tree(MemoryTree(files), allow_partial=True)
    assert [item.severity for item in compilation.diagnostics] == [Severity[severity.upper()]]
    assert (compilation.snapshot is not None) is published


def test_only_guardrails_that_are_committed_guard_a_commit(tmp_path: Path) -> None:
    import pygit2

    from compiler.commit_tree import CommitTree

    for path, content in guardrail("  rules: [{cel: 'false'}]\n").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    repository = pygit2.init_repository(str(tmp_path))
    repository.index.add("mesh/a.yaml")
    who = pygit2.Signature("a", "a@example.org", 0, 0)
    first = repository.create_commit("HEAD", who, who, "one", repository.index.write_tree(), [])
    repository.index.add("guardrails/a.yaml")
    repository.create_commit("HEAD", who, who, "two", repository.index.write_tree(), [first])
    assert check(CommitTree(tmp_path, "HEAD~1")) == []
    assert [item.code for item in check(CommitTree(tmp_path, "HEAD"))] == ["WFT0301"]
    assert check(CommitTree(tmp_path, "HEAD")) == check(WorkTree(tmp_path))
