"""Input that is made to hurt: each case is checked in a process of its own, bounded in memory and in processor time.

C parsers recurse and allocate, so that a mistake in one would end the process that runs all other tests. The bounds are the kernel's: a process
that asks for more than 512 MiB fails to get it, and one that computes for longer than the limit is killed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.integration

MAX_CPU_S = 2
"""What is refused is refused within this, the interpreter's start included; most of it within half a second."""

BUSY_CPU_S = 2
"""What the same work may cost more where other processes share the machine's caches."""
MAX_BYTES = 512 * 1024 * 1024
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n"
ROUTES = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: shop}\nspec:\n  hosts: [a]\n"
RULE = "route: [{destination: {host: a}}]"


class Outcome(NamedTuple):
    """How a check ended, and what it found."""

    code: int
    found: list[dict[str, Any]]
    complaint: str


def checked(folder: Path) -> Outcome:
    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S + BUSY_CPU_S, MAX_CPU_S + BUSY_CPU_S))

    command = [sys.executable, "-m", "weft", "check", "--no-cache", "--format", "json", "."]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=bound,
        timeout=120,
        env={**os.environ, "NO_COLOR": "1"},
    )
    found = json.loads(done.stdout) if done.returncode in (0, 1) and done.stdout else []
    return Outcome(done.returncode, found, done.stderr)


def bomb(wrapped: str) -> str:
    """Aliases of aliases: eleven levels of nine each."""
    first = "a0: &a0 {x: 1}\n"
    return first + "".join(f"a{n}: &a{n} {wrapped % ', '.join([f'*a{n - 1}'] * 9)}\n" for n in range(1, 12))


REFUSED: dict[str, tuple[Callable[[], str | bytes], str, tuple[int, int]]] = {
    "aliases of aliases": (lambda: bomb("[%s]"), "WFT0005", (7, 20)),
    "one large anchor many times": (lambda: f"a: &a [{'x,' * 20_000}]\nb: [{'*a,' * 20_000}]\n", "WFT0005", (2, 74)),
    "merge keys of merge keys": (lambda: bomb("{<<: [%s]}"), "WFT0005", (7, 25)),
    "a file of 100 MB": (lambda: b"a: b\n" * 20_000_000, "WFT0004", (1, 1)),
    "100,000 flow sequences": (lambda: "[" * 100_000, "WFT0005", (1, 101)),
    "100,000 flow mappings": (lambda: "{a: " * 100_000, "WFT0005", (1, 401)),
    "100,000 block sequences": (lambda: "- " * 100_000, "WFT0005", (1, 201)),
    "100,000 explicit keys": (lambda: "? " * 100_000, "WFT0006", (1, 3)),
    "5,000 indented mappings": (lambda: "".join(f"{' ' * level}a:\n" for level in range(5000)), "WFT0005", (101, 101)),
    "a nested mesh configuration": (
        lambda: (
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {'[' * 100_000}\n"
        ),
        "WFT0005",
        (6, 105),
    ),
    "a million duplicate keys": (
        lambda: f"{CONFIG_MAP}data:\n{'  a: b' + chr(10)}" + "  a: b\n" * 1_000_000,
        "WFT0002",
        (6, 3),
    ),
    "a NUL byte": (lambda: b"a: \0\n", "WFT0003", (1, 4)),
    "Latin-1": (lambda: b"a: caf\xe9\n", "WFT0003", (1, 7)),
    "UTF-16": (lambda: "a: b\n".encode("utf-16"), "WFT0003", (1, 1)),
    "no UTF-8 after 15 MB": (lambda: b"a: b\n" * 3_000_000 + b"\xff", "WFT0003", (3_000_001, 1)),
    "a million documents": (lambda: "---\n" * 1_000_000, "WFT0005", (100_001, 1)),
    "300,000 broken documents": (lambda: "---\n]\n" * 300_000, "WFT0001", (2, 1)),
    "an anchor of another document": (lambda: "a: &a 1\n---\nb: *a\n", "WFT0006", (3, 4)),
    "a tag that other parsers execute": (
        lambda: f"{CONFIG_MAP}data: {{a: !!python/object/apply:os.system [id]}}\n",
        "WFT0006",
        (4, 11),
    ),
    "infinity": (lambda: f"{ROUTES}  http: [{{timeout: .inf}}]\n", "WFT0006", (6, 20)),
    "an integer of ten million digits": (lambda: f"{ROUTES}  http: {'9' * 10_000_000}\n", "IST0106", (6, 9)),
    "a hexadecimal one": (lambda: f"{ROUTES}  http: 0x{'f' * 10_000_000}\n", "IST0106", (6, 9)),
    "a binary one": (lambda: f"{ROUTES}  http: 0b{'1' * 10_000_000}\n", "IST0106", (6, 9)),
    "an octal one": (lambda: f"{ROUTES}  http: 0{'7' * 10_000_000}\n", "IST0106", (6, 9)),
    "a fraction of ten million digits": (lambda: f"{ROUTES}  http: 1.{'9' * 10_000_000}\n", "IST0106", (6, 9)),
    "a field of a million letters": (lambda: f"{ROUTES}  ? {'h' * 1_000_000}\n  : 1\n", "IST0106", (6, 5)),
    "40,000 unknown fields": (lambda: ROUTES + "".join(f"  f{n}: 1\n" for n in range(40_000)), "IST0106", (6, 3)),
    "an expression that would fill the memory": (
        lambda: f"{ROUTES}  http: [{{match: [{{uri: {{regex: '((a{{100}}){{100}}){{100}}'}}}}], {RULE}}}]\n",
        "IST0106",
        (6, 33),
    ),
    "tabs": (lambda: "\t" * 10_000_000, "WFT0001", (1, 1)),
    "a line of keys": (lambda: "a: b: " * 1_000_000, "WFT0001", (1, 5)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_text_is_refused_at_its_place(name: str, tmp_path: Path) -> None:
    make, code, place = REFUSED[name]
    content = make()
    (tmp_path / "a.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = checked(tmp_path)
    assert outcome.complaint == ""
    assert outcome.code == 1
    found = [(item["code"], item["line"], item["column"]) for item in outcome.found]
    assert (code, *place) in found, found[:5]
    assert len(json.dumps(outcome.found)) < 1_000_000


ACCEPTED: dict[str, Callable[[], str | bytes]] = {
    "lines that end as on Windows": lambda: f"{CONFIG_MAP}data: {{a: b}}\n".replace("\n", "\r\n"),
    "lines that end as on old Macs": lambda: f"{CONFIG_MAP}data: {{a: b}}\n".replace("\n", "\r"),
    "a byte order mark": lambda: b"\xef\xbb\xbf" + CONFIG_MAP.encode(),
    "a line of 15 MB": lambda: f"{CONFIG_MAP}data:\n  a: {'x' * 15_000_000}\n",
    "a comment of 15 MB": lambda: f"# {'x' * 15_000_000}\n{CONFIG_MAP}",
    "seven million escapes": lambda: f'{CONFIG_MAP}data:\n  a: "{chr(92) + "n"}{(chr(92) + "n") * 7_000_000}"\n',
    "merge keys": lambda: f"{CONFIG_MAP}data:\n  <<: &a {{b: c}}\n  d: e\n",
    "a timestamp is a string": lambda: f"{CONFIG_MAP}data: {{a: 2026-01-01T00:00:00Z, b: 2026-01-01}}\n",
    "sexagesimal numbers are strings": lambda: f"{CONFIG_MAP}data: {{a: 1:30, b: 190:20:30}}\n",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_only_unusual_is_read(name: str, tmp_path: Path) -> None:
    content = ACCEPTED[name]()
    (tmp_path / "a.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert checked(tmp_path) == Outcome(0, [], "")


def test_what_yaml_11_makes_of_a_word_is_what_kubernetes_refuses(tmp_path: Path) -> None:
    words = ("yes", "on", "y", "NO", "Off", "0777", "0x1F", "1_000", "1e3", "~")
    rows = "".join(f"  a{number}: {word}\n" for number, word in enumerate(words))
    (tmp_path / "a.yaml").write_text(f"{CONFIG_MAP}data:\n{rows}")
    found = [(item["code"], item["line"]) for item in checked(tmp_path).found]
    assert found == [("IST0106", 5 + number) for number in range(len(words))]


def test_rules_that_cannot_be_compared_do_not_end_the_check(tmp_path: Path) -> None:
    rules = "".join(f"  - {{match: [{{uri: {{regex: '/a{n}.*'}}}}], {RULE}}}\n" for n in range(1100))
    (tmp_path / "a.yaml").write_text(f"{ROUTES}  http:\n{rules}")
    outcome = checked(tmp_path)
    assert (outcome.code, outcome.complaint) == (1, "")
    assert {item["code"] for item in outcome.found} == {"IST0101", "WFT0121"}


def test_a_pipe_and_a_device_in_the_place_of_a_file_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "up.yaml").symlink_to("../../../../etc/hostname")
    outcome = checked(tmp_path)
    assert outcome.code == 1
    assert "a pipe" in next(item["message"] for item in outcome.found if item["file"] == "pipe.yaml")
    assert sorted((item["code"], item["file"]) for item in outcome.found) == [
        ("WFT0007", "pipe.yaml"),
        ("WFT0007", "up.yaml"),
        ("WFT0007", "zero.yaml"),
    ]
