"""The page of files and locations names every key that is read, with the default that it has."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from runtime.bootstrap import Bootstrap, Ports
from snapshot.index import Selector
from snapshot.store import StoreError
from snapshot.stores import open_store
from weft.dev.devfile import DevFile, ProcessSpec

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
TABLE = re.compile(r"^\| key \|.*\n\|---\|---\|---\|\n((?:\|.*\n)+)", re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", re.MULTILINE)


@pytest.mark.parametrize(
    ("number", "struct"), list(enumerate([Bootstrap, Selector, Ports, DevFile, ProcessSpec])), ids=lambda one: str(one)
)
def test_a_table_has_every_key_and_its_default(number: int, struct: type[msgspec.Struct]) -> None:
    rows = {key: default.strip("`") for key, default, _ in ROW.findall(TABLE.findall(PAGE)[number])}
    assert rows == {field.name: shown(field) for field in msgspec.structs.fields(struct)}


def shown(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    match value:
        case "" | {} | ():
            return "none"
        case bool():
            return str(value).lower()
        case Ports():
            return "below"
    return str(value)


@pytest.mark.parametrize(
    "location",
    [
        "s3://bucket/prefix?endpoint=http://127.0.0.1:1&region=eu-1",
        "oci://127.0.0.1:1/mesh?plain-http",
        "https://127.0.0.1:1/store",
        "folder",
    ],
)
def test_a_location_of_the_page_is_one_that_is_opened(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_store(location).close()


@pytest.mark.parametrize(
    "location", ["ftp://host/x", "s3:///x", "s3://bucket/x?regoin=a", "oci://host", "oci://host/x?http"]
)
def test_another_location_is_refused_with_the_form_that_is_right(location: str) -> None:
    with pytest.raises(StoreError, match=r"(s3|oci|https)://"):
        open_store(location)
