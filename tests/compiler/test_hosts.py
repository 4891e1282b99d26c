"""Host names and patterns, judged by Istio's tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compiler.hosts import covers, full_host, is_visible, overlap, specificity
from tests.compiler.compiled import conformance


def rows(test: str) -> list[dict[str, Any]]:
    tables = json.loads(conformance("tables", "host_matching.json").read_text())["tables"]
    return next(table["rows"] for table in tables if table["test"] == test)


def test_hosts_overlap_as_istio_says() -> None:
    for row in rows("TestNameMatches"):
        if row["a"] and row["b"]:
            assert (overlap(row["a"], row["b"]) is not None) is row["out"], row


def test_a_pattern_covers_its_subsets_as_istio_says() -> None:
    for row in rows("TestNameSubsetOf"):
        assert covers(row["b"], row["a"]) is row["out"], row


def test_common_hosts_are_the_narrower_ones() -> None:
    for row in rows("TestNamesIntersection"):
        found = {shared for a in row["a"] for b in row["b"] if (shared := overlap(a, b)) is not None}
        assert found == set(row["intersection"]), row


def test_specific_hosts_sort_before_wildcards() -> None:
    # The order of Istio's rows, except that equally long exact names go by name alone, which no look-up depends on.
    assert sorted(["*", "*.com", "foo.com", "*.foo.com"], key=specificity) == ["foo.com", "*.foo.com", "*.com", "*"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("Reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.other", "reviews.other"),
        ("reviews.other.svc.cluster.local", "reviews.other.svc.cluster.local"),
        ("*", "*"),
        ("*.example.com", "*.example.com"),
        ("example.com", "example.com"),
    ],
)
def test_only_a_name_without_a_dot_is_completed(name: str, expected: str) -> None:
    assert full_host(name, "shop") == expected


@pytest.mark.parametrize(
    ("export_to", "namespace", "seen"),
    [(("*",), "b", True), ((".",), "a", True), ((".",), "b", False), (("b",), "b", True), (("~",), "a", False)],
)
def test_export_to_says_who_sees(export_to: tuple[str, ...], namespace: str, *, seen: bool) -> None:
    assert is_visible(export_to, "a", namespace) is seen
