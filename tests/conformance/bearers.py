"""Istio's cases of policies about tokens (TestAuthz_JWT): its policies compiled, each token asked for each path.

The tokens of Istio's tests are not in the data; these say the same and are signed by a key of ours.
"""

from __future__ import annotations

import re
import time
from typing import Any

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from policies.head import Peer, RequestHead
from snapshot.authenticate import NO_LIVE_KEYS, admitted, authenticate
from snapshot.decide import decide
from snapshot.index import assemble
from snapshot.prepared import PreparedChain, PreparedSlice, prepare
from tests.conformance.authorization import WORKLOAD
from tests.conformance.corpus import DATA, Tally, read
from tests.tokens import Issuer

ONE, TWO = Issuer("test-issuer-1@istio.io"), Issuer("test-issuer-2@istio.io", key_id="two")
_FIRST: dict[str, Any] = {"sub": "sub-1", "groups": ["group-1"]}
_SECOND: dict[str, Any] = {"sub": "sub-2", "groups": ["group-2"]}
TOKENS = {
    "TokenIssuer1": ONE.token(**_FIRST),
    "TokenIssuer2": TWO.token(**_SECOND),
    "TokenIssuer1WithAud": ONE.token(**_FIRST, aud="foo"),
    "TokenIssuer1WithAudList": ONE.token(**_FIRST, aud=["bar", "foo"]),
    "TokenIssuer1WithAzp": ONE.token(**_FIRST, azp="bar"),
    "TokenIssuer1WithNestedClaims1": ONE.token(
        **_FIRST, nested={"key1": ["valueA", "valueB"], "nested-2": {"key1": "valueA"}}
    ),
    "TokenIssuer1WithNestedClaims2": ONE.token(**_FIRST, nested={"key2": "valueC", "nested-2": {"key1": "valueB"}}),
    "TokenIssuer2WithSpaceDelimitedPermission": TWO.token(**_SECOND, permission="read append"),
    "TokenIssuer2WithSpaceDelimitedScope": TWO.token(**_SECOND, scope="read write"),
    "TokenIssuer2WithCustomScopeSpaceDelimitedScope": TWO.token(**_SECOND, custom_scope="user admin"),
}
_PEER = Peer("127.0.0.9", 40000, "127.0.0.1", 80)


def run() -> Tally:
    """Every row of the table."""
    tally = Tally()
    prepared, chain = _workload()
    tables = read("tables/integration_security.json")["tables"]
    rows = next(one["rows"] for one in tables if one["func"] == "TestAuthz_JWT")
    for row in rows:
        label = f"{row['prefix']} {row['path']}"
        name = row["jwt"]["$expr"].removeprefix("jwt.") if row["jwt"] else ""
        status = _status(prepared, chain, row["path"], TOKENS[name] if name else "")
        wanted = 0 if row["allow"] else 403
        tally.count(label, None if status == wanted else f"answered {status}, wanted {wanted}")
    return tally


def _status(prepared: PreparedSlice, chain: PreparedChain, path: str, token: str) -> int:
    """What a GET is answered by the proxy itself, 0 where it is passed on."""
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    head = RequestHead("GET", "http", "httpbin", "httpbin", path, None, headers)
    principal = authenticate(chain, head, _PEER, NO_LIVE_KEYS, time.time())
    reply = decide(prepared, chain, admitted(chain, head, principal), _PEER, principal).reply
    return reply.status if reply is not None else 0


def _workload() -> tuple[PreparedSlice, PreparedChain]:
    text = (DATA / "authz" / "integration" / "authz" / "jwt.yaml.tmpl").read_text()
    keys = {issuer.name: issuer.jwks for issuer in (ONE, TWO)}
    for name, jwks in keys.items():
        text = re.sub(rf'(issuer: "{re.escape(name)}"\n\s+)jwksUri: .*', rf"\1jwks: '{jwks}'", text)
    text = text.replace("{{ .To.ServiceName }}", "httpbin").replace("metadata:\n", "metadata:\n  namespace: foo\n")
    done = compile_tree(MemoryTree({"workload.yaml": WORKLOAD.encode(), "policies.yaml": text.encode()}))
    assert done.snapshot is not None, done.diagnostics
    entry = next(one for one in done.snapshot.index.slices if one.name == "sidecar/foo/httpbin")
    prepared = prepare(assemble(done.snapshot.digest, entry, done.snapshot.blobs))
    return prepared, prepared.chains["inbound|80", "plain-http"]
