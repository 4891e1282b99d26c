"""The mesh's Git repository, and what a CI job does with a commit: check it, publish it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec

from weft.demo.plan import CONTROL_API, DemoError
from weft.local.children import Finished, require, run, weft_command

AUTHOR = ("-c", "user.name=Bookshop", "-c", "user.email=team@bookshop.example", "-c", "commit.gpgsign=false")


class Publication(msgspec.Struct, frozen=True):
    """One publication: the commit, the release's version and digest, and when (seconds since 1970) readers could see it."""

    commit: str
    version: int
    digest: str
    visible_at: float
    seconds: float


class Pipeline:
    """Owns the repository under ``folder`` and knows where keys and store are. Git's own configuration of the user has no say."""

    def __init__(self, folder: Path, *, keys: Path, store: Path, token: Path, ca: Path) -> None:
        self.folder = folder
        self._keys = keys
        self._store = store
        self._token = token
        self._ca = ca

    async def create(self, example: Path) -> None:
        """Makes the repository from the example's mesh folder, with one commit."""
        self.folder.mkdir(parents=True)
        await self._git("init", "--quiet", "--initial-branch=main")
        shutil.copytree(example / "mesh", self.folder / "mesh")
        await self.commit("The bookshop's mesh")

    async def _git(self, *arguments: str) -> str:
        done = await require(["git", *AUTHOR, *arguments], cwd=self.folder)
        return done.output.strip()

    def read(self, name: str) -> str:
        """A file of the work tree."""
        return (self.folder / "mesh" / name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """Writes a file of the work tree."""
        (self.folder / "mesh" / name).write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Replaces a piece of a file that must be there once."""
        text = self.read(name)
        if text.count(old) != 1:
            raise DemoError(f"mesh/{name} was changed: expected to find this once:\n{old}")
        self.write(name, text.replace(old, new))

    async def commit(self, message: str) -> str:
        """Commits everything and returns the short hash."""
        await self._git("add", "--all")
        await self._git("commit", "--quiet", "--message", message)
        return await self._git("rev-parse", "--short", "HEAD")

    async def branch(self, name: str) -> None:
        """Starts a branch from main's head and goes there."""
        await self._git("switch", "--quiet", "--create", name)

    async def back_to_main(self) -> None:
        """Goes back to main."""
        await self._git("switch", "--quiet", "main")

    async def revert(self, count: int) -> str:
        """Reverts the last ``count`` commits, newest first, and returns the new head's short hash."""
        await self._git("revert", "--no-edit", f"HEAD~{count}..HEAD")
        return await self._git("rev-parse", "--short", "HEAD")

    async def check(self) -> Finished:
        """``weft check`` of the head, as a CI job runs it on a merge request."""
        return await run(weft_command("check", "--rev", "HEAD"), cwd=self.folder)

    async def publish(self) -> Publication:
        """``weft publish`` of the head through the control plane; raises DemoError where it is refused."""
        host, port = CONTROL_API
        store = f"https://{host}:{port}/store"
        command = weft_command("publish", ".", "--rev", "HEAD", "--store", store, "--keys", str(self._keys))
        command += ["--store-ca", str(self._ca), "--token-file", str(self._token)]
        done = await require(command, cwd=self.folder)
        version = re.search(r"\bversion:?\s+(\d+)", done.output)
        digest = re.search(r"\b[0-9a-f]{64}\b", done.output)
        if version is None or digest is None:
            raise DemoError(f"weft publish did not name version and digest:\n{done.output}")
        # The replacement of this one file is the moment from which a reader sees the release.
        visible = (self._store / "metadata" / "timestamp.json").stat().st_mtime_ns / 1e9
        commit = await self._git("rev-parse", "--short", "HEAD")
        return Publication(commit, int(version[1]), digest[0], visible, done.seconds)
