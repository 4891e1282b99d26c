"""A store behind HTTP: any static file host for reading, ``weft control`` also for writing (the requests: ``snapshot.store``)."""

from __future__ import annotations

import hashlib
import ssl
import time

import httpx
import msgspec

from snapshot.ahead import MAX_AHEAD_BYTES, Files, Wanted
from snapshot.decoding import packed_decoder
from snapshot.store import IN_REACH, Conflict, Found, NotFound, StoreError, TooLarge, require_name
from snapshot.trust.layout import MAX_BYTES, TIMESTAMP

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 10.0
MAX_WAIT_S = 60.0
WHOLE_READ_S = 60.0
"""A server that trickles bytes may not hold a reader for longer than this."""

_OWN_TAG = "sha256:"


class HttpStore:
    """A store under one URL. It owns a pool of connections; ``close`` ends them."""

    def __init__(
        self, url: str, *, ca: str = "", token: str = "", transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._longest_wait_s = 0.0
        self._gives_ahead = False
        try:
            verify = ssl.create_default_context(cafile=ca) if ca else ssl.create_default_context()
        except OSError as error:
            raise StoreError(
                f"cannot read the store's CA certificates {ca}: {error.strerror or error}; `weft ca bundle` prints a control plane's"
            ) from None
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx.Client(verify=verify, timeout=timeout, trust_env=False, transport=transport)

    def close(self) -> None:
        """Closes the connections; the store must not be used afterwards."""
        self._client.close()

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The file's bytes; raises NotFound, TooLarge or StoreError."""
        found = self.read_unless(name, "", max_bytes=max_bytes)
        assert found is not None
        return found.content

    def read_unless(self, name: str, version: str, *, max_bytes: int, wait_s: float = 0.0) -> Found | None:
        """The file and its ETag, or None where it still has ``version``. A host without ETags is asked for the bytes every time."""
        conditional = version and not version.startswith(_OWN_TAG)
        headers = {"if-none-match": version} if conditional else {}
        # Transport compression would let a short answer inflate beyond max_bytes before we count it.
        headers["accept-encoding"] = "identity"
        wait_s = min(wait_s, self._longest_wait_s) if conditional else 0.0
        url = self._url(name) + (f"?wait={wait_s:g}" if wait_s > 0 else "")
        timeout = httpx.Timeout(READ_TIMEOUT_S + wait_s, connect=CONNECT_TIMEOUT_S)
        try:
            with self._client.stream("GET", url, headers=headers, timeout=timeout) as response:
                self._longest_wait_s = _longest_wait_s(response)
                self._gives_ahead = response.headers.get("weft-ahead") == "2"
                if response.status_code == httpx.codes.NOT_MODIFIED and conditional:
                    # Read to its end, which is where it begins: what is not read to the end costs the connection.
                    response.read()
                    return None
                self._require(response, name)
                content = _drain(response, max_bytes=max_bytes)
                tag = response.headers.get("etag") or _OWN_TAG + hashlib.sha256(content).hexdigest()
        # A client that is closed under a waiting call says so with RuntimeError.
        except (httpx.HTTPError, RuntimeError) as error:
            raise StoreError(f"cannot read {self._url(name)}: {_why(error)}") from None
        return None if tag == version else Found(content, tag)

    def read_news(self, wanted: Wanted, version: str, *, wait_s: float = 0.0) -> tuple[Found, Files] | None:
        """The timestamp unless it has ``version``, and what the server gives ahead; one request where the server is known to give both."""
        if self._gives_ahead and version and not version.startswith(_OWN_TAG):
            given = self._look_ahead(wanted, version, min(wait_s, self._longest_wait_s))
            if given is None:
                return None
            tag, files = given
            raw = files.pop(TIMESTAMP, None)
            if tag and raw and len(raw) <= MAX_BYTES["timestamp"]:
                return Found(raw, tag), files
        # The first look, or an answer that did not read: then this says what is wrong.
        found = self.read_unless(TIMESTAMP, version, max_bytes=MAX_BYTES["timestamp"], wait_s=wait_s)
        return None if found is None else (found, self._read_ahead(wanted))

    def _read_ahead(self, wanted: Wanted) -> Files:
        if not self._gives_ahead:
            return {}
        try:
            given = self._look_ahead(wanted, "", 0.0)
        except StoreError:
            # The files are read one by one then, and that says what is wrong.
            return {}
        return given[1] if given else {}

    def _look_ahead(self, wanted: Wanted, version: str, wait_s: float) -> tuple[str, Files] | None:
        """The timestamp's ETag and the files, both empty where they do not read; None where it has ``version``. Raises StoreError."""
        headers = {"accept-encoding": "identity", "content-type": "application/json"}
        headers |= {"if-none-match": version} if version else {}
        url = f"{self.url}/ahead" + (f"?wait={wait_s:g}" if wait_s > 0 else "")
        asked = msgspec.json.encode(wanted)
        timeout = httpx.Timeout(READ_TIMEOUT_S + wait_s, connect=CONNECT_TIMEOUT_S)
        try:
            with self._client.stream("POST", url, content=asked, headers=headers, timeout=timeout) as response:
                if response.status_code == httpx.codes.NOT_MODIFIED and version:
                    response.read()
                    return None
                if not response.is_success:
                    return "", {}
                raw = _drain(response, max_bytes=2 * MAX_AHEAD_BYTES)
                return response.headers.get("etag", ""), packed_decoder(Files).decode(raw)
        except (TooLarge, msgspec.DecodeError):
            return "", {}
        except (httpx.HTTPError, RuntimeError) as error:
            raise StoreError(f"cannot read {self.url}: {_why(error)}") from None

    def put(self, name: str, content: bytes) -> None:
        """Creates a file that never changes; other bytes under a taken name raise Conflict."""
        self._put(name, content, {"if-none-match": "*"})

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        """Replaces a file that has the ETag ``expected`` and returns the new one; raises Conflict."""
        condition = {"if-none-match": "*"} if expected is None else {"if-match": expected}
        tag: str = self._put(name, content, condition).headers.get("etag", "")
        return tag

    def contains(self, name: str) -> bool:
        """Whether a file of that name is there; raises StoreError where the server does not say."""
        try:
            self._require(self._client.head(self._url(name)), name)
        except NotFound:
            return False
        except httpx.HTTPError as error:
            raise StoreError(f"cannot read {self._url(name)}: {_why(error)}") from None
        return True

    def _put(self, name: str, content: bytes, condition: dict[str, str]) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/octet-stream", **condition}
        try:
            response = self._client.put(self._url(name), content=content, headers=headers)
        except httpx.HTTPError as error:
            raise StoreError(f"cannot write {self._url(name)}: {_why(error)}") from None
        if response.status_code == httpx.codes.PRECONDITION_FAILED:
            raise Conflict(f"{self._url(name)} was written by somebody else meanwhile")
        self._require(response, name)
        return response

    def _require(self, response: httpx.Response, name: str) -> None:
        status = response.status_code
        if status == httpx.codes.NOT_FOUND:
            raise NotFound(f"{self.url} has no {name}")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise StoreError(f"{self._url(name)} answered {status}: a publish token that the store accepts is needed")
        if not response.is_success:
            raise StoreError(f"{self._url(name)} answered {status}")

    def _url(self, name: str) -> str:
        return f"{self.url}/{require_name(name)}"


def _longest_wait_s(response: httpx.Response) -> float:
    announced = response.headers.get("weft-long-poll", "")
    return min(float(announced), MAX_WAIT_S) if announced.isdecimal() else 0.0


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


def _why(error: Exception) -> str:
    """What went wrong, and where no connection was made, where to look."""
    said = str(error) or type(error).__name__
    return f"{said}{IN_REACH}" if isinstance(error, httpx.ConnectError) else said
