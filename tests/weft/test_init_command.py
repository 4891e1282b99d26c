"""``weft init``: the repository it makes is one that every later command takes as it is, and nothing of the user's is touched."""

from __future__ import annotations

import textwrap
from pathlib import Path

import msgspec
import pygit2
import pytest
import yaml
from click.testing import CliRunner, Result

from compiler.commit_tree import CommitTree
from compiler.pipeline import compile_tree
from runtime.bootstrap import load
from snapshot.index import select
from weft.cli import weft
from weft.dev import devfile
from weft.dev.placement import Placer
from weft.starter.origin import UNKNOWN_URL, Origin, origin_of, release_tag

URL = "https://git.example.org/platform/weft.git"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(weft, [*arguments], standalone_mode=False)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mesh"
    assert run("init", str(folder), "--weft-url", URL, "--trust-domain", "shop.example").exception is None
    monkeypatch.chdir(folder)
    return folder


def commit(folder: Path) -> None:
    repository = pygit2.Repository(str(folder))
    repository.index.add_all()
    author = pygit2.Signature("a", "a@example.org", 0, 0)
    repository.create_commit("HEAD", author, author, "a mesh", repository.index.write_tree(), [])


def test_the_new_mesh_has_no_finding_not_even_a_note(made: Path) -> None:
    assert run("keys", "init", "keys").exception is None
    assert run("check").stdout == "nothing to report in 6 files\n"


def test_the_new_mesh_has_a_slice_for_each_proxy_that_it_has_a_bootstrap_for(made: Path) -> None:
    commit(made)
    compilation = compile_tree(CommitTree(made), allow_partial=False)
    assert list(compilation.diagnostics) == []
    assert compilation.snapshot is not None
    index = compilation.snapshot.index
    found = {file.stem: select(index, load(file).selector) for file in (made / "proxies").iterdir()}
    assert sorted(found) == ["hello-v1", "hello-v2", "ingress"]
    assert len({entry.name for entry in found.values() if entry is not None}) == len(found)


def test_the_processes_of_weft_dev_are_workloads_of_the_new_mesh(made: Path) -> None:
    commit(made)
    snapshot = compile_tree(CommitTree(made), allow_partial=False).snapshot
    assert snapshot is not None
    placement = Placer(devfile.load(made), first_port=1024).place(snapshot)
    assert placement.advice == []
    assert sorted(placement.proxies) == ["hello-v1", "hello-v2", "ingress-ingressgateway"]
    assert placement.proxies["ingress-ingressgateway"].proxy.address == "127.30.1.2", "as `weft init` says"


def test_the_rule_in_the_readme_of_guardrails_is_one_that_check_applies(made: Path) -> None:
    example = (made / "guardrails" / "README.md").read_text().split("\n\n")[2]
    (made / "guardrails" / "timeouts.yaml").write_text(textwrap.dedent(example))
    assert run("check").return_value == 0
    routing = made / "mesh" / "routing.yaml"
    routing.write_text(routing.read_text().replace("timeout: 10s", ""))
    result = run("check")
    assert result.return_value == 1
    assert "a route that forwards must have a timeout" in result.stdout


def test_the_private_keys_stay_out_of_git_and_the_root_goes_in(made: Path) -> None:
    run("keys", "init", "keys", "--break-glass")
    commit(made)
    committed = pygit2.Repository(str(made)).head.peel(pygit2.Tree) / "keys"
    assert isinstance(committed, pygit2.Tree)
    assert sorted(str(entry.name) for entry in committed) == ["README.md", "root.json"]


def test_nothing_is_left_to_fill_in_but_what_ci_fills_in(made: Path) -> None:
    for path in made.rglob("*"):
        if path.is_file() and ".git" not in path.relative_to(made).parts[:1]:
            assert "@WEFT" not in path.read_text(), path
            assert "@TRUST" not in path.read_text(), path
    assert "trustDomain: shop.example\n" in (made / "mesh" / "mesh.yaml").read_text()


def test_the_workflows_get_weft_from_the_given_place(made: Path) -> None:
    workflow = yaml.safe_load((made / ".github" / "workflows" / "mesh.yaml").read_text())
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "weft" in step["uses"]]
    assert used == [f"platform/weft/.github/actions/{name}@{release_tag()}" for name in ("check", "publish")]
    pipeline = yaml.safe_load((made / ".gitlab-ci.yml").read_text())
    assert pipeline["variables"]["WEFT_URL"] == URL
    hooks = yaml.safe_load((made / ".pre-commit-config.yaml").read_text())
    assert (hooks["repos"][0]["repo"], hooks["repos"][0]["rev"]) == (URL, release_tag())


def test_a_file_that_is_there_is_kept_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "mesh.yaml").write_text("mine\n")
    result = run("init", str(tmp_path))
    assert "mesh/mesh.yaml would be overwritten; nothing was written" in str(result.exception)
    assert [path.name for path in tmp_path.rglob("*")] == ["mesh", "mesh.yaml"]
    assert (tmp_path / "mesh" / "mesh.yaml").read_text() == "mine\n"


def test_a_link_to_nowhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "README.md").symlink_to(tmp_path / "elsewhere")
    assert "README.md would be overwritten" in str(run("init", str(tmp_path)).exception)
    assert not (tmp_path / "elsewhere").exists()


def test_an_existing_repository_keeps_its_history(tmp_path: Path) -> None:
    pygit2.init_repository(str(tmp_path), initial_head="trunk")
    assert run("init", str(tmp_path / "below")).exception is None
    assert not (tmp_path / "below" / ".git").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = str(run("init", str(tmp_path / "file" / "below")).exception)
    assert message.startswith("cannot write ")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["Shop", "shop_1", "-a", "", "spiffe://a", "a" * 300])
def test_a_name_that_spiffe_would_not_take_is_refused(tmp_path: Path, name: str) -> None:
    assert "is no trust domain" in str(run("init", str(tmp_path), "--trust-domain", name).exception)
    assert list(tmp_path.iterdir()) == []


def test_the_origin_is_what_pip_wrote_down() -> None:
    told = msgspec.json.encode({"url": URL, "vcs_info": {"vcs": "git", "commit_id": "1f" * 20}}).decode()
    assert origin_of(told) == Origin(URL, "1f" * 20)
    assert origin_of(told).slug == "platform/weft"


@pytest.mark.parametrize("told", [None, "", "{", '{"url": "file:///home/a/weft", "dir_info": {"editable": true}}'])
def test_a_weft_from_no_git_url_leaves_the_place_to_fill_in(told: str | None) -> None:
    assert origin_of(told) == Origin(UNKNOWN_URL, release_tag(), known=False)
