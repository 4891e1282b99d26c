"""The credentials directory: a folder ``<namespace>/<secret>`` for each slot that the slice declares, watched for change.

Its files are the keys of Istio's secrets: ``tls.crt``, ``tls.key``, ``ca.crt`` (kubernetes.io/tls) or ``cert``, ``key``, ``cacert`` (generic), and
``ca.crl``. CAs and their revocation lists may have a secret of their own, ``<secret>-cacert``.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import trio
from watchfiles import watch

from snapshot.live import Credential
from snapshot.slots import KeyFiles, key_files

MAX_FILE_BYTES = 1024 * 1024
POLL_MS = 10_000
"""Where no event comes (network file systems), the directory is read this often."""

log = logging.getLogger("weft.proxy")


class CredentialFiles:
    """Owns what was read last of each slot: a half-written pair never replaces a good one."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._slots: frozenset[str] = frozenset()
        self._read: dict[str, Credential] = {}
        self._problems: dict[str, str] = {}

    def all(self) -> tuple[Credential, ...]:
        """What fills the slots now, by name."""
        return tuple(self._read[name] for name in sorted(self._read))

    async def want(self, slots: frozenset[str]) -> bool:
        """Reads the slots of a slice; True where something changed."""
        self._slots = slots
        return await trio.to_thread.run_sync(self._reread)

    async def watch_forever(self, emit: Callable[[tuple[Credential, ...]], Awaitable[None]]) -> None:
        """Emits all credentials whenever one changed. Runs until cancelled. Without a directory, files elsewhere are looked at now and then."""
        if self._folder is None:
            await self._poll_forever(emit)
            return
        while not self._folder.is_dir():  # noqa: ASYNC110  a missing directory sets no event
            await trio.sleep(POLL_MS / 1000)
        changed, watched = trio.open_memory_channel[None](1)
        async with trio.open_nursery() as nursery, watched:
            nursery.start_soon(_watch, self._folder, changed)
            async for _ in watched:
                if await trio.to_thread.run_sync(self._reread):
                    log.info("credentials changed: %s", ", ".join(sorted(self._read)) or "none")
                    await emit(self.all())

    async def _poll_forever(self, emit: Callable[[tuple[Credential, ...]], Awaitable[None]]) -> None:
        while True:
            await trio.sleep(POLL_MS / 1000)
            if not self._slots:
                continue
            if await trio.to_thread.run_sync(self._reread):
                await emit(self.all())

    def _reread(self) -> bool:
        before = dict(self._read)
        self._read = {name: held for name, held in self._read.items() if name in self._slots}
        for name in sorted(self._slots):
            try:
                self._read[name] = self._load(name)
                self._problems.pop(name, None)
            except (OSError, ValueError, ssl.SSLError) as error:
                if self._problems.get(name) != str(error):
                    log.warning(
                        "credential %s: %s%s", name, error, "; the last good one stays" if name in before else ""
                    )
                self._problems[name] = str(error)
        return self._read != before

    def _load(self, name: str) -> Credential:
        files = key_files(name)
        if files is not None:
            return _from_files(name, files)
        if self._folder is None:
            raise ValueError("the bootstrap names no credentials directory")
        namespace, _, secret = name.partition("/")
        if not secret or any(part in ("", ".", "..") or "/" in part for part in (namespace, secret)):
            raise ValueError("not a slot's name (namespace/secret)")
        folder = self._folder / namespace / secret
        beside = folder.with_name(f"{secret}-cacert")
        certificate, certificate_file = _first(folder / "tls.crt", folder / "cert")
        key, key_file = _first(folder / "tls.key", folder / "key")
        ca, _ = _first(folder / "ca.crt", folder / "cacert", beside / "ca.crt", beside / "cacert")
        crl, _ = _first(folder / "ca.crl", beside / "ca.crl")
        if not ca and not (certificate and key):
            raise ValueError(f"{folder} lacks tls.crt and tls.key (or ca.crt)")
        if certificate or key:
            # OpenSSL says whether the two belong together.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file, key_file)
        return Credential(name=name, certificate_chain=certificate, private_key=key, ca=ca, crl=crl)


def _from_files(name: str, files: KeyFiles) -> Credential:
    """What a slot's own files hold; raises ValueError for a path that is not absolute, or one of which there is no plain file."""
    for text in (files.certificate, files.key, files.ca, files.crl):
        if text and not (Path(text).is_absolute() and Path(text).is_file()):
            raise ValueError(f"{text} is no file on this machine, by an absolute path")
    if files.certificate or files.key:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)
    held = [_read(Path(text)) if text else b"" for text in (files.certificate, files.key, files.ca, files.crl)]
    return Credential(name, *held)


async def _watch(folder: Path, changed: trio.MemorySendChannel[None]) -> None:
    """Sends at every change and every POLL_MS, until cancelled, and then at once: watchfiles' own async form takes seconds to cancel."""
    stop = threading.Event()
    token = trio.lowlevel.current_trio_token()

    def tell() -> None:
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            changed.send_nowait(None)

    def block() -> None:
        watching = watch(folder, rust_timeout=POLL_MS, yield_on_timeout=True, debounce=200, step=50, stop_event=stop)
        with suppress(trio.RunFinishedError):
            for _ in watching:
                token.run_sync_soon(tell)

    try:
        await trio.to_thread.run_sync(block, abandon_on_cancel=True)
    finally:
        stop.set()


def _first(*paths: Path) -> tuple[bytes, Path]:
    """What the first of these files holds that is there and not empty, and which it is; nothing of the first where none is."""
    for path in paths:
        data = _read(path)
        if data:
            return data, path
    return b"", paths[0]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return b""
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path} is over {MAX_FILE_BYTES} bytes")
    return data
