"""Tokens from the mesh's YAML to the reply: keys fetched by the supervisor, checked by its engine, kept for a start without their issuer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest
import trio

from runtime.bootstrap import Bootstrap
from runtime.ipc import LiveUpdate
from snapshot.live import FetchedKeys
from tests.runtime.test_mesh_end_to_end import Mesh, control_plane, pair, runs, until
from tests.tokens import Issuer

pytestmark = pytest.mark.integration

POLICY = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  jwtRules: [{issuer: ISSUER, outputClaimToHeaders: [{header: x-user, claim: sub}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: bearers, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - from: [{source: {requestPrincipals: ["*"]}}]
    when: [{key: "request.auth.claims[group]", values: [readers]}]
"""


class TokenMesh(Mesh):
    """A mesh whose reviews sidecar runs an engine, and may fetch keys from loopback."""

    def __init__(self, folder: Path, engine: str) -> None:
        super().__init__(folder)
        self._engine = engine

    def bootstrap(self, name: str, *, account: str = "") -> Bootstrap:
        made = super().bootstrap(name, account=account)
        engine = self._engine if name == "reviews" else "trio"
        return msgspec.structs.replace(made, engine=engine, jwks_hosts=("127.0.0.1",))


@asynccontextmanager
async def issuing() -> AsyncIterator[tuple[Issuer, list[bytes]]]:
    """An issuer that serves its OpenID configuration and its keys; the block may end the serving of either by clearing the list of answers."""
    answers: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            head = await stream.receive_some(65536)
            if not head or not answers:
                return
            body = answers[0] if b"openid-configuration" in head else answers[1]
            await stream.send_all(
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        name = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        issuer = Issuer(name)
        answers += [json.dumps({"issuer": name, "jwks_uri": f"{name}/keys"}).encode(), issuer.jwks.encode()]
        yield issuer, answers
        nursery.cancel_scope.cancel()


async def asked(client: httpx.AsyncClient, token: str = "") -> tuple[int, str]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    reply = await client.get("http://reviews.shop/a", headers=headers)
    return reply.status_code, reply.text


@pytest.mark.parametrize("engine", ["trio", "envoy"])
async def test_keys_are_fetched_by_way_of_the_issuers_configuration_and_tokens_checked_by_them(
    engine: str, tmp_path: Path
) -> None:
    mesh = TokenMesh(tmp_path, engine)
    mesh.publish()
    async with (
        issuing() as (issuer, _),
        control_plane(mesh),
        pair(mesh) as (_, reviews, _),
        mesh.web_client() as client,
    ):
        assert (await asked(client))[0] == 200
        digest = mesh.publish(tokens=POLICY.replace("ISSUER", f'"{issuer.name}"'))
        await until(runs(digest, reviews))
        assert await asked(client) == (403, "RBAC: access denied")
        status, text = await asked(client, issuer.token(group=["readers"]))
        assert status == 200, text
        assert json.loads(text)["headers"]["x-user"] in ("jo", ["jo"])
        assert await asked(client, issuer.token(group="others")) == (403, "RBAC: access denied")
        assert await asked(client, issuer.expired(group="readers")) == (401, "Jwt is expired")
        rotated = Issuer(issuer.name)
        assert await asked(client, rotated.token(group="readers")) == (401, "Jwt verification fails")
        (held,) = reviews.token_keys()
        await reviews.fleet.update(LiveUpdate(keys=(FetchedKeys(held.source, rotated.jwks.encode()),)))
        with trio.fail_after(5):
            while (await asked(client, rotated.token(group="readers")))[0] != 200:  # noqa: ASYNC110  the engine tells nobody
                await trio.sleep(0.01)
        assert await asked(client, issuer.token(group="readers")) == (401, "Jwt verification fails")


async def test_a_sidecar_that_starts_without_its_issuer_has_the_keys_of_before(tmp_path: Path) -> None:
    mesh = TokenMesh(tmp_path, "trio")
    async with issuing() as (issuer, answers), control_plane(mesh):
        mesh.publish(tokens=POLICY.replace("ISSUER", f'"{issuer.name}"'))
        async with pair(mesh) as (_, _, _), mesh.web_client() as client:
            assert (await asked(client, issuer.token(group="readers")))[0] == 200
        answers.clear()
        async with pair(mesh) as (_, _, _), mesh.web_client() as client:
            assert (await asked(client, issuer.token(group="readers")))[0] == 200
