"""What a proxy says in headers where the mesh asks for something else than the usual."""

from __future__ import annotations

import msgspec
import pytest

from policies.head import Peer
from policies.proxy_headers import ProxyHeaders
from runtime.http.chosen_rules import client_address, rules_of
from runtime.http.rules import Rules
from runtime.tls.identity import PeerCertificate
from tests.slices import request

CONNECTION = Peer("10.0.0.9", 7, "10.0.0.1", 80, addresses="10.0.0.1:80 10.0.0.9:7")
SVID = "spiffe://cluster.local/ns/a/sa/b"
SHOWN = PeerCertificate(SVID, "cluster.local", (SVID,), "abcd", 0.0, der=b"DER", subject="CN=b", uris=(SVID,))
CERTIFICATE = b"x-forwarded-client-cert"
ELEMENT = b'By=spiffe://me;Hash=abcd;Subject="CN=b";URI=' + SVID.encode()


class Sender(msgspec.Struct):
    """A downstream as rules know it."""

    peer: Peer = CONNECTION
    certificate: PeerCertificate | None = None
    scheme: str = ""

    @property
    def connection_peer(self) -> Peer:
        return CONNECTION


def after(
    headers: ProxyHeaders,
    *received: tuple[bytes, bytes],
    direction: str = "gateway",
    shown: PeerCertificate | None = None,
) -> tuple[dict[bytes, bytes], Sender]:
    """The headers of a request after the rules of a chain, and who it is from."""
    head, sender = request(headers=list(received)), Sender(certificate=shown)
    rules = rules_of(headers, direction=direction, edge=direction == "gateway", identity="spiffe://me")
    rules.request(head, dict(received), sender)
    assert len(dict(head.headers)) == len(head.headers), "a header stands twice"
    sender.scheme = head.scheme
    return dict(head.headers), sender


def test_the_usual_costs_nothing() -> None:
    assert type(rules_of(ProxyHeaders(), direction="inbound", edge=False, identity="")) is Rules


@pytest.mark.parametrize(
    ("forwarded", "skipped", "expected"),
    [
        ([b"56.5.6.7, 72.9.5.6, 98.1.2.3"], 1, "72.9.5.6"),
        ([b"56.5.6.7", b"72.9.5.6,98.1.2.3"], 2, "56.5.6.7"),
        ([b"56.5.6.7"], 1, ""),
        ([b"unknown, 1.2.3.4"], 1, ""),
        ([b"2001:db8::1 , 1.2.3.4"], 1, "2001:db8::1"),
        ([b"1.2.3.4:80"], 0, ""),
        ([b""], 0, ""),
        ([], 0, ""),
    ],
)
def test_the_address_that_trusted_proxies_name(forwarded: list[bytes], skipped: int, expected: str) -> None:
    assert client_address(forwarded, skipped) == expected


def test_a_trusted_proxy_says_who_the_client_is_and_what_it_spoke() -> None:
    told, sender = after(
        ProxyHeaders(trusted_hops=2),
        (b"x-forwarded-for", b"1.1.1.1, 72.9.5.6, 98.1.2.3"),
        (b"x-forwarded-proto", b"https"),
        (b"x-envoy-external-address", b"6.6.6.6"),
    )
    assert told[b"x-forwarded-for"] == b"1.1.1.1, 72.9.5.6, 98.1.2.3, 10.0.0.9"
    assert told[b"x-envoy-external-address"] == b"72.9.5.6"
    assert told[b"x-forwarded-proto"] == b"https"
    assert sender.scheme == "https"
    assert sender.peer == msgspec.structs.replace(
        CONNECTION,
        source_ip="72.9.5.6",
        source_port=0,
        direct_ip="10.0.0.9",
        addresses="10.0.0.1:80 72.9.5.6:0",
    )


def test_the_next_request_of_a_connection_is_not_the_last_ones_client() -> None:
    rules = rules_of(ProxyHeaders(trusted_hops=1), direction="gateway", edge=True, identity="")
    sender = Sender()
    for forwarded, expected in ((b"9.9.9.9", "9.9.9.9"), (None, "10.0.0.9")):
        received = [(b"x-forwarded-for", forwarded)] if forwarded else []
        rules.request(request(headers=received), dict(received), sender)
        assert sender.peer.source_ip == expected


def test_inside_the_mesh_nobody_is_behind_proxies() -> None:
    told, sender = after(ProxyHeaders(trusted_hops=1), (b"x-forwarded-for", b"9.9.9.9"), direction="inbound")
    assert sender.peer is CONNECTION
    assert b"x-envoy-external-address" not in told


@pytest.mark.parametrize(
    ("mode", "shown", "expected"),
    [
        ("sanitize", True, None),
        ("sanitize", False, None),
        ("forward_only", True, b"before"),
        ("forward_only", False, None),
        ("append_forward", True, b"before," + ELEMENT),
        ("append_forward", False, None),
        ("sanitize_set", True, ELEMENT),
        ("sanitize_set", False, None),
        ("always_forward_only", True, b"before"),
        ("always_forward_only", False, b"before"),
    ],
)
@pytest.mark.parametrize("direction", ["gateway", "inbound"])
def test_what_becomes_of_a_clients_certificate(
    direction: str, mode: str, expected: bytes | None, *, shown: bool
) -> None:
    headers = ProxyHeaders(certificate=mode, shows=("subject", "uri"))
    told, _ = after(headers, (CERTIFICATE, b"before"), direction=direction, shown=SHOWN if shown else None)
    assert told.get(CERTIFICATE) == expected


def test_applications_claim_no_certificate_whatever_is_chosen() -> None:
    headers = ProxyHeaders(certificate="always_forward_only")
    assert CERTIFICATE not in after(headers, (CERTIFICATE, b"forged"), direction="outbound")[0]


@pytest.mark.parametrize(
    ("shows", "expected"),
    [
        ((), b"By=spiffe://me;Hash=abcd"),
        (("uri",), b"By=spiffe://me;Hash=abcd;URI=" + SVID.encode()),
        (
            ("cert",),
            b'By=spiffe://me;Hash=abcd;Cert="-----BEGIN%20CERTIFICATE-----%0AREVS%0A-----END%20CERTIFICATE-----%0A"',
        ),
    ],
)
def test_only_what_is_asked_for_is_said_of_a_certificate(shows: tuple[str, ...], expected: bytes) -> None:
    told, _ = after(ProxyHeaders(shows=shows), direction="inbound", shown=SHOWN)
    assert told[CERTIFICATE] == expected


def test_identifiers_of_requests_are_left_alone() -> None:
    headers = ProxyHeaders(request_ids=False)
    assert after(headers, (b"x-request-id", b"mine"))[0][b"x-request-id"] == b"mine"
    assert b"x-request-id" not in after(headers)[0]


def test_attempts_are_not_counted() -> None:
    assert b"x-envoy-attempt-count" in after(ProxyHeaders(server="x"))[0]
    assert b"x-envoy-attempt-count" not in after(ProxyHeaders(attempts=False))[0]


@pytest.mark.parametrize(
    ("headers", "direction", "passed", "own"),
    [
        (ProxyHeaders(attempts=False), "gateway", [(b"server", b"weft")], [(b"server", b"weft")]),
        (ProxyHeaders(attempts=False), "inbound", [(b"server", b"app")], [(b"server", b"weft")]),
        (ProxyHeaders(server="mine"), "gateway", [(b"server", b"mine")], [(b"server", b"mine")]),
        (ProxyHeaders(server="mine"), "inbound", [(b"server", b"mine")], [(b"server", b"mine")]),
        (ProxyHeaders(server=""), "gateway", [(b"server", b"app")], []),
    ],
)
def test_how_the_proxy_calls_itself(
    headers: ProxyHeaders, direction: str, passed: list[tuple[bytes, bytes]], own: list[tuple[bytes, bytes]]
) -> None:
    rules = rules_of(headers, direction=direction, edge=direction == "gateway", identity="")
    received = [(b"server", b"app")]
    answered = rules.response(received, dict(received), service_time_ms=3, stamp=False)
    assert [pair for pair in answered if pair[0] == b"server"] == passed
    assert rules.own_server == own


def test_a_proxy_that_tells_nothing_internal_passes_on_what_others_tell() -> None:
    rules = rules_of(ProxyHeaders(internal=False), direction="outbound", edge=False, identity="")
    assert not rules.tells_path
    assert rules.response([], {}, service_time_ms=3, stamp=False) == [(b"server", b"weft")]
    received = [(b"x-envoy-upstream-service-time", b"9")]
    assert rules.response(list(received), dict(received), service_time_ms=3, stamp=False)[0] == received[0]
