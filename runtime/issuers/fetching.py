"""One fetch of a key set: from its address, or by way of its issuer's OpenID configuration (OpenID Connect Discovery 1.0, section 4).

Each step is vetted: the host, then every address that it resolves to, and the connection goes to an address that was vetted and to no other. So is
each redirection, of which few are followed and none out of TLS. What comes is bounded and must be a key set with a key to use.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import partial

import httpx
import msgspec
import trio

from policies.tokens import KeySource
from runtime.issuers.addresses import AddressRefusedError, read_url, require_addresses, require_host
from snapshot.decoding import json_decoder
from snapshot.key_set import MAX_SET_BYTES, KeySetError, read_key_set

MAX_REDIRECTS = 3
WELL_KNOWN = "/.well-known/openid-configuration"
_MOVED = frozenset({301, 302, 303, 307, 308})

LookUp = Callable[[str, int], Awaitable[list[str]]]


class KeyFetchError(Exception):
    """A key set that could not be had; the message says why."""


class _Configuration(msgspec.Struct):
    """What is read of an OpenID configuration."""

    issuer: str
    jwks_uri: str


class KeySetFetcher:
    """Fetches key sets. ``hosts`` are those that may be asked (none: any with public addresses), ``authority`` is their CA, "" the system's."""

    def __init__(self, hosts: tuple[str, ...], *, authority: str, look_up: LookUp) -> None:
        self._hosts = tuple(one.lower() for one in hosts)
        self._look_up = look_up
        self._trust = ssl.create_default_context(cafile=authority or None)

    async def fetch(self, source: KeySource) -> bytes:
        """A key set with at least one key to use, within the source's time; raises KeyFetchError."""
        try:
            with trio.fail_after(source.timeout_ms / 1000):
                body = await self._get(source.uri or await self._discover(source.issuer))
        except trio.TooSlowError:
            raise KeyFetchError(f"nothing came within {source.timeout_ms / 1000:g} s") from None
        except AddressRefusedError as error:
            raise KeyFetchError(str(error)) from None
        try:
            read_key_set(body)
        except KeySetError as error:
            raise KeyFetchError(str(error)) from None
        return body

    async def _discover(self, issuer: str) -> str:
        body = await self._get(issuer.rstrip("/") + WELL_KNOWN)
        try:
            found = json_decoder(_Configuration).decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise KeyFetchError(f"the OpenID configuration of {issuer} is none: {error}") from None
        if found.issuer.rstrip("/") != issuer.rstrip("/"):
            raise KeyFetchError(f"the OpenID configuration of {issuer} is that of {found.issuer!r}")
        return found.jwks_uri

    async def _get(self, address: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            url, host, port = read_url(address)
            require_host(host, self._hosts)
            addresses = require_addresses(host, await self._resolve(host, port), self._hosts)
            answer = await self._ask(address, host, addresses)
            if isinstance(answer, bytes):
                return answer
            address = str(httpx.URL(address).join(answer))
            if url.scheme == "https" and not address.startswith("https://"):
                raise KeyFetchError(f"{host} redirects to {address}, out of TLS")
        raise KeyFetchError(f"more than {MAX_REDIRECTS} redirections")

    async def _resolve(self, host: str, port: int) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        try:
            return list(dict.fromkeys(await self._look_up(host, port)))
        except (socket.gaierror, UnicodeError) as error:
            raise KeyFetchError(f"{host} does not resolve: {error}") from None

    async def _ask(self, address: str, host: str, addresses: list[str]) -> bytes | str:
        """The body that one of the addresses answers, or where it redirects to; raises KeyFetchError with what the last one said."""
        url = httpx.URL(address)
        failure = ""
        for one in addresses:
            request = httpx.Request(
                "GET",
                url.copy_with(host=one, fragment=None),
                headers={"host": url.netloc.decode(), "accept": "application/json", "accept-encoding": "identity"},
                extensions={"sni_hostname": host},
            )
            left_s = trio.current_effective_deadline() - trio.current_time()
            send = partial(_answer, self._trust, request, host, time.monotonic() + left_s)
            try:
                return await trio.to_thread.run_sync(send, abandon_on_cancel=True)
            except (httpx.HTTPError, OSError) as error:
                failure = str(error) or type(error).__name__
        raise KeyFetchError(f"{host}: {failure}")


def _answer(trust: ssl.SSLContext, request: httpx.Request, host: str, until: float) -> bytes | str:
    """One answer, in a thread of its own: nobody may wait for it any more at ``until`` (monotonic), so it ends by itself."""
    limit = httpx.Timeout(max(until - time.monotonic(), 0.001))
    with httpx.Client(verify=trust, trust_env=False, timeout=limit) as client:
        request.extensions["timeout"] = limit.as_dict()
        response = client.send(request, stream=True)
        try:
            if response.status_code in _MOVED:
                return str(response.headers.get("location", ""))
            if response.status_code != 200:
                raise KeyFetchError(f"{host} answers {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise KeyFetchError(f"{host} encodes what it was asked for as it is")
            body = bytearray()
            for part in response.iter_raw():
                body += part
                if len(body) > MAX_SET_BYTES or time.monotonic() > until:
                    raise KeyFetchError(f"{host} sends more than {MAX_SET_BYTES} bytes, or too slowly")
            return bytes(body)
        finally:
            response.close()
