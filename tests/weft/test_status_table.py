"""What ``weft status`` prints fits a terminal of 80 columns, cuts nothing that matters, and says something where there is nothing."""

from __future__ import annotations

import time

import pytest

from runtime.control.interface import ProxyStatus, StatusReport
from weft.status_table import print_report

LONG = (
    "wrong_signature: metadata/timestamp.json has 0 of the 1 signatures needed; what serves goes on, look at the store"
)


def proxy(name: str, **given: object) -> ProxyStatus:
    seen = {"channel": "stable", "version": 7, "snapshot": "ab" * 32, "commit": "cd" * 20, "fresh": True}
    return ProxyStatus(name, seen_at=time.time(), swapped_at=time.time() - 300, **(seen | given))  # type: ignore[arg-type]


def printed(capsys: pytest.CaptureFixture[str], report: StatusReport) -> list[str]:
    print_report(report)
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich takes standard output for a terminal of 80 columns that shows no colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("terminal")
def test_a_row_of_a_long_name_fits_eighty_columns_and_keeps_state_and_snapshot_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "recommendations-v2.bookshop-production@10.244.17.203"
    lines = printed(capsys, StatusReport(version=9, published={"stable": 7}, proxies=(proxy(name),)))
    assert lines[0] == "published on stable: version 7"
    assert lines[1].split() == ["PROXY", "VERSION", "SNAPSHOT", "COMMIT", "SINCE", "STATE"]
    assert max(map(len, lines)) <= 80
    assert lines[2].split()[1:] == ["7", "abababababab", "cdcdcdc", "5m", "current"]
    assert "".join(line.split()[0] for line in lines[2:]) == name


@pytest.mark.usefixtures("terminal")
def test_an_error_is_a_whole_sentence_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    failing = proxy("cart.shop@10.0.0.3", error=LONG, error_reason="wrong_signature")
    lines = printed(
        capsys, StatusReport(version=9, published={"stable": 7}, proxies=(failing, proxy("web.shop@10.0.0.4")))
    )
    assert lines[2].split()[-1] == "wrong_signature"
    assert "".join(lines[4:]) == f"cart.shop@10.0.0.3: {LONG}"


@pytest.mark.parametrize("version", [0, 4])
def test_a_control_plane_without_news_says_what_to_do(capsys: pytest.CaptureFixture[str], version: int) -> None:
    nothing, nobody = printed(capsys, StatusReport(version=version, published={}, proxies=()))
    assert nothing.startswith("nothing is published yet: `weft publish`")
    assert nobody.startswith("no proxy has reported; one that joins (`weft proxy`")


def test_proxies_that_were_asked_themselves_do_not_know_what_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, StatusReport(version=0, published={}, proxies=(proxy("sidecar/shop/cart"),)))
    assert lines[0].startswith("PROXY")
