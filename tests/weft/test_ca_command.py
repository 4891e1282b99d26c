"""``weft ca`` beside a state folder: what goes to standard output alone, and what is refused with one sentence."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from runtime.control import state
from runtime.control.ledger import IssuedCertificate
from weft.commands.ca import command

IDENTITY = "spiffe://shop.test/ns/shop/sa/reviews"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    opened = state.create_or_open(tmp_path / "state", "shop.test", now=time.time())
    opened.ledger.record(IssuedCertificate("0a", IDENTITY, "token", time.time(), time.time() + 60))
    opened.ledger.close()
    return tmp_path / "state"


@pytest.mark.parametrize("identity", ["shop/reviews", IDENTITY])
def test_a_token_stands_alone_on_standard_output_and_buys_the_identity(folder: Path, identity: str) -> None:
    done = CliRunner().invoke(command, ["token", "--state", str(folder), "--identity", identity, "--uses", "2"])
    assert done.exit_code == 0, done.output
    (token,) = done.stdout.splitlines()
    opened = state.open_existing(folder, now=time.time())
    assert [opened.ledger.use_token(token, now=time.time()) for _ in range(3)] == [IDENTITY, IDENTITY, None]
    opened.ledger.close()


@pytest.mark.parametrize(
    "identity",
    ["reviews", "a/b/c", "../x", "shop/", "/reviews", "shop/re views", "spiffe://other.test/ns/shop/sa/reviews"],
)
def test_what_names_no_workload_gets_no_token(folder: Path, identity: str) -> None:
    done = CliRunner().invoke(command, ["token", "--state", str(folder), "--identity", identity])
    assert done.exit_code == 2
    assert "namespace/serviceaccount" in done.stderr
    assert done.stdout == ""


def test_the_bundle_is_the_authoritys_root(folder: Path) -> None:
    done = CliRunner().invoke(command, ["bundle", "--state", str(folder)])
    assert done.stdout_bytes == (folder / "ca" / "root.pem").read_bytes()


def test_issued_certificates_are_listed_as_text_and_as_json(folder: Path) -> None:
    text = CliRunner().invoke(command, ["list", "--state", str(folder)]).stdout
    assert IDENTITY in text.splitlines()[1]
    page = msgspec.json.decode(CliRunner().invoke(command, ["list", "--state", str(folder), "-o", "json"]).stdout)
    assert page["schemaVersion"] == 1
    assert [row["identity"] for row in page["certificates"]] == [IDENTITY]


@pytest.mark.parametrize("arguments", [["bundle"], ["list"], ["token", "--identity", "a/b"]])
def test_a_folder_that_is_no_state_is_named_with_the_next_step(tmp_path: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(command, [*arguments, "--state", str(tmp_path / "none")])
    assert done.exit_code != 0
    assert "start weft control --state" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_state_of_another_trust_domain_is_refused(folder: Path) -> None:
    with pytest.raises(state.StateError, match=r"trust domain shop\.test, not other\.test"):
        state.create_or_open(folder, "other.test", now=time.time())


def test_a_name_that_is_no_trust_domain_makes_no_state(tmp_path: Path) -> None:
    with pytest.raises(state.StateError, match="not a trust domain"):
        state.create_or_open(tmp_path / "state", "Shop Test", now=time.time())
    assert not (tmp_path / "state" / "ca").exists()
