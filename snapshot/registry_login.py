"""How a client shows a registry who it is: Basic, or a token that the registry's token server gives for Basic (or for nobody).

The flow is the distribution project's: a 401 names the scheme, the token server (``realm``), the service and the scope.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import msgspec

from snapshot.decoding import json_decoder
from snapshot.store import StoreError

MAX_TOKEN_BYTES = 65_536
_TOKEN_LIFE_S = 60
"""How long a token is good where the server does not say; the specification's figure."""

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: int = _TOKEN_LIFE_S


class _Login(msgspec.Struct, frozen=True):
    auth: str = ""


class _DockerConfig(msgspec.Struct, frozen=True):
    auths: dict[str, _Login] = {}


class RegistryLogin(httpx.Auth):
    """Answers a registry's 401. ``login`` is ``user:password``, "" for nobody. It owns the token that was given last."""

    def __init__(self, login: str) -> None:
        self._login = login
        self._authorization = ""
        self._until = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sends the request, with what was accepted before; where that is refused, gets a token and sends it once more."""
        if self._authorization and time.monotonic() < self._until:
            request.headers["authorization"] = self._authorization
        response = yield request
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return
        scheme, _, rest = response.headers.get("www-authenticate", "").partition(" ")
        if scheme.lower() == "basic" and self._login:
            self._keep(self._basic(), life_s=float("inf"))
        elif scheme.lower() == "bearer":
            asked = self._token_request(request, dict(_PARAMETER.findall(rest)))
            token = _read_token((yield asked))
            self._keep(f"Bearer {token.token or token.access_token}", life_s=token.expires_in)
        else:
            return
        request.headers["authorization"] = self._authorization
        yield request

    def _token_request(self, request: httpx.Request, parameters: dict[str, str]) -> httpx.Request:
        realm = httpx.URL(parameters.get("realm", ""))
        # A password that goes to the registry encrypted may not go to its token server in the clear.
        if realm.scheme not in ("https", request.url.scheme):
            raise StoreError(f"the registry at {request.url.host} names a token server that is not https: {realm}")
        query = {key: value for key, value in parameters.items() if key in ("service", "scope")}
        headers = {"authorization": self._basic()} if self._login else {}
        return httpx.Request("GET", realm.copy_merge_params(query), headers=headers)

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(self._login.encode()).decode()

    def _keep(self, authorization: str, *, life_s: float) -> None:
        self._authorization = authorization
        # A token is renewed before it ends, so that a slow upload is not refused half way.
        self._until = time.monotonic() + 0.8 * life_s


def docker_login(host: str) -> str:
    """``user:password`` for a registry from Docker's configuration file ($DOCKER_CONFIG, or ~/.docker), "" where it has none.

    Credential helpers are programs of their own and are not run.
    """
    folder = Path(os.environ.get("DOCKER_CONFIG", "") or Path.home() / ".docker")
    try:
        config = json_decoder(_DockerConfig).decode((folder / "config.json").read_bytes())
        found = config.auths.get(host) or config.auths.get(f"https://{host}") or _Login()
        return base64.b64decode(found.auth, validate=True).decode()
    except FileNotFoundError:
        return ""
    except (OSError, msgspec.DecodeError, binascii.Error, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read the registry's login from {folder / 'config.json'}: {error}") from None


def _read_token(response: httpx.Response) -> _Token:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_TOKEN_BYTES:
            raise StoreError(f"the token server {response.url.host} answers without end")
    if not response.is_success:
        raise StoreError(
            f"the token server {response.url.host} answered {response.status_code}: log in to the registry"
        )
    try:
        return json_decoder(_Token).decode(bytes(body))
    except msgspec.DecodeError as error:
        raise StoreError(f"the token server {response.url.host} gives no token: {error}") from None
