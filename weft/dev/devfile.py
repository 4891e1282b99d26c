"""``weft-dev.toml``: the processes of one developer's machine. Where the mesh is and who talks to whom is not said here: the mesh says it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import msgspec

from runtime.toml_file import keys_of, sentence
from weft.local.children import LocalError

FILE = "weft-dev.toml"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}\Z")
_NETWORK = re.compile(r"127\.(\d{1,3})\Z")
RESERVED = frozenset({"control"})
EXAMPLE = """\
mesh = "."                            # the folder of the mesh's YAML

[process.shop]
workload = "default/shop"             # namespace/name of the Deployment or Pod
command = "python shop.py --listen {host}:{port}"
"""


class ProcessSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process. ``workload`` is ``namespace/name`` of the mesh ("" for a process without a sidecar, say a database).

    In ``command`` and in ``environment`` ``{host}`` and ``{port}`` become where to listen and ``{proxy}`` the sidecar's outbound ``address:port``.
    ``ports`` says where the process really listens for a target port of the mesh, ``application`` on which address, "" for one of its own.
    ``directory`` counts from the file's folder.
    """

    command: str | list[str]
    workload: str = ""
    ports: dict[str, int] = {}
    environment: dict[str, str] = {}
    directory: str = "."
    application: str = ""

    @property
    def words(self) -> list[str]:
        """The command as a program and its arguments; a text is split as a shell does, and nothing else of a shell happens."""
        return shlex.split(self.command) if isinstance(self.command, str) else list(self.command)


class DevFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. ``mesh`` counts from its folder; ``network`` is the first two numbers of the loopback addresses that are given out."""

    process: dict[str, ProcessSpec] = {}
    mesh: str = "."
    network: str = "127.30"
    allow_partial: bool = False

    @property
    def application_network(self) -> str:
        """The network of the applications behind the sidecars: the one after."""
        return f"127.{int(self.network.partition('.')[2]) + 1}"


def load(folder: Path) -> DevFile:
    """Reads ``weft-dev.toml`` in a folder; raises LocalError with the field and the next step."""
    path = folder / FILE
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=DevFile)
    except FileNotFoundError:
        raise LocalError(f"there is no {path}: write one, for example\n\n{EXAMPLE}") from None
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LocalError(f"{path}: {sentence(error, keys_of(DevFile, ProcessSpec))}") from None
    for problem in _problems(found, folder):
        raise LocalError(f"{path}: {problem}")
    return found


def _problems(found: DevFile, folder: Path) -> list[str]:
    problems = []
    network = _NETWORK.match(found.network)
    if network is None or not 1 <= int(network[1]) <= 254:
        problems.append(
            f'network = "{found.network}": give the first two numbers of loopback addresses, for example "127.30"'
        )
    if not (folder / found.mesh).is_dir():
        problems.append(f'mesh = "{found.mesh}" is no folder')
    workloads = [spec.workload for spec in found.process.values() if spec.workload]
    problems += [f'two processes are the workload "{one}"' for one in workloads if workloads.count(one) > 1]
    for name, spec in found.process.items():
        problems += [f"process.{name}: {text}" for text in _process_problems(name, spec, folder)]
    return problems


def _process_problems(name: str, spec: ProcessSpec, folder: Path) -> list[str]:
    problems = []
    if _NAME.match(name) is None or name in RESERVED:
        problems.append("a name is of small letters, digits, dots and dashes, and none of weft's own")
    if spec.workload and (spec.workload.count("/") != 1 or "" in spec.workload.split("/")):
        problems.append(f'workload = "{spec.workload}" is not namespace/name')
    try:
        if not spec.words:
            problems.append("the command is empty")
    except ValueError as error:
        problems.append(f"the command cannot be split into words: {error}")
    if not (folder / spec.directory).is_dir():
        problems.append(f'directory = "{spec.directory}" is no folder')
    if any(not port.isdigit() for port in spec.ports):
        problems.append("in ports the names are the mesh's target ports, for example {9080 = 3000}")
    return problems
