"""A client of the OCI distribution API: the five requests that a store needs, bounded and checked against digests.

    GET  manifests/<tag>      HEAD manifests/<tag>      PUT manifests/<tag>      GET blobs/<digest>      POST + PUT blobs/uploads/

Nothing here knows of stores or names. Bytes are checked against their digest, so a registry (or what it redirects to) can refuse, but
not lie about content; which manifest a tag names is the registry's word.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import threading
import time
from collections.abc import Iterator

import httpx

from snapshot.registry_login import RegistryLogin
from snapshot.store import IN_REACH, NotFound, StoreError, TooLarge

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY = b"{}"
MAX_MANIFEST_BYTES = 65_536

CONNECT_TIMEOUT_S = 2.0
TRANSFER_TIMEOUT_S = 5.0
_BLOB_PAUSES_S = (0.05, 0.2, 0.5)
"""The distribution project's registry denies (400) a blob for a moment while somebody else uploads the same bytes; nothing was written then."""

_BUSY = frozenset({500, 502, 503, 504})
"""What a registry answers while another writer moves the same tag, or behind a proxy that is being restarted."""

WHOLE_READ_S = 60.0
"""A server that trickles bytes may not hold a reader for longer than this."""


class Registry:
    """One repository of a registry. It owns a pool of connections; ``close`` ends them. Every call raises NotFound or StoreError."""

    def __init__(
        self, url: str, repository: str, *, ca: str = "", login: str = "", transport: httpx.BaseTransport | None = None
    ) -> None:
        self.shown = f"{url}/{repository}"
        self._url = f"{url}/v2/{repository}"
        self._empty = ""
        self._first = threading.Lock()
        try:
            verify = ssl.create_default_context(cafile=ca) if ca else ssl.create_default_context()
        except OSError as error:
            raise StoreError(f"cannot read the registry's CA certificates {ca}: {error.strerror or error}") from None
        self._client = httpx.Client(
            timeout=httpx.Timeout(TRANSFER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
            transport=_Patient(transport or httpx.HTTPTransport(verify=verify)),
            auth=RegistryLogin(login),
            headers={"accept-encoding": "identity"},
        )

    def close(self) -> None:
        """Closes the connections; the registry must not be used afterwards."""
        self._client.close()

    def read_manifest(self, tag: str, *, unless: str = "") -> bytes | None:
        """The manifest that a tag names now, or None where its digest is still ``unless``."""
        headers = {"accept": MANIFEST_TYPE, **({"if-none-match": f'"{unless}"'} if unless else {})}
        url = f"{self._url}/manifests/{tag}"
        with self._told(f"read {url}"), self._client.stream("GET", url, headers=headers) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED and unless:
                return None
            _require(response)
            raw = _drain(response, max_bytes=MAX_MANIFEST_BYTES)
        return None if digest_of(raw) == unless else raw

    def has_tag(self, tag: str) -> bool:
        """Whether the tag names a manifest."""
        url = f"{self._url}/manifests/{tag}"
        with self._told(f"look for {url}"):
            response = self._client.head(url, headers={"accept": MANIFEST_TYPE})
            if response.status_code == httpx.codes.NOT_FOUND:
                return False
            _require(response)
        return True

    def write_manifest(self, tag: str, raw: bytes) -> None:
        """Makes the tag name this manifest, whatever it named before. The blobs that it lists must be there."""
        url = f"{self._url}/manifests/{tag}"
        with self._told(f"write {url}"):
            for pause_s in (*_BLOB_PAUSES_S, None):
                response = self._client.put(url, content=raw, headers={"content-type": MANIFEST_TYPE})
                if response.status_code != httpx.codes.BAD_REQUEST or pause_s is None:
                    break
                time.sleep(pause_s)
            _require(response)

    def read_blob(self, digest: str, *, max_bytes: int) -> bytes:
        """A blob's bytes, checked against their digest; raises TooLarge too. A redirect to a content server is followed."""
        url = f"{self._url}/blobs/{digest}"
        # httpx does not pass the registry's credentials on to another origin.
        with self._told(f"read {url}"), self._client.stream("GET", url, follow_redirects=True) as response:
            _require(response)
            raw = _drain(response, max_bytes=max_bytes)
        if digest_of(raw) != digest:
            raise StoreError(f"{url} has other bytes than its digest says")
        return raw

    def write_blob(self, raw: bytes) -> str:
        """Uploads a blob unless it is there; returns its digest."""
        digest = digest_of(raw)
        with self._told(f"upload to {self._url}/blobs"):
            if self._client.head(f"{self._url}/blobs/{digest}", follow_redirects=True).is_success:
                return digest
            begun = self._client.post(f"{self._url}/blobs/uploads/")
            _require(begun)
            place = begun.url.join(begun.headers.get("location", ""))
            if place.netloc != begun.url.netloc:
                raise StoreError(f"{self.shown} sends uploads to another host, {place.host}, which is not followed")
            content_type = {"content-type": "application/octet-stream"}
            _require(self._client.put(place.copy_merge_params({"digest": digest}), content=raw, headers=content_type))
        return digest

    def write_empty(self) -> str:
        """Uploads the empty JSON object, which manifests without a configuration refer to, once; returns its digest."""
        with self._first:
            self._empty = self._empty or self.write_blob(EMPTY)
            return self._empty

    @contextlib.contextmanager
    def _told(self, action: str) -> Iterator[None]:
        try:
            yield
        # A client that is closed under a waiting call says so with RuntimeError.
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            where = IN_REACH if isinstance(error, httpx.ConnectError) else ""
            raise StoreError(f"cannot {action}: {str(error) or type(error).__name__}{where}") from None


class _Patient(httpx.BaseTransport):
    """Asks again, a few times, what a busy registry could not answer: reads, and writes of a whole tag, which may be repeated."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See BaseTransport."""
        again = request.method in ("GET", "HEAD") or (request.method == "PUT" and "/manifests/" in request.url.path)
        for pause_s in _BLOB_PAUSES_S if again else ():
            response = self._inner.handle_request(request)
            if response.status_code not in _BUSY:
                return response
            response.close()
            time.sleep(pause_s)
        return self._inner.handle_request(request)

    def close(self) -> None:
        """See BaseTransport."""
        self._inner.close()


def digest_of(raw: bytes) -> str:
    """The digest as registries write it: ``sha256:`` and hexadecimal."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def _require(response: httpx.Response) -> None:
    status = response.status_code
    if status == httpx.codes.NOT_FOUND:
        raise NotFound(f"{response.url} is not there")
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise StoreError(
            f"{response.url} answered {status}: log in (docker login, or --token-file with user:password), "
            "with the right to do this"
        )
    if not response.is_success:
        raise StoreError(f"{response.url} answered {status}")


def _drain(response: httpx.Response, *, max_bytes: int) -> bytes:
    deadline = time.monotonic() + WHOLE_READ_S
    content = bytearray()
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > max_bytes:
            raise TooLarge(f"{response.url} is larger than {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise StoreError(f"{response.url} took longer than {WHOLE_READ_S:.0f} s")
    return bytes(content)
