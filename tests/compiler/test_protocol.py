"""Protocol selection, judged by Istio's tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compiler.resources.protocol import AUTO, cluster_protocol, detect_protocol, parse_protocol
from tests.compiler.compiled import conformance


def rows(test: str) -> list[dict[str, Any]]:
    tables = json.loads(conformance("tables", "protocol_detection.json").read_text())["tables"]
    return next(table["rows"] for table in tables if table["test"] == test)


def test_ports_get_istios_protocol() -> None:
    for row in rows("TestConvertProtocol"):
        found = detect_protocol(row.get("port", 8888), row.get("portName", ""), row.get("appProto", ""))
        assert found == row["expectedProto"].lower(), row


def test_protocol_names_are_istios() -> None:
    for row in rows("TestParse"):
        expected = row["out"].lower() if row["out"] != "UnsupportedProtocol" else AUTO
        assert parse_protocol(row["name"]) == expected, row


@pytest.mark.parametrize(
    ("number", "name", "app_protocol", "expected"),
    [
        (80, "http", "", "http"),
        (80, "http-web", "", "http"),
        (80, "web", "", AUTO),
        (80, "", "", AUTO),
        (3306, "", "", "tcp"),
        (3306, "http", "", "http"),
        (80, "grpc-web-x", "", "grpc-web"),
        (80, "tcp", "kubernetes.io/h2c", "http2"),
        (80, "tcp", "kubernetes.io/ws", "http"),
        (443, "", "kubernetes.io/wss", "https"),
        (80, "http", "example.com/own", AUTO),
    ],
)
def test_app_protocol_replaces_the_name_and_well_known_ports_come_last(
    number: int, name: str, app_protocol: str, expected: str
) -> None:
    assert detect_protocol(number, name, app_protocol) == expected


@pytest.mark.parametrize(
    ("protocol", "expected"), [("http", "http1"), ("grpc", "http2"), ("https", "tcp"), ("redis", "tcp"), (AUTO, "same")]
)
def test_clusters_speak_what_the_port_declares(protocol: str, expected: str) -> None:
    assert cluster_protocol(protocol) == expected
