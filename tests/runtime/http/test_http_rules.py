"""What a hop does to headers, by direction."""

from __future__ import annotations

import re

import msgspec
import pytest

from policies.head import Peer
from policies.traffic import HeaderEdits
from runtime.http.edits import compiled
from runtime.http.rules import RequestIds, Rules, count_attempt
from runtime.tls.identity import PeerCertificate
from tests.slices import request


class Sender(msgspec.Struct):
    """A downstream as rules know it."""

    peer: Peer
    certificate: PeerCertificate | None = None

    @property
    def connection_peer(self) -> Peer:
        return PLAIN


SVID = "spiffe://cluster.local/ns/a/sa/b"
CERTIFICATE = PeerCertificate(SVID, "cluster.local", (SVID,), "abcd", 0.0, der=b"DER", uris=(SVID,), dns=("b.a",))
MESH = Peer("10.0.0.9", 1, "10.0.0.1", 80, identity="spiffe://cluster.local/ns/a/sa/b", tls=True)
PLAIN = Peer("10.0.0.9", 1, "10.0.0.1", 80)
ME = "spiffe://cluster.local/ns/a/sa/me"


def after(direction: str, peer: Peer, *headers: tuple[bytes, bytes], edge: bool = False) -> dict[bytes, bytes]:
    head = request(headers=list(headers))
    fields = dict(headers)
    sender = Sender(peer, CERTIFICATE if peer.identity else None)
    Rules(direction=direction, edge=edge, identity=ME).request(head, fields, sender)
    assert len(dict(head.headers)) == len(head.headers), "a header stands twice"
    return dict(head.headers)


def test_inside_the_mesh_what_is_there_is_kept() -> None:
    kept = (
        (b"x-request-id", b"r"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-for", b"1.2.3.4"),
        (b"x-envoy-y", b"1"),
    )
    assert after("inbound", PLAIN, *kept) == dict(kept)


@pytest.mark.parametrize(("direction", "edge"), [("outbound", False), ("gateway", True)])
def test_whoever_chooses_an_upstream_counts_attempts(direction: str, *, edge: bool) -> None:
    claimed = (b"x-envoy-attempt-count", b"9")
    assert after(direction, PLAIN, claimed, edge=edge)[b"x-envoy-attempt-count"] == b"1"
    head = request(headers=[(b"x-envoy-attempt-count", b"1"), (b"a", b"b")])
    count_attempt(head, 2)
    assert head.headers == [(b"x-envoy-attempt-count", b"2"), (b"a", b"b")]


@pytest.mark.parametrize(
    ("direction", "edge", "peer", "before", "expected"),
    [
        ("inbound", False, MESH, None, b'By=%b;Hash=abcd;Subject="";URI=%b;DNS=b.a'),
        ("inbound", False, MESH, b"first", b'first,By=%b;Hash=abcd;Subject="";URI=%b;DNS=b.a'),
        ("gateway", True, MESH, b"forged", b'By=%b;Hash=abcd;Cert="%b";Subject="";URI=%b;DNS=b.a'),
        ("gateway", False, MESH, b"forged", b'By=%b;Hash=abcd;Cert="%b";Subject="";URI=%b;DNS=b.a'),
        ("gateway", True, PLAIN, b"forged", None),
        ("outbound", False, PLAIN, b"forged", None),
    ],
)
def test_the_clients_certificate(
    direction: str, edge: bool, peer: Peer, before: bytes | None, expected: bytes | None
) -> None:
    headers = ((b"x-forwarded-client-cert", before),) if before else ()
    found = after(direction, peer, *headers, edge=edge).get(b"x-forwarded-client-cert")
    pem = b"-----BEGIN%20CERTIFICATE-----%0AREVS%0A-----END%20CERTIFICATE-----%0A"
    told = (ME.encode(), *([pem] if direction == "gateway" else []), peer.identity.encode())
    assert found == (expected % told if expected else None)


def test_the_edge_strips_and_states_anew() -> None:
    claimed = (
        (b"x-request-id", b"r"),
        (b"x-forwarded-proto", b"https"),
        (b"x-envoy-y", b"1"),
        (b"x-weft-trace", b"snapshot"),
    )
    found = after("gateway", PLAIN, *claimed, edge=True)
    assert found[b"x-request-id"] != b"r"
    assert found[b"x-forwarded-proto"] == b"http"
    assert found[b"x-forwarded-for"] == b"10.0.0.9"
    assert found[b"x-envoy-external-address"] == b"10.0.0.9"
    added = {b"x-envoy-attempt-count", b"x-envoy-external-address"}
    assert set(found) == {b"x-request-id", b"x-forwarded-proto", b"x-forwarded-for", *added}


def test_request_ids_are_version_4_and_differ() -> None:
    ids = RequestIds()
    drawn = [ids.draw() for _ in range(1000)]
    assert len(set(drawn)) == 1000
    assert re.fullmatch(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", drawn[-1])


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        (HeaderEdits(remove=("a",)), [(b"b", b"2")]),
        (HeaderEdits(set=(("a", "9"),)), [(b"b", b"2"), (b"a", b"9")]),
        (HeaderEdits(add=(("a", "9"),)), [(b"a", b"1"), (b"b", b"2"), (b"a", b"9")]),
        (HeaderEdits(remove=("b",), set=(("b", "8"),), add=(("b", "9"),)), [(b"a", b"1"), (b"b", b"8"), (b"b", b"9")]),
        (HeaderEdits(set=(("content-length", "9"), ("transfer-encoding", "x"))), [(b"a", b"1"), (b"b", b"2")]),
    ],
)
def test_edits(edits: HeaderEdits, expected: list[tuple[bytes, bytes]]) -> None:
    assert compiled(edits).apply([(b"a", b"1"), (b"b", b"2")]) == expected
