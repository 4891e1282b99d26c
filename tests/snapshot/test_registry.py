"""Names as tags, logging in, and what a registry or an S3 server may not do."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from snapshot.registry import Registry, digest_of
from snapshot.registry_login import docker_login
from snapshot.store import StoreError, TooLarge
from snapshot.store_oci import OciStore, tag_of
from snapshot.store_s3 import S3Store
from snapshot.stores import open_store

MANIFEST = b'{"schemaVersion":2}'


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("metadata/timestamp.json", "metadata_.timestamp.json"),
        ("a_b/c", "a__b_.c"),
        ("a/_b", "a_.__b"),
    ],
)
def test_a_name_is_spelled_as_a_tag(name: str, tag: str) -> None:
    assert tag_of(name) == tag


def test_a_name_too_long_for_a_tag_is_told_by_its_digest() -> None:
    tags = {tag_of("x" * 128), tag_of("x" * 129), tag_of("x" * 200)}
    assert len(tags) == 3
    assert max(len(tag) for tag in tags) <= 128
    assert sum(tag.startswith("_h.") for tag in tags) == 2


def test_different_names_have_different_tags() -> None:
    names = ["a/b", "a_b", "a_.b", "a__b", "a/_b", "a_/b", "a.b", "a-b", "h.x", "_h.x", "_/h", "w", "_writer-lease"]
    tags = [tag_of(name) for name in names]
    assert len(set(tags)) == len(names)
    assert "_writer-lease" not in tags


def registry(answer: Any, *, login: str = "", url: str = "https://registry.test") -> Registry:
    return Registry(url, "mesh", login=login, transport=httpx.MockTransport(answer))


def test_a_token_is_fetched_once_with_the_login_and_used_from_then_on() -> None:
    seen: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        said = request.headers.get("authorization", "")
        seen.append((request.url.host, said))
        if request.url.host == "tokens.test":
            assert dict(request.url.params) == {"service": "reg", "scope": "repository:mesh:pull"}
            return httpx.Response(200, json={"token": "T", "expires_in": 300})
        if said != "Bearer T":
            asks = 'Bearer realm="https://tokens.test/t",service="reg",scope="repository:mesh:pull"'
            return httpx.Response(401, headers={"www-authenticate": asks})
        return httpx.Response(200, stream=httpx.ByteStream(MANIFEST))

    client = registry(answer, login="me:secret")
    assert client.read_manifest("a") == MANIFEST
    assert client.read_manifest("a") == MANIFEST
    basic = "Basic " + base64.b64encode(b"me:secret").decode()
    asked = [
        ("registry.test", ""),
        ("tokens.test", basic),
        ("registry.test", "Bearer T"),
        ("registry.test", "Bearer T"),
    ]
    assert seen == asked


def test_a_password_is_not_sent_to_a_token_server_in_the_clear() -> None:
    asks = {"www-authenticate": 'Bearer realm="http://tokens.test/t"'}
    client = registry(lambda _: httpx.Response(401, headers=asks), login="me:secret")
    with pytest.raises(StoreError, match="not https"):
        client.read_manifest("a")


def test_who_may_not_is_told_to_log_in() -> None:
    client = registry(lambda _: httpx.Response(401, headers={"www-authenticate": "Basic realm=x"}), login="me:wrong")
    with pytest.raises(StoreError, match="log in"):
        client.read_manifest("a")


def test_a_blob_of_other_bytes_or_without_end_is_refused() -> None:
    client = registry(lambda _: httpx.Response(200, stream=httpx.ByteStream(b"other")))
    with pytest.raises(StoreError, match="other bytes"):
        client.read_blob(digest_of(b"wanted"), max_bytes=100)
    with pytest.raises(TooLarge):
        client.read_blob(digest_of(b"wanted"), max_bytes=4)


def test_a_tag_of_another_file_is_refused() -> None:
    manifest = {
        "config": {"mediaType": "x", "digest": "x", "size": 0},
        "layers": [{"mediaType": "x", "digest": "x", "size": 0}],
        "annotations": {"org.opencontainers.image.title": "b"},
    }

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(manifest).encode()))

    store = OciStore("oci://registry.test/mesh", login="a:b", transport=httpx.MockTransport(answer))
    with pytest.raises(StoreError, match="not this file's"):
        store.read("a", max_bytes=100)


def test_dockers_login_is_found_by_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert docker_login("registry.test") == ""
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.test": {"auth": auth}}}))
    assert docker_login("registry.test") == "me:secret"
    assert docker_login("other.test") == ""
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(StoreError, match=r"config\.json"):
        docker_login("registry.test")


def test_an_s3_server_that_ignores_conditions_is_not_written_to() -> None:
    store = S3Store("s3://bucket/mesh?endpoint=http://127.0.0.1:1&region=r")
    written: list[str] = []

    class Careless:
        def put_object(self, *, Key: str, **_: object) -> dict[str, str]:  # noqa: N803  the library's name
            written.append(Key)
            return {"ETag": '"1"'}

    store._client.close()
    store._client = Careless()
    with pytest.raises(StoreError, match="ignores conditional writes"):
        store.replace("metadata/timestamp.json", b"x", expected=None)
    assert set(written) == {"mesh/probe/conditional-writes"}


@pytest.mark.parametrize("location", ["s3://", "s3://b/p?endpiont=x", "oci://host", "oci:///r", "oci://host/r?tls=no"])
def test_a_location_with_a_mistake_in_it_says_how_one_is_written(location: str) -> None:
    with pytest.raises(StoreError, match="store is"):
        open_store(location)


def test_what_a_busy_registry_cannot_answer_is_asked_again() -> None:
    answers = iter([500, 503, 404])
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(next(answers))

    registry = Registry("http://registry.test", "mesh", transport=httpx.MockTransport(answer))
    assert not registry.has_tag("latest")
    assert asked == ["HEAD", "HEAD", "HEAD"]
    registry.close()
