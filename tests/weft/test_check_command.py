"""``weft check`` as users and CI call it: what is written where, and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pygit2
import pytest
from click.testing import CliRunner, Result

from weft.cli import main, weft

GOOD = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
BAD = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, lables: {a: b}}\n"
NOTED = "apiVersion: unknown.example/v1\nkind: Task\nmetadata: {name: a}\n"


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tmp_path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(weft, ["check", *arguments], standalone_mode=False)


def commit(root: Path) -> None:
    repository = pygit2.init_repository(str(root))
    repository.index.add_all()
    author = pygit2.Signature("a", "a@example.org", 0, 0)
    parents = [] if repository.head_is_unborn else [repository.head.target]
    repository.create_commit("HEAD", author, author, "a change", repository.index.write_tree(), parents)


def test_a_mesh_without_mistakes_exits_0(repository: Path) -> None:
    (repository / "a.yaml").write_text(GOOD)
    result = check()
    assert (result.return_value, result.stdout, result.stderr) == (0, "nothing to report in 1 file\n", "")


def test_a_folder_without_any_file_passes_and_says_that_nothing_was_checked(repository: Path) -> None:
    (repository / "mseh").mkdir()
    result = check("mseh")
    assert (result.return_value, result.stdout) == (0, "nothing to report in no files\n")
    assert result.stderr.startswith("there was nothing to check: no .yaml, .yml, .json file in mseh; `weft init")


def test_an_error_exits_1_and_is_on_standard_output(repository: Path) -> None:
    (repository / "mesh").mkdir()
    (repository / "mesh" / "a.yaml").write_text(BAD)
    result = check("mesh")
    assert result.return_value == 1
    assert "unknown field `lables` in metadata, did you mean `labels`?\n --> mesh/a.yaml:3:24\n" in result.stdout
    assert result.stdout.endswith("1 error in 1 file\n")
    assert "\x1b[" not in result.stdout


def test_notes_are_no_reason_to_fail(repository: Path) -> None:
    (repository / "a.yaml").write_text(NOTED)
    result = check()
    assert result.return_value == 0
    assert "1 note in 1 file" in result.stdout


def test_several_paths_are_one_mesh(repository: Path) -> None:
    for name, text in (("one/a.yaml", GOOD), ("two.yaml", BAD), ("three/c.yaml", BAD)):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(text)
    result = check("one", "two.yaml", "--format", "json")
    found = [(entry["file"], entry["code"]) for entry in json.loads(result.stdout)]
    assert found == [("two.yaml", "WFT0100"), ("two.yaml", "IST0106")]
    assert result.return_value == 1


def test_a_commit_is_checked_as_it_was_committed(repository: Path) -> None:
    (repository / "a.yaml").write_text(BAD)
    commit(repository)
    (repository / "a.yaml").write_text(GOOD)
    assert check().return_value == 0
    assert check("--rev", "HEAD").return_value == 1
    commit(repository)
    assert check("--rev", "HEAD").return_value == 0
    assert check("--rev", "HEAD~1").return_value == 1


def test_positions_in_a_commit_are_right_where_the_user_stands(repository: Path) -> None:
    (repository / "mesh").mkdir()
    (repository / "mesh" / "a.yaml").write_text(BAD)
    commit(repository)
    assert " --> mesh/a.yaml:3:24\n" in check("mesh", "--rev", "HEAD").stdout
    assert check("mesh/", "--rev", "HEAD").stdout == check("mesh").stdout


def test_github_gets_annotations(repository: Path) -> None:
    (repository / "a.yaml").write_text(BAD)
    assert check("--format", "github").stdout.startswith("::error file=a.yaml,line=3,endLine=3,col=24,endColumn=30,")


@pytest.mark.parametrize(
    ("output", "start"),
    [("sarif", '{\n  "$schema"'), ("gitlab", '[\n  {\n    "description"'), ("junit", "<?xml ")],
)
def test_code_hosts_get_their_formats(repository: Path, output: str, start: str) -> None:
    (repository / "a.yaml").write_text(BAD)
    result = check("--format", output)
    assert result.stdout.startswith(start)
    assert result.return_value == 1


def test_what_is_left_out_is_not_counted(repository: Path) -> None:
    (repository / "a.yaml").write_text(f"{BAD}---\n{NOTED}")
    assert check("--select", "WFT").stdout.endswith("1 note in 1 file\n")
    assert check("--ignore", "IST0106", "--ignore", "WFT0011").return_value == 0
    assert check("--severity", "error").stdout.endswith("1 error in 1 file\n")


def test_a_fix_changes_what_is_wrong_and_the_check_is_of_the_result(repository: Path) -> None:
    (repository / "mesh").mkdir()
    path = repository / "mesh" / "a.yaml"
    path.write_text(f"# why\n{BAD}")
    result = check("mesh", "--fix")
    assert path.read_text() == f"# why\n{BAD.replace('lables', 'labels')}"
    assert (result.return_value, result.stderr) == (0, "mesh/a.yaml: 1 corrected\n")


def test_a_second_check_says_what_the_first_said(repository: Path) -> None:
    pygit2.init_repository(str(repository))
    (repository / "a.yaml").write_text(BAD)
    first = check()
    assert list((repository / ".git" / "weft").iterdir())
    assert (check().stdout, check("--no-cache").stdout) == (first.stdout, first.stdout)
    (repository / "a.yaml").write_text(GOOD)
    assert check().return_value == 0


@pytest.mark.integration
def test_a_watch_checks_again_when_a_file_changes(repository: Path) -> None:
    (repository / "a.yaml").write_text(BAD)
    command = [sys.executable, "-u", "-m", "weft", "check", "--watch", "--format", "github"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert "IST0106" in process.stdout.readline()
            # The change must come after the watch has begun; until it is seen, it is made again.
            seen = threading.Event()
            writer = threading.Thread(target=_rewrite, args=(repository / "b.yaml", BAD, seen))
            writer.start()
            lines = [process.stdout.readline() for _ in range(3)]
            seen.set()
            writer.join()
        finally:
            process.terminate()
    assert [line.partition(",")[0] for line in lines] == ["\n", "::error file=a.yaml", "::error file=b.yaml"]


def _rewrite(path: Path, text: str, seen: threading.Event) -> None:
    for number in range(100):
        path.write_text(f"{text}# {number}\n")
        if seen.wait(0.3):
            return


def test_a_code_is_explained() -> None:
    result = CliRunner().invoke(weft, ["explain-code", "wft0002"], standalone_mode=False)
    assert result.stdout.startswith("WFT0002 DuplicateKey (error)")


def test_colour_is_for_who_asks_or_has_a_terminal(repository: Path) -> None:
    (repository / "a.yaml").write_text(BAD)
    assert "\x1b[" in check("--color", "always").stdout
    assert "\x1b[" not in check("--color", "auto").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["--rev", "v9"], "not in a Git repository"),
        (["--rev", "HEAD", "a", "b"], "give one PATH"),
        (["--format", "xml"], "xml"),
        (["--rev", "HEAD", "--fix"], "a commit does not change"),
        (["--select", "IST,XYZ"], "no code begins with XYZ"),
    ],
)
def test_what_cannot_run_exits_2_with_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", *arguments])
    output = capsys.readouterr()
    assert ended.value.code == 2
    assert words in output.err
    assert output.out == ""
    assert "Traceback" not in output.err
