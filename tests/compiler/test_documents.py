"""What counts as a document, and what is said about what does not."""

from __future__ import annotations

import textwrap

import pytest

from compiler.diagnostic import Diagnostic, Severity
from compiler.documents import load_documents
from compiler.kinds import KINDS
from compiler.node import Document, Scalar, find
from compiler.schemas import validate
from compiler.tree import MAX_FILE_BYTES, MemoryTree

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n"


def load(*texts: str | bytes) -> tuple[list[Document], list[Diagnostic]]:
    files = {f"{number}.yaml": text.encode() if isinstance(text, str) else text for number, text in enumerate(texts)}
    return load_documents(MemoryTree(files))


def told(found: list[Diagnostic]) -> list[tuple[str, str, int, int]]:
    return [(item.code, item.span.file, item.span.line, item.span.column) for item in found]


def test_a_document_carries_what_it_calls_itself() -> None:
    documents, found = load(SERVICE)
    assert found == []
    (document,) = documents
    assert (document.api_version, document.kind, document.namespace, document.name) == ("v1", "Service", "shop", "a")
    assert document.file == "0.yaml"


def test_the_items_of_a_list_are_documents_of_their_own() -> None:
    documents, found = load(
        textwrap.dedent("""\
        apiVersion: v1
        kind: List
        items:
        - apiVersion: v1
          kind: Service
          metadata: {name: a}
        - apiVersion: v1
          kind: ServiceList
          items:
          - apiVersion: v1
            kind: Service
            metadata: {name: b}
        """)
    )
    assert found == []
    assert [(document.name, document.root.span.line) for document in documents] == [("a", 4), ("b", 10)]


def test_json_is_read_by_the_same_path() -> None:
    files = {"a.json": b'{"apiVersion": "v1", "kind": "Service",\n "metadata": {"name": "a"}}\n'}
    documents, found = load_documents(MemoryTree(files))
    assert found == []
    name = find(documents[0].root, ("metadata", "name"))
    assert isinstance(name, Scalar)
    assert (name.span.line, name.span.column) == (2, 23)


def test_each_unknown_kind_is_noted_once() -> None:
    filter_ = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\n"
    documents, found = load(f"{filter_}---\n{filter_}", filter_, "apiVersion: x.io/v1\nkind: Service\n")
    assert documents == []
    assert told(found) == [("WFT0011", "0.yaml", 2, 7), ("WFT0011", "2.yaml", 2, 7)]
    assert "3 documents" in found[0].message
    assert all(item.severity is Severity.NOTE for item in found)


def test_an_unknown_version_of_a_known_kind_is_an_error_that_names_the_served_ones() -> None:
    documents, found = load("apiVersion: networking.istio.io/v2\nkind: VirtualService\nmetadata: {name: a}\n")
    assert documents == []
    assert told(found) == [("WFT0012", "0.yaml", 1, 13)]
    assert "networking.istio.io/v1 or networking.istio.io/v1beta1" in found[0].message


@pytest.mark.parametrize(
    ("api_version", "kind", "position", "words"),
    [
        (
            "networking.istio.io/v1",
            "VirtualServce",
            (2, 7),
            "`VirtualServce` was probably meant to be `VirtualService`",
        ),
        ("security.istio.io/v1", "AuthorisationPolicy", (2, 7), "`AuthorizationPolicy`"),
        ("v1", "service", (2, 7), "`Service`"),
        ("gateway.networking.k8s.io/v1", "HttpRoute", (2, 7), "`HTTPRoute`"),
        ("networking.isto.io/v1", "VirtualService", (1, 13), "`networking.istio.io/v1`"),
        ("app/v1", "Deployment", (1, 13), "`apps/v1`"),
    ],
)
def test_a_misspelt_kind_or_group_is_an_error_and_not_an_unknown_kind(
    api_version: str, kind: str, position: tuple[int, int], words: str
) -> None:
    documents, found = load(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert documents == []
    assert told(found) == [("WFT0014", "0.yaml", *position)]
    assert words in found[0].message


@pytest.mark.parametrize(
    "text",
    [
        "gateway.networking.x-k8s.io/v1alpha1 XMesh",
        "apps/v1 ReplicaSet",
        "extensions/v1beta1 Deployment",
        "serving.knative.dev/v1 Service",
        "v1 PodTemplate",
    ],
)
def test_kinds_that_exist_and_are_not_read_are_no_spelling_mistakes(text: str) -> None:
    api_version, kind = text.split()
    _, found = load(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert [item.code for item in found] == ["WFT0011"]


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("kind: Service\nmetadata: {name: a}\n", (1, 1), "Service `a` has no apiVersion"),
        ("apiVersion: v1\nmetadata: {name: a}\n", (1, 1), "`a` has no kind"),
        ("apiVersion: v1\nkind:\nmetadata: {name: a}\n", (2, 1), "no kind"),
        ("apiVersion: v1\nkind: Service\n", (1, 1), "no metadata.name"),
        ("apiVersion: v1\nkind: Service\nmetadata:\n  namespace: x\n", (3, 1), "no metadata.name"),
        ("apiVersion: v1\nkind: Service\nmetadata:\n  name:\n", (4, 3), "no metadata.name"),
        ("apiVersion: v1\nkind: Service\nmetadata:\n  generateName: x-\n", (4, 3), "generateName"),
        ("just words\n", (1, 1), "single value `just words`"),
    ],
)
def test_what_is_nearly_a_resource_is_an_error_at_what_it_lacks(
    text: str, position: tuple[int, int], words: str
) -> None:
    documents, found = load(text)
    assert documents == []
    assert told(found) == [("WFT0010", "0.yaml", *position)]
    assert words in found[0].message


def test_yaml_of_other_tools_is_noted_once_per_file() -> None:
    compose = "services:\n  web: {image: x}\n"
    chart = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"
    documents, found = load(f"{compose}---\n{compose}", chart, "- a\n- b\n", "# nothing\n---\n", SERVICE)
    assert len(documents) == 1
    assert told(found) == [("WFT0009", f"{number}.yaml", 1, 1) for number in range(3)]
    assert all(item.severity is Severity.NOTE for item in found)


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b"a: 1\nb: \xff\n", (2, 4)),
        (b"a: 1\n\xc3\xa9: \xe2\x82\n", (2, 4)),
        (b"a: 1\nb: x\x00y\n", (2, 5)),
        (b"a: \x1b[31m\n", (1, 4)),
        ("a: 1\n".encode("utf-16"), (1, 1)),
    ],
)
def test_bytes_that_are_not_text_are_refused_at_their_position(content: bytes, position: tuple[int, int]) -> None:
    documents, found = load(content, SERVICE)
    assert [document.name for document in documents] == ["a"]
    assert told(found) == [("WFT0003", "0.yaml", *position)]


def test_a_byte_order_mark_is_no_text_and_moves_no_column() -> None:
    documents, found = load(b"\xef\xbb\xbf" + SERVICE.encode())
    assert found == []
    assert documents[0].root.key_spans["apiVersion"].column == 1


def test_a_file_that_is_too_large_is_refused_without_being_read() -> None:
    documents, found = load(b"#" * (MAX_FILE_BYTES + 1), SERVICE)
    assert [document.name for document in documents] == ["a"]
    assert told(found) == [("WFT0004", "0.yaml", 1, 1)]


def test_a_mistake_in_one_file_does_not_hide_another_file() -> None:
    documents, found = load("a: [", SERVICE)
    assert [document.name for document in documents] == ["a"]
    assert [item.code for item in found] == ["WFT0001"]


def test_a_name_that_is_no_string_is_left_to_the_schema() -> None:
    documents, found = load("apiVersion: v1\nkind: Service\nmetadata: {name: 5}\n")
    assert found == []
    assert [item.message for item in validate(documents[0])] == [
        "metadata.name: expected a string, found the number `5`"
    ]


def test_the_table_of_kinds_names_each_kind_and_version_once() -> None:
    written = [(api_version, kind.name) for kind in KINDS for api_version in kind.api_versions]
    assert len(written) == len(set(written))


MESH = textwrap.dedent("""\
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: istio
      namespace: istio-system
    data:
      mesh: |-
        # the mesh
        trustDomain: example.org
        outboundTrafficPolicy:
          mode: REGISTRY_ONLIE
      meshNetworks: 'networks: {}'
    """)


def test_istios_config_map_is_a_mesh_config_and_networks_with_the_positions_of_the_file() -> None:
    documents, found = load(MESH)
    assert found == []
    document, networks = documents
    assert (networks.kind, networks.api_version, validate(networks)) == ("MeshNetworks", "weft/v1", [])
    assert (document.kind, document.api_version, document.name) == ("MeshConfig", "weft/v1", "istio")
    assert told(validate(document)) == [("IST0106", "0.yaml", 11, 13)]


def test_a_mesh_config_in_a_quoted_scalar_points_at_the_scalar() -> None:
    text = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: "a: 1\\ntrustDomain: x"\n'
    documents, found = load(text)
    assert found == []
    assert told(validate(documents[0])) == [("IST0106", "0.yaml", 5, 9)]


@pytest.mark.parametrize(
    ("text", "code", "position"),
    [
        ("  mesh: |\n    a: b: c\n", "WFT0001", (6, 9)),
        ("  mesh: |\n    - a\n", "IST0106", (6, 5)),
        ("  mesh: |\n    a: 1\n    ---\n    b: 2\n", "IST0106", (8, 5)),
    ],
)
def test_a_mistake_in_the_text_of_a_mesh_config_is_found_in_the_file(
    text: str, code: str, position: tuple[int, int]
) -> None:
    _, found = load(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio}}\ndata:\n{text}")
    assert [(item.code, item.span.line, item.span.column) for item in found][:1] == [(code, *position)]


def test_control_characters_in_the_text_of_a_mesh_config_are_refused() -> None:
    _, found = load('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata: {mesh: "a: \\x07"}\n')
    assert told(found) == [("WFT0003", "0.yaml", 4, 14)]


def test_an_empty_mesh_config_and_a_document_of_its_own_are_read() -> None:
    empty = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata: {mesh: ''}\n"
    own = "apiVersion: weft/v1\nkind: MeshConfig\nspec: {trustDomain: example.org}\n"
    documents, found = load(empty, own)
    assert found == []
    assert [(document.kind, validate(document)) for document in documents] == [("MeshConfig", []), ("MeshConfig", [])]


def test_other_config_maps_are_read_as_such() -> None:
    documents, found = load("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {mesh: 'a: 1'}\n")
    assert [document.kind for document in documents] == ["ConfigMap"]
    assert found == []


def test_a_root_of_trust_beside_the_configuration_is_nothing_to_tell() -> None:
    metadata = '{"signatures": [], "signed": {"_type": "root", "version": 1}}'
    assert load(metadata) == ([], [])
