"""A commit and a work tree with the same files are the same configuration, and neither leads out of itself."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import FileMode

from compiler.commit_tree import CommitTree
from compiler.tree import MAX_FILE_BYTES, JoinedTree, MemoryTree, Tree, TreeError, digest_of_entries
from compiler.worktree import WorkTree

AUTHOR = pygit2.Signature("a", "a@example.org", 0, 0)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def commit(root: Path) -> str:
    repository = pygit2.init_repository(str(root))
    repository.index.add_all()
    repository.index.write()
    parents = [] if repository.head_is_unborn else [repository.head.target]
    tree = repository.index.write_tree()
    return str(repository.create_commit("HEAD", AUTHOR, AUTHOR, "a change", tree, parents))


def names(tree: Tree) -> list[str]:
    return [name for name, _ in tree.files()]


def refused(tree: Tree) -> list[tuple[str, str]]:
    return sorted((item.code, item.span.file) for item in tree.refusals())


FILES = {
    "b.yaml": "b",
    "a/c.yml": "c",
    "a/d.json": "{}",
    "a-b.yaml": "x",
    "README.md": "no",
    ".hidden.yaml": "no",
    ".github/workflow.yaml": "no",
    "a/.cache/e.yaml": "no",
    "tests/expect.yaml": "no",
    "guardrails/rule.yaml": "no",
    "shop/tests/f.yaml": "f",
}
READ = ["a-b.yaml", "a/c.yml", "a/d.json", "b.yaml", "shop/tests/f.yaml"]


def test_a_work_tree_and_a_commit_hold_the_same_files_in_the_same_order(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    commit(tmp_path)
    assert list(WorkTree(tmp_path).files()) == list(CommitTree(tmp_path).files())
    assert names(WorkTree(tmp_path)) == READ
    memory = MemoryTree({name: text.encode() for name, text in FILES.items()})
    assert list(memory.files()) == list(WorkTree(tmp_path).files())
    assert memory.digest == WorkTree(tmp_path).digest
    assert digest_of_entries(CommitTree(tmp_path).entries()) == memory.digest


def test_a_commit_is_known_by_its_hash_and_its_tree(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "1"})
    first = commit(tmp_path)
    write(tmp_path, {"a.yaml": "2"})
    second = commit(tmp_path)
    assert CommitTree(tmp_path).commit == second
    old = CommitTree(tmp_path, first[:10])
    assert (old.commit, list(old.files())) == (first, [("a.yaml", b"1")])
    assert old.digest == str(pygit2.Repository(str(tmp_path))[first].peel(pygit2.Commit).tree.id)
    assert CommitTree(tmp_path, "HEAD~1").digest == old.digest != CommitTree(tmp_path).digest


def test_a_work_trees_digest_follows_paths_and_contents_only(tmp_path: Path) -> None:
    write(tmp_path / "one", {"a.yaml": "1", "note.txt": "x"})
    write(tmp_path / "two", {"a.yaml": "1"})
    write(tmp_path / "three", {"b.yaml": "1"})
    digests = [WorkTree(tmp_path / name).digest for name in ("one", "two", "three")]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0] == hashlib.sha256(b"6 32\na.yaml" + hashlib.sha256(b"1").digest()).hexdigest()


def test_a_folder_of_a_repository_is_a_tree_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, {"mesh/a.yaml": "1", "other/b.yaml": "2", "mesh/tests/c.yaml": "3"})
    commit(tmp_path)
    tree = CommitTree(tmp_path / "mesh")
    assert names(tree) == ["a.yaml"]
    top = pygit2.Repository(str(tmp_path)).head.peel(pygit2.Commit).tree
    assert tree.digest == str(top["mesh"].id)


def test_a_folder_that_is_gone_is_still_in_its_commit(tmp_path: Path) -> None:
    write(tmp_path, {"mesh/old/a.yaml": "1"})
    commit(tmp_path)
    shutil.rmtree(tmp_path / "mesh")
    assert names(CommitTree(tmp_path / "mesh" / "old")) == ["a.yaml"]


def test_a_bare_repository_is_read_too(tmp_path: Path) -> None:
    write(tmp_path / "work", {"a.yaml": "1"})
    commit(tmp_path / "work")
    pygit2.clone_repository(str(tmp_path / "work"), str(tmp_path / "bare.git"), bare=True)
    assert names(CommitTree(tmp_path / "bare.git")) == ["a.yaml"]


def test_what_git_ignores_is_not_read_from_a_work_tree(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "build/\nlocal-*.yaml\n", "a.yaml": "1", "build/b.yaml": "2", "local-c.yaml": "3"})
    pygit2.init_repository(str(tmp_path))
    assert names(WorkTree(tmp_path)) == ["a.yaml"]


def test_links_stay_inside_the_tree(tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text("secret")
    root = tmp_path / "mesh"
    write(root, {"real.yaml": "real", "folder/x.yaml": "x", "notes.txt": "n"})
    (root / "folder" / "inside.yaml").symlink_to("../real.yaml")
    (root / "chain.yaml").symlink_to("folder/inside.yaml")
    (root / "out.yaml").symlink_to("../outside.yaml")
    (root / "absolute.yaml").symlink_to(outside)
    (root / "absolute-inside.yaml").symlink_to(root / "real.yaml")
    (root / "dots.yaml").symlink_to("folder/../../outside.yaml")
    (root / "gone.yaml").symlink_to("nowhere.yaml")
    (root / "text.yaml").symlink_to("notes.txt")
    (root / "self.yaml").symlink_to("self.yaml")
    (root / "loop").symlink_to("folder")
    commit(root)
    expected = {
        "absolute-inside.yaml": "out of the tree",
        "absolute.yaml": "out of the tree",
        "dots.yaml": "out of the tree",
        "gone.yaml": "to nothing that weft reads",
        "loop": "to a folder",
        "out.yaml": "out of the tree",
        "self.yaml": "to nothing that weft reads",
        "text.yaml": "to nothing that weft reads",
    }
    for tree in (WorkTree(root), CommitTree(root)):
        assert dict(tree.files()) == {
            "chain.yaml": b"real",
            "folder/inside.yaml": b"real",
            "folder/x.yaml": b"x",
            "real.yaml": b"real",
        }
        assert refused(tree) == [("WFT0007", name) for name in expected]
        for item in tree.refusals():
            assert f"{item.span.file} is a symbolic link {expected[item.span.file]}" in item.message


def test_submodules_are_refused_and_not_entered(tmp_path: Path) -> None:
    root = tmp_path / "mesh"
    write(root, {"a.yaml": "1", "module/b.yaml": "2"})
    head = commit(root / "module")
    repository = pygit2.init_repository(str(root))
    repository.index.add("a.yaml")
    repository.index.add(pygit2.IndexEntry("module", pygit2.Oid(hex=head), FileMode.COMMIT))
    tree = repository.index.write_tree()
    repository.create_commit("HEAD", AUTHOR, AUTHOR, "a change", tree, [])
    for either in (WorkTree(root), CommitTree(root)):
        assert names(either) == ["a.yaml"]
        assert refused(either) == [("WFT0008", "module")]


def test_a_large_file_is_cut_where_it_is_known_to_be_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 10))
    commit(tmp_path)
    for tree in (WorkTree(tmp_path), CommitTree(tmp_path)):
        assert [len(content) for _, content in tree.files()] == [MAX_FILE_BYTES + 1]


def test_very_deep_folders_do_not_end_the_walk(tmp_path: Path) -> None:
    repository = pygit2.init_repository(str(tmp_path), bare=True)
    builder = repository.TreeBuilder()
    builder.insert("a.yaml", repository.create_blob(b"1"), FileMode.BLOB)
    tree = builder.write()
    for _ in range(2000):
        builder = repository.TreeBuilder()
        builder.insert("d", tree, FileMode.TREE)
        tree = builder.write()
    repository.create_commit("HEAD", AUTHOR, AUTHOR, "deep", tree, [])
    assert [name.count("/") for name in names(CommitTree(tmp_path))] == [2000]


def test_one_file_is_a_tree_and_keeps_the_path_that_was_given(tmp_path: Path) -> None:
    write(tmp_path, {"x/a.yaml": "1"})
    assert list(WorkTree(tmp_path / "x" / "a.yaml", shown_as="../x/a.yaml").files()) == [("../x/a.yaml", b"1")]
    assert names(WorkTree(tmp_path / "x", shown_as="../x")) == ["../x/a.yaml"]


def test_trees_join_in_order_and_a_file_in_two_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, {"b/b.yaml": "1", "a/a.yaml": "2"})
    both = JoinedTree(
        WorkTree(tmp_path / name, shown_as=shown) for name, shown in (("b", "b"), ("a", "a"), ("a/a.yaml", "a/a.yaml"))
    )
    assert names(both) == ["a/a.yaml", "b/b.yaml"]
    assert len(both.digest) == 64


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: WorkTree(root / "nowhere"), "does not exist"),
        (lambda root: CommitTree(root / "nowhere"), "not in a Git repository"),
        (lambda root: CommitTree(root / "plain"), "not in a Git repository"),
        (lambda root: CommitTree(root / "repository", "v9"), "`v9` names no commit"),
        (lambda root: CommitTree(root / "repository", "HEAD:a.yaml"), "names no commit"),
        (lambda root: CommitTree(root / "repository" / "new"), "has no folder new"),
        (lambda root: CommitTree(root / "repository" / "a.yaml"), "is not a folder"),
        (lambda root: CommitTree(root / "unborn"), "no commit yet"),
    ],
)
def test_what_cannot_be_opened_says_what_and_what_next(tmp_path: Path, make: object, words: str) -> None:
    write(tmp_path, {"plain/a.yaml": "1", "repository/a.yaml": "1", "unborn/a.yaml": "1"})
    commit(tmp_path / "repository")
    (tmp_path / "repository" / "new").mkdir()
    pygit2.init_repository(str(tmp_path / "unborn"))
    with pytest.raises(TreeError, match=words):
        make(tmp_path)  # type: ignore[operator]
