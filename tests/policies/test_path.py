"""Path normalisation by profile, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.path import BASE, DECODE_AND_MERGE_SLASHES, MERGE_SLASHES, NONE, PROFILES, normalize

CASES = [
    # path, NONE, BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES
    ("/", "/", "/", "/", "/"),
    ("/a/b", "/a/b", "/a/b", "/a/b", "/a/b"),
    ("/a/./b/../c", "/a/./b/../c", "/a/c", "/a/c", "/a/c"),
    ("/a/b/..", "/a/b/..", "/a/", "/a/", "/a/"),
    ("/a/.", "/a/.", "/a/", "/a/", "/a/"),
    ("/../../a", "/../../a", "/a", "/a", "/a"),
    ("/a/%2e%2E/b", "/a/%2e%2E/b", "/b", "/b", "/b"),
    ("/a/.%2e", "/a/.%2e", "/", "/", "/"),
    ("/a%2eb", "/a%2eb", "/a.b", "/a.b", "/a.b"),
    ("/%61dmin%2D%5f%7E%39", "/%61dmin%2D%5f%7E%39", "/admin-_~9", "/admin-_~9", "/admin-_~9"),
    ("/%40%5B%60%7b%2a%20", "/%40%5B%60%7b%2a%20", "/%40%5B%60%7b%2a%20", "/%40%5B%60%7b%2a%20", "/%40%5B%60%7b%2a%20"),
    ("/%2561", "/%2561", "/%2561", "/%2561", "/%2561"),
    ("/a\\b", "/a\\b", "/a/b", "/a/b", "/a/b"),
    ("/a\\..\\b", "/a\\..\\b", "/b", "/b", "/b"),
    ("/a//b", "/a//b", "/a//b", "/a/b", "/a/b"),
    ("/a//../b", "/a//../b", "/a/b", "/b", "/b"),
    ("/a%2Fb%5Cc", "/a%2Fb%5Cc", "/a%2Fb%5Cc", "/a%2Fb%5Cc", "/a/b/c"),
    ("/a%2f%2fb", "/a%2f%2fb", "/a%2f%2fb", "/a%2f%2fb", "/a/b"),
    ("/a%2f..%2fb", "/a%2f..%2fb", "/a%2f..%2fb", "/a%2f..%2fb", "/b"),
    ("/..;/a", "/..;/a", "/..;/a", "/..;/a", "/..;/a"),
    ("/.well-known/x", "/.well-known/x", "/.well-known/x", "/.well-known/x", "/.well-known/x"),
    ("/a/...", "/a/...", "/a/...", "/a/...", "/a/..."),
    ("\\a", "\\a", "/a", "/a", "/a"),
    ("/a%00", None, None, None, None),
    ("/a#b", None, None, None, None),
    ("a", None, None, None, None),
    ("", None, None, None, None),
]


@pytest.mark.parametrize("case", CASES)
def test_a_path_has_one_normal_form_per_profile(case: tuple[str | None, ...]) -> None:
    path = case[0]
    assert path is not None
    for profile, expected in zip((NONE, BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES), case[1:], strict=True):
        assert normalize(path, profile) == expected, profile


@settings(max_examples=200, deadline=None)
@given(st.text("/.%\\2eEfF5cCa0;", max_size=24), st.sampled_from(PROFILES))
def test_a_normal_form_is_normal_and_has_no_dot_segment(path: str, profile: str) -> None:
    once = normalize("/" + path, profile)
    if once is None:
        return
    assert normalize(once, profile) == once
    if profile != NONE:
        assert {".", ".."}.isdisjoint(once.lower().replace("%2e", ".").split("/"))
    if profile in {MERGE_SLASHES, DECODE_AND_MERGE_SLASHES}:
        assert "//" not in once
