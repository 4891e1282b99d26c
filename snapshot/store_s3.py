"""A store in an S3 bucket, or in anything that speaks S3 and honours its conditional writes.

Every write carries a condition (``If-None-Match: *`` or ``If-Match``), which the server judges, so publishers on different machines
race safely. A server that ignores conditions would lose one of two publications in silence; so before its first write a store tries
them on a file of its own, and refuses to write where they are not kept.

This module is imported only for an ``s3://`` location: boto3 is an optional dependency and takes 200 ms to import.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from snapshot.store import IN_REACH, Conflict, Found, NotFound, StoreError, TooLarge, require_name

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from botocore.exceptions import ConnectionError as BotoConnectionError
except ImportError as error:  # pragma: no cover  what the tests install
    raise StoreError("an s3:// store needs boto3. Run: pip install 'weft[s3]'") from error

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 10.0
WHOLE_READ_S = 60.0
"""A server that trickles bytes may not hold a reader for longer than this."""

_ATTEMPTS = 3
_CONNECTIONS = 16
_PROBE = "probe/conditional-writes"
_NO_VERSION = '"00000000000000000000000000000000"'

_ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
_LOST = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
"""409 is what S3 answers where another conditional write of the same key is under way: that one comes first."""


class S3Store:
    """A store under ``s3://bucket/prefix``. Credentials and region come from where every S3 client takes them (environment, profile, role).

    ``?endpoint=URL`` names a server other than AWS, addressed by path; ``?region=NAME`` the region. ``ca`` is a PEM file that the endpoint's
    certificate must chain to.
    """

    def __init__(self, location: str, *, ca: str = "") -> None:
        parts = urlsplit(location)
        query = parse_qs(parts.query, keep_blank_values=True)
        unknown = sorted(set(query) - {"endpoint", "region"})
        if parts.scheme != "s3" or not parts.netloc or unknown:
            raise StoreError(f"{location}: an S3 store is s3://BUCKET/PREFIX, with ?endpoint=URL and ?region=NAME")
        self.bucket = parts.netloc
        self.prefix = parts.path.strip("/")
        self._conditions_kept = False
        self._trying = threading.Lock()
        endpoint = query.get("endpoint", [""])[-1]
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        region = query.get("region", [None])[-1]
        with self._told(f"open {location}"):
            # A session of its own: boto3's default one is not safe to share between threads that make clients.
            self._client: Any = boto3.session.Session().client(
                "s3", endpoint_url=endpoint or None, region_name=region, verify=ca or None, config=config
            )

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The file's bytes; raises NotFound, TooLarge or StoreError."""
        return self._get(name, {}, max_bytes=max_bytes).content

    def read_unless(self, name: str, version: str, *, max_bytes: int, wait_s: float = 0.0) -> Found | None:  # noqa: ARG002
        """The file and its ETag, or None, at once, where it still has ``version``."""
        try:
            return self._get(name, {"IfNoneMatch": version} if version else {}, max_bytes=max_bytes)
        except _Unchanged:
            return None

    def put(self, name: str, content: bytes) -> None:
        """Creates a file that never changes; other bytes under a taken name raise Conflict."""
        self._write(name, content, {"IfNoneMatch": "*"})

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        """Replaces a file that has the ETag ``expected`` and returns the new one; raises Conflict."""
        return self._write(name, content, {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected})

    def contains(self, name: str) -> bool:
        """Whether a file of that name is there."""
        try:
            with self._told(f"look for {self._shown(name)}"):
                self._client.head_object(Bucket=self.bucket, Key=self._key(name))
        except NotFound:
            return False
        return True

    def close(self) -> None:
        """Closes the connections; the store must not be used afterwards."""
        self._client.close()

    def _get(self, name: str, condition: dict[str, str], *, max_bytes: int) -> Found:
        with self._told(f"read {self._shown(name)}"):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._key(name), **condition)
            with contextlib.closing(answer["Body"]) as body:
                if answer["ContentLength"] > max_bytes:
                    raise TooLarge(f"{self._shown(name)} is larger than {max_bytes} bytes")
                # A body ends at its announced length; the deadline is for a server that trickles it.
                return Found(_drain(body, self._shown(name)), answer["ETag"])

    def _write(self, name: str, content: bytes, condition: dict[str, str]) -> str:
        self._require_conditions()
        try:
            return self._put(name, content, condition)
        except (Conflict, NotFound):
            # A write whose answer was lost is sent again and then meets itself; bytes that are ours say that we won.
            with contextlib.suppress(NotFound, TooLarge):
                held = self._get(name, {}, max_bytes=len(content))
                if held.content == content:
                    return held.version
            raise Conflict(f"{self._shown(name)} was written by somebody else meanwhile") from None

    def _put(self, name: str, content: bytes, condition: dict[str, str]) -> str:
        with self._told(f"write {self._shown(name)}"):
            answer = self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=content, **condition)
            tag: str = answer["ETag"]
            return tag

    def _require_conditions(self) -> None:
        """Raises StoreError where the server writes although a condition does not hold. Tried once, with at most three requests."""
        with self._trying:
            if self._conditions_kept:
                return
            with contextlib.suppress(Conflict):
                self._put(_PROBE, b"conditional writes are kept here\n", {"IfNoneMatch": "*"})
            for condition in ({"IfNoneMatch": "*"}, {"IfMatch": _NO_VERSION}):
                try:
                    self._put(_PROBE, b"conditional writes are NOT kept here\n", condition)
                except Conflict:
                    continue
                raise StoreError(
                    f"the server of s3://{self.bucket} ignores conditional writes, so publishers could overwrite each other: "
                    "use a server that has them, or publish through weft control"
                )
            self._conditions_kept = True

    @contextlib.contextmanager
    def _told(self, action: str) -> Iterator[None]:
        """Maps the library's errors: NotFound, Conflict, _Unchanged, else StoreError with what was tried."""
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT:
                raise NotFound(f"cannot {action}: there is none") from None
            if code in _LOST:
                raise Conflict(f"cannot {action}: somebody else wrote it meanwhile") from None
            if code in ("304", "NotModified"):
                raise _Unchanged from None
            raise StoreError(f"cannot {action}: {code} {error.response.get('Error', {}).get('Message', '')}") from None
        except NoCredentialsError:
            raise StoreError(
                f"cannot {action}: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role"
            ) from None
        except BotoConnectionError as error:
            raise StoreError(f"cannot {action}: {error}{IN_REACH}") from None
        except (BotoCoreError, ValueError, OSError) as error:
            raise StoreError(f"cannot {action}: {error}") from None

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{require_name(name)}" if self.prefix else require_name(name)

    def _shown(self, name: str) -> str:
        return f"s3://{self.bucket}/{self._key(name)}"


def _drain(body: Any, shown: str) -> bytes:
    deadline = time.monotonic() + WHOLE_READ_S
    content = bytearray()
    for chunk in body.iter_chunks(1 << 16):
        content += chunk
        if time.monotonic() > deadline:
            raise StoreError(f"{shown} took longer than {WHOLE_READ_S:.0f} s")
    return bytes(content)


class _Unchanged(Exception):  # noqa: N818  an answer, not an error
    """The file still has the version that was asked about."""
