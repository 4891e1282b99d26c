"""What TLS parameters do to a handshake: versions, suites and curves of both sides."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import pytest

from runtime.tls.contexts import MaterialError, TlsMaterial, hold_to
from snapshot.section import DownstreamTls, MeshTls, MeshUpstream, ServerTls, TlsUpstream, UpstreamTls
from tests.runtime.authority import Authority


def _has(curve: str) -> bool:
    try:
        hold_to(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), (), (curve,))
    except MaterialError:
        return False
    return True


X25519 = pytest.param("X25519", marks=pytest.mark.skipif(not _has("X25519"), reason="this Python has no X25519"))
ME = "spiffe://cluster.local/ns/a/sa/me"


@pytest.fixture(scope="module")
def material() -> TlsMaterial:
    authority, made = Authority(), TlsMaterial()
    made.set_svid(authority.svid(ME))
    assert not made.set_credentials([authority.credential("a/c", "a.example")])
    return made


def agreed(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str] | None:
    """The version and suite that two contexts agree on, in memory, or None."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    done = [False, False]
    for _ in range(8):
        for index, end in enumerate(ends):
            try:
                end.do_handshake()
                done[index] = True
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return None
        if all(done):
            cipher = ends[0].cipher()
            assert cipher is not None
            return cipher[1], cipher[0]
    return None


def plain_client(*, version: ssl.TLSVersion | None = None, ciphers: str = "", curve: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    if curve:
        context.set_ecdh_curve(curve)
    return context


def server(material: TlsMaterial, tls: DownstreamTls) -> ssl.SSLContext:
    return material.server(tls, http=True, http2=True)


@pytest.mark.parametrize("tls", [MeshTls(min_version="TLSv1_3"), ServerTls(("a/c",), min_version="TLSv1_3")])
def test_a_client_that_only_speaks_an_older_version_is_refused(material: TlsMaterial, tls: DownstreamTls) -> None:
    old = plain_client(version=ssl.TLSVersion.TLSv1_2)
    assert agreed(server(material, tls), old) is None
    if isinstance(tls, ServerTls):
        assert agreed(server(material, ServerTls(("a/c",))), old) is not None


def test_both_sides_of_the_mesh_hold_to_its_version_and_suites(material: TlsMaterial) -> None:
    suite = "ECDHE-ECDSA-AES256-GCM-SHA384"
    here = server(material, MeshTls(ciphers=(suite,)))
    there = material.client(MeshUpstream((ME,), "x", ciphers=(suite,)), "http1")
    assert agreed(here, there) is not None
    there.maximum_version = ssl.TLSVersion.TLSv1_2
    assert agreed(here, there) == ("TLSv1.2", suite)
    assert (
        material.client(MeshUpstream((ME,), "x", min_version="TLSv1_3"), "http1").minimum_version
        == ssl.TLSVersion.TLSv1_3
    )


@pytest.mark.parametrize(
    ("curves", "offered", "expected"),
    [
        (("P-256",), "prime256v1", True),
        (("P-256",), "secp384r1", False),
        (("P-384", "P-256"), "secp384r1", True),
        (("P-384", "P-256"), "prime256v1", False),
        (("X25519MLKEM768", "P-384"), "secp384r1", True),
        (("P-521",), "secp521r1", True),
    ],
)
def test_a_server_is_held_to_the_first_curve_that_can_be_had(
    material: TlsMaterial, curves: tuple[str, ...], offered: str, *, expected: bool
) -> None:
    context = server(material, ServerTls(("a/c",), curves=curves))
    assert (agreed(context, plain_client(curve=offered)) is not None) is expected


@pytest.mark.parametrize("curve", [X25519])
def test_x25519_where_python_has_it(material: TlsMaterial, curve: str) -> None:
    context = server(material, ServerTls(("a/c",), curves=(curve,)))
    assert agreed(context, plain_client(curve="X25519")) is not None
    assert agreed(context, plain_client(curve="prime256v1")) is None


def test_a_client_is_held_to_suites_and_curves_too(material: TlsMaterial) -> None:
    suite = "ECDHE-ECDSA-AES128-GCM-SHA256"
    tls = TlsUpstream("a.example", skip_verify=True, ciphers=(suite,), curves=("P-256",))
    client = material.client(tls, "http1")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert agreed(server(material, ServerTls(("a/c",))), client) == ("TLSv1.2", suite)
    assert agreed(server(material, ServerTls(("a/c",), curves=("P-384",))), client) is None


@pytest.mark.parametrize(("ciphers", "curves"), [(("no-such-suite",), ()), ((), ("X25519MLKEM768",))])
def test_what_cannot_be_had_is_refused_and_never_left_out(ciphers: Sequence[str], curves: Sequence[str]) -> None:
    with pytest.raises(MaterialError) as raised:
        hold_to(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ciphers, curves)
    assert raised.value.reason == "parameters"


def test_parameters_that_differ_make_contexts_that_differ(material: TlsMaterial) -> None:
    mesh: list[UpstreamTls] = [MeshUpstream((ME,), "x"), MeshUpstream((ME,), "x", min_version="TLSv1_3")]
    assert len({id(material.client(tls, "http1")) for tls in mesh}) == 2
