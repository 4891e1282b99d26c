"""What operators start weft with: every command line is one that weft takes, every file named is there, and nothing runs with more than it needs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from compiler.pipeline import check
from compiler.tree import MemoryTree
from runtime.bootstrap import load
from weft.cli import weft

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
BASE = DEPLOY / "kustomize" / "base"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
HADOLINT = Path(sys.executable).with_name("hadolint")
DRAIN_S = 30
MAX_EXPOSURE = 20
"""In tenths, as systemd-analyze counts: 2.0 of 10."""


def require(tool: str) -> str:
    found = shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        if os.environ.get("WEFT_REQUIRE_ALL") == "1":
            pytest.fail(f"{tool} is not installed, and nothing may be skipped here")
        pytest.skip(f"{tool} is not installed")
    return found


def parse(arguments: list[str]) -> None:
    """Parses as ``weft`` would, without running anything; fails the test where it would be a usage error."""
    command: click.Command = weft
    with click.Context(weft) as parent:
        while isinstance(command, click.Group):
            found = command.get_command(parent, arguments[0])
            assert found is not None, f"there is no command {arguments[0]}"
            command, arguments = found, arguments[1:]
        try:
            command.make_context("weft", list(arguments), parent=parent)
        except click.UsageError as error:
            pytest.fail(f"{arguments}: {error.format_message()}")


def settings(unit: Path) -> dict[str, str]:
    text = unit.read_text().replace("\\\n", " ")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def rendered() -> list[dict[str, Any]]:
    done = subprocess.run(
        [require("kubectl"), "kustomize", str(BASE)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each pod specification of the base with each of its containers."""
    for file in BASE.glob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            if document["kind"] == "Deployment":
                pod = document["spec"]["template"]["spec"]
                for container in [*pod["containers"], *pod.get("initContainers", [])]:
                    yield pod, container


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_weft_as_weft_wants_to_be_started(unit: Path) -> None:
    given = settings(unit)
    variables = dict(pair.split("=", 1) for pair in given["Environment"].split())
    line = re.sub(r"\$\{(\w+)\}", lambda name: variables[name[1]], given["ExecStart"]).replace("%i", "cart")
    program, *arguments = shlex.split(line)
    assert program == "/opt/weft/bin/weft"
    parse(arguments)
    assert given["User"] != "root"
    users = (DEPLOY / "systemd" / "weft.sysusers").read_text()
    assert re.search(rf"^u {given['User']} ", users, re.MULTILINE)


@pytest.mark.integration
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_a_unit_and_finds_little_exposed(unit: Path, tmp_path: Path) -> None:
    tool = require("systemd-analyze")
    copy = tmp_path / unit.name.replace("@.", "@cart.")
    # systemd looks whether the program is there; here it is another.
    copy.write_text(unit.read_text().replace("/opt/weft/bin/weft", sys.executable))
    verified = subprocess.run([tool, "verify", str(copy)], capture_output=True, text=True, timeout=30, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    command = [tool, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(copy)]
    exposed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert exposed.returncode == 0, exposed.stdout[-400:]


def lint(dockerfile: str) -> subprocess.CompletedProcess[str]:
    """hadolint's judgement, down to matters of style."""
    return subprocess.run(
        [HADOLINT, "--no-color", "--failure-threshold", "style", "-"],
        input=dockerfile,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.integration
def test_the_linter_of_dockerfiles_has_nothing_to_say() -> None:
    done = lint((DEPLOY / "Dockerfile").read_text())
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("given", "mistaken", "rule"),
    [
        ("WORKDIR /var/lib/weft", "WORKDIR var/lib/weft", "DL3000"),
        ('ENTRYPOINT ["weft"]', "ENTRYPOINT weft", "DL3025"),
    ],
)
def test_the_linter_sees_what_would_be_wrong(given: str, mistaken: str, rule: str) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert given in text
    done = lint(text.replace(given, mistaken))
    assert done.returncode != 0
    assert rule in done.stdout


def test_every_file_that_the_image_takes_is_there_and_let_through() -> None:
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    let_through = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert set(copied) == let_through
    assert [path for path in copied if not (DEPLOY.parent / path).exists()] == []


def test_the_image_is_small_not_root_and_stops_when_it_is_told() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    last = stages[-1]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", last, re.MULTILINE), "a number: Kubernetes cannot judge a name"
    assert "RUN" not in last
    assert "pip" not in last
    assert re.search(r'^ENTRYPOINT \["weft"\]$', last, re.MULTILINE), "a shell between would swallow SIGTERM"
    assert "ADD " not in text
    assert ":latest" not in text
    assert "--require-hashes" in text


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_service_of_compose_starts_weft_with_nothing_to_spare(name: str) -> None:
    service = COMPOSE["services"][name]
    parse(list(service["command"]))
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["user"] == "65532:65532"
    for volume in service["volumes"]:
        source, _, flags = volume.partition(":")
        assert source in COMPOSE["volumes"] or (source.startswith("./") and flags.endswith(":ro")), volume
    assert int(service.get("stop_grace_period", "90s").rstrip("s")) > DRAIN_S


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("*.toml")), ids=lambda file: str(file.relative_to(DEPLOY)))
def test_a_bootstrap_file_is_one_that_a_proxy_takes(file: Path) -> None:
    bootstrap = load(file)
    assert bootstrap.root.endswith("/trust/root.json")
    assert bootstrap.state.startswith("/var/lib/weft/")


@pytest.mark.integration
def test_the_base_renders_and_everything_that_it_names_is_made_or_asked_of_the_overlay() -> None:
    documents = rendered()
    made = {(one["kind"], one["metadata"]["name"]) for one in documents}
    text = " ".join((DEPLOY / "README.md").read_text().split())
    for document in documents:
        if document["kind"] != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        assert all(one["image"] == "registry.example.org/weft:0.1.0" for one in pod["containers"])
        for volume in pod["volumes"]:
            for kind, field, key in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
                if field in volume:
                    name = volume[field][key]
                    assert (kind, name) in made or f"{kind} `{name}`" in text, name
        mounted = {
            mount["name"]
            for one in [*pod["containers"], *pod.get("initContainers", [])]
            for mount in one["volumeMounts"]
        }
        assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.integration
@pytest.mark.parametrize("version", ["1.31.0", kubernetes_validate.latest_version()])
def test_kubernetes_own_schemas_take_every_document_of_the_base_to_the_letter(version: str) -> None:
    documents = rendered()
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    deployment = next(one for one in documents if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, version, strict=True)


@pytest.mark.integration
def test_weft_finds_no_mistake_in_what_the_base_renders() -> None:
    tree = MemoryTree({"base.yaml": "---\n".join(yaml.safe_dump(one) for one in rendered()).encode()})
    assert [found.message for found in check(tree) if found.severity.name != "NOTE"] == []


def test_every_container_of_the_base_is_restricted() -> None:
    found = list(containers())
    assert len(found) == 3
    for pod, container in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        if "args" in container:
            parse([argument.replace("$(POD_IP)", "10.0.0.7") for argument in container["args"]])
            assert {"requests", "limits"} <= container["resources"].keys()


def test_a_command_line_with_a_mistake_is_noticed() -> None:
    with pytest.raises(pytest.fail.Exception, match="--stat"):
        parse(["control", "--stat", "x"])
