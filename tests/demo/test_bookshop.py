"""The bookshop is an example, so it must be right: it compiles without a finding, and the demonstration's addresses fit it."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import msgspec
import pytest

from compiler.pipeline import compile_tree
from compiler.worktree import WorkTree
from runtime.bootstrap import load
from snapshot.encode import decode_section
from snapshot.index import Snapshot, assemble, select
from snapshot.section import Cluster, GatewayPort, Listener, MeshUpstream, Proxy, RouteBlock, Section, WorkloadPort
from weft.demo import story
from weft.demo.plan import BY_NAME, CONTROL_API, PROXIES, addresses, example
from weft.local.bootstraps import write_bootstrap


def compiled(mesh: Path) -> Snapshot:
    compilation = compile_tree(WorkTree(mesh))
    assert [str(finding.message) for finding in compilation.diagnostics] == []
    assert compilation.snapshot is not None
    return compilation.snapshot


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return compiled(example() / "mesh")


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    return Path(shutil.copytree(example() / "mesh", tmp_path / "mesh"))


def sections(snapshot: Snapshot, proxy: str, folder: Path) -> list[Section]:
    """The slice that the bootstrap of one proxy of the plan selects."""
    bootstrap = load(write_bootstrap(folder, BY_NAME[proxy], control=CONTROL_API))
    entry = select(snapshot.index, bootstrap.selector)
    assert entry is not None, f"no slice is for {proxy}"
    found = assemble(snapshot.digest, entry, snapshot.blobs)
    return [decode_section(found.blobs[ref.behaviour]) for ref in found.index.sections]


@pytest.mark.parametrize("name", list(BY_NAME))
def test_each_proxy_of_the_plan_has_a_slice_with_its_identity_and_ports(
    name: str, snapshot: Snapshot, tmp_path: Path
) -> None:
    plan = BY_NAME[name]
    found = sections(snapshot, name, tmp_path)
    (proxy,) = (section for section in found if isinstance(section, Proxy))
    assert proxy.workload.identity == f"spiffe://bookshop.example/ns/{plan.namespace}/sa/{plan.account}"
    ports = {
        section.bind.port
        for section in found
        if isinstance(section, Listener) and isinstance(section.bind, WorkloadPort | GatewayPort)
    }
    assert ports == set(plan.ports)


def test_the_storefront_accepts_only_the_identities_of_whom_it_calls(snapshot: Snapshot, tmp_path: Path) -> None:
    clusters = {one.name: one for one in sections(snapshot, "storefront", tmp_path) if isinstance(one, Cluster)}
    ratings = clusters["outbound|9080||ratings.bookshop.svc.cluster.local"]
    assert isinstance(ratings.tls, MeshUpstream)
    assert ratings.tls.identities == ("spiffe://bookshop.example/ns/bookshop/sa/ratings",)


def test_no_two_processes_of_the_demonstration_share_an_address() -> None:
    listed = list(addresses())
    assert len(listed) == len(set(listed))
    assert all(host.startswith("127.") for host, _ in listed)
    assert len({proxy.address for proxy in PROXIES}) == len(PROXIES)


def test_a_bootstrap_is_what_the_proxy_reads(tmp_path: Path) -> None:
    path = write_bootstrap(tmp_path, BY_NAME["ingress"], control=CONTROL_API)
    assert tomllib.loads(path.read_text())["ports"] == {"outbound": -1}
    assert load(path).root == str(tmp_path / "root.json")


def test_the_storys_shift_gives_a_fifth_to_v2(mesh: Path, tmp_path: Path) -> None:
    file = mesh / "reviews-routing.yaml"
    assert file.read_text().count(story.EVERYBODY_V1) == 1
    file.write_text(file.read_text().replace(story.EVERYBODY_V1, story.EVERYBODY_80_20))
    found = sections(compiled(mesh), "storefront", tmp_path)
    forwards = [
        msgspec.to_builtins(route.action)
        for section in found
        if isinstance(section, RouteBlock)
        for route in section.routes
    ]
    weights = [
        [(one["cluster"].split("|")[2], one.get("weight", 1)) for one in forward.get("destinations", [])]
        for forward in forwards
    ]
    assert [("v1", 80), ("v2", 20)] in weights


def test_the_storys_mistake_is_found_at_its_line(mesh: Path) -> None:
    file = mesh / "reviews-routing.yaml"
    wrong = (
        file.read_text()
        .replace(story.EVERYBODY_V1, story.EVERYBODY_80_20)
        .replace("subset: v2\n          weight", "subset: v4\n          weight")
    )
    file.write_text(wrong)
    (finding,) = compile_tree(WorkTree(mesh)).diagnostics
    assert finding.code == "IST0101"
    assert wrong.splitlines()[finding.span.line - 1].strip() == "subset: v4"


def test_the_storys_denial_compiles(mesh: Path) -> None:
    (mesh / story.DENY_FILE).write_text(story.DENY)
    compiled(mesh)
