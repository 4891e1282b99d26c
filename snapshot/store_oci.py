"""A store in a repository of an OCI registry: every file is a manifest with one layer, under a tag that spells the file's name.

A tag may hold ``[A-Za-z0-9_.-]`` and at most 128 characters, so in a name ``/`` is written ``_.`` and ``_`` is written ``__``; a
longer one is ``_h.`` and the sha256 of the name. The manifest's annotation repeats the name, and reading requires it. A file's version is
its manifest's digest.

The distribution API has no conditional write: the last PUT of a tag wins. Files that are named by their digest (``blobs/``) need none. For
all others this store takes a lease first (``writer_lease`` has its theory and its limit), held from the first such file until a
``replace``, which is a publication's last write. What a ``replace`` wrote is read back, so a publication that was overwritten is told.
"""

from __future__ import annotations

import contextlib
import hashlib
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec

from snapshot.decoding import json_decoder
from snapshot.registry import EMPTY, MANIFEST_TYPE, Registry, digest_of
from snapshot.registry_login import docker_login
from snapshot.store import Conflict, Found, NotFound, StoreError, TooLarge, require_name
from snapshot.writer_lease import LeaseRecord, Pace, WriterLease

CONTENT_TYPE = "application/vnd.weft.file.v1"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"
_HOLDER = "io.weft.lease.holder"
_BEAT = "io.weft.lease.beat"
_LEASE_TAG = "_writer-lease"
MAX_TAG_CHARACTERS = 128
_LOOPBACK = ("localhost", "127.", "::1")


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A reference to a blob, as the image specification has it."""

    media_type: str
    digest: str
    size: int


class Manifest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An image manifest that carries one file."""

    schema_version: int = 2
    media_type: str = MANIFEST_TYPE
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}


class OciStore:
    """A store at ``oci://host[:port]/repository``. Over https, except to this machine itself; ``?plain-http`` says it for another host.

    ``login`` is ``user:password``; without it Docker's configuration file is looked at, and then nobody's rights are used.
    """

    def __init__(
        self,
        location: str,
        *,
        ca: str = "",
        login: str = "",
        pace: Pace | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        parts = urlsplit(location)
        query = parse_qs(parts.query, keep_blank_values=True)
        repository = parts.path.strip("/")
        if parts.scheme != "oci" or not parts.hostname or not repository or set(query) - {"plain-http"}:
            raise StoreError(
                f"{location}: a registry store is oci://HOST[:PORT]/REPOSITORY, with ?plain-http without TLS"
            )
        plain = "plain-http" in query or parts.hostname.startswith(_LOOPBACK)
        self._registry = Registry(
            f"{'http' if plain else 'https'}://{parts.netloc}",
            repository,
            ca=ca,
            login=login or docker_login(parts.netloc),
            transport=transport,
        )
        self._lease = WriterLease(_LeaseTag(self._registry), pace=pace)

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The file's bytes; raises NotFound, TooLarge or StoreError."""
        found = self.read_unless(name, "", max_bytes=max_bytes)
        assert found is not None
        return found.content

    def read_unless(self, name: str, version: str, *, max_bytes: int, wait_s: float = 0.0) -> Found | None:  # noqa: ARG002
        """The file and its manifest's digest, or None, at once, where that is still ``version``."""
        try:
            raw = self._registry.read_manifest(tag_of(name), unless=version)
        except NotFound:
            raise NotFound(f"{self._registry.shown} has no {name}") from None
        if raw is None:
            return None
        layer = _file_layer(raw, name)
        if layer.size > max_bytes:
            raise TooLarge(f"{name} in {self._registry.shown} is larger than {max_bytes} bytes")
        return Found(self._registry.read_blob(layer.digest, max_bytes=max_bytes), digest_of(raw))

    def put(self, name: str, content: bytes) -> None:
        """Creates a file that never changes; other bytes under a taken name raise Conflict."""
        if self._holds(name, content):
            return
        raw = self._upload(name, content)
        if not name.startswith("blobs/"):
            self._lease.require()
            if self._holds(name, content):
                return
        self._registry.write_manifest(tag_of(name), raw)

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        """Replaces a file that has the version ``expected`` and returns the new one; raises Conflict. Ends the lease, whatever comes of it."""
        raw = self._upload(name, content)
        tag = tag_of(name)
        try:
            self._lease.require()
            if self._version(tag) != expected:
                raise Conflict(f"{name} in {self._registry.shown} was written by somebody else meanwhile")
            self._registry.write_manifest(tag, raw)
            if self._version(tag) != digest_of(raw):
                raise Conflict(
                    f"{name} in {self._registry.shown} was overwritten by another publisher at once: run again"
                )
        finally:
            self._release()
        return digest_of(raw)

    def contains(self, name: str) -> bool:
        """Whether a file of that name is there."""
        return self._registry.has_tag(tag_of(name))

    def close(self) -> None:
        """Ends the lease, where it is held, and closes the connections; the store must not be used afterwards."""
        self._release()
        self._registry.close()

    def _release(self) -> None:
        # A lease that cannot be given back runs out; it must not hide what happened before.
        with contextlib.suppress(StoreError):
            self._lease.release()

    def _holds(self, name: str, content: bytes) -> bool:
        """Whether exactly these bytes are there; raises Conflict where others are."""
        try:
            raw = self._registry.read_manifest(tag_of(name))
        except NotFound:
            return False
        assert raw is not None, "no digest was given to compare with"
        if _file_layer(raw, name).digest != digest_of(content):
            raise Conflict(f"{name} is in {self._registry.shown} already, with other bytes")
        return True

    def _version(self, tag: str) -> str | None:
        try:
            raw = self._registry.read_manifest(tag)
        except NotFound:
            return None
        return digest_of(raw or b"")

    def _upload(self, name: str, content: bytes) -> bytes:
        """Uploads the bytes and returns the manifest that would publish them under ``name``."""
        layer = Descriptor(CONTENT_TYPE, self._registry.write_blob(content), len(content))
        return _manifest(self._registry, layer, {_TITLE: require_name(name)})


class _LeaseTag:
    """The lease's record: a manifest without content whose annotations say who writes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def read(self) -> LeaseRecord:
        try:
            raw = self._registry.read_manifest(_LEASE_TAG)
        except NotFound:
            return LeaseRecord()
        said = _decode(raw or b"", _LEASE_TAG).annotations
        return LeaseRecord(said.get(_HOLDER, ""), said.get(_BEAT, ""))

    def write(self, record: LeaseRecord) -> None:
        empty = Descriptor(EMPTY_TYPE, self._registry.write_empty(), len(EMPTY))
        self._registry.write_manifest(
            _LEASE_TAG, _manifest(self._registry, empty, {_HOLDER: record.holder, _BEAT: record.beat})
        )


def tag_of(name: str) -> str:
    """The tag of a file: different for different names, readable where it fits."""
    tag = require_name(name).replace("_", "__").replace("/", "_.")
    return tag if len(tag) <= MAX_TAG_CHARACTERS else "_h." + hashlib.sha256(name.encode()).hexdigest()


def _manifest(registry: Registry, layer: Descriptor, annotations: dict[str, str]) -> bytes:
    config = Descriptor(EMPTY_TYPE, registry.write_empty(), len(EMPTY))
    manifest = Manifest(config=config, layers=(layer,), annotations=annotations)
    return msgspec.json.encode(manifest, order="deterministic")


def _file_layer(raw: bytes, name: str) -> Descriptor:
    manifest = _decode(raw, name)
    if manifest.annotations.get(_TITLE) != name or len(manifest.layers) != 1:
        raise StoreError(f"the tag of {name} names a manifest that is not this file's")
    return manifest.layers[0]


def _decode(raw: bytes, name: str) -> Manifest:
    try:
        return json_decoder(Manifest).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"the tag of {name} names a manifest that does not read: {error}") from None
