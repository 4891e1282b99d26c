"""From TLS settings to Envoy's transport sockets. Keys never stand in them: they name secrets, which ``secrets`` fills.

A client is identified by its certificate, so sessions are not resumed where one is asked for (CVE-2022-21654), as in ``runtime.tls.contexts``.
"""

from __future__ import annotations

import ipaddress

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from policies.match import Exact, Prefix
from runtime.envoy.messages import Message, config_source, extension, string_matcher
from runtime.envoy.placement import Delivery
from runtime.envoy.secrets import BUNDLE, IDENTITY, authority, credential
from snapshot.section import DownstreamTls, MeshTls, MeshUpstream, Proxy, ServerTls, TlsUpstream, UpstreamTls

TLS = "envoy.transport_sockets.tls"
MESH_HTTP_ALPN = ("h2", "http/1.1")
"""What an inbound chain agrees to, as in Istio: Envoy knows HTTP/2 by ``h2`` or, where nothing was agreed on, by its first bytes."""
MESH_TCP_ALPN = ("istio-peer-exchange", "istio")
NOBODY = "spiffe://nobody.invalid/no-identity-is-listed"
"""What an upstream must be where a cluster lists no identity: an empty list of names would accept everyone."""

CLIENT_ALPN = {
    "http1": ("istio-http/1.1", "istio", "http/1.1"),
    "http2": ("istio-h2", "istio", "h2"),
    "tcp": MESH_TCP_ALPN,
    "same": MESH_TCP_ALPN,
}
_PLAIN_ALPN = {"http1": ("http/1.1",), "http2": ("h2",)}
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
_VERSIONS = {"TLSv1_2": common_pb2.TlsParameters.TLSv1_2, "TLSv1_3": common_pb2.TlsParameters.TLSv1_3}


def downstream(tls: DownstreamTls, proxy: Proxy, delivery: Delivery, *, http: bool) -> Message:
    """The transport socket of a filter chain."""
    match tls:
        case MeshTls():
            context = tls_pb2.DownstreamTlsContext(
                common_tls_context=_mesh(tls, delivery, MESH_HTTP_ALPN if http else MESH_TCP_ALPN, _members(proxy)),
                require_client_certificate={"value": True},
                disable_stateless_session_resumption=True,
                disable_stateful_session_resumption=True,
            )
        case ServerTls():
            context = _server(tls, delivery, http=http)
    return extension(base_pb2.TransportSocket, TLS, context)


def _server(tls: ServerTls, delivery: Delivery, *, http: bool) -> Message:
    fields: dict[str, object] = {}
    common: dict[str, object] = {"alpn_protocols": ["h2", "http/1.1"] if http else []}
    if tls.client != "none":
        slot = tls.client_ca or tls.credentials[0]
        if tls.names or tls.hashes or tls.keys:
            pinned = common_pb2.CertificateValidationContext(
                match_typed_subject_alt_names=[_name(one) for one in tls.names],
                verify_certificate_hash=tls.hashes,
                verify_certificate_spki=tls.keys,
            )
            common["combined_validation_context"] = tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
                default_validation_context=pinned,
                validation_context_sds_secret_config=_secret(authority(slot), delivery),
            )
        else:
            common["validation_context_sds_secret_config"] = _secret(authority(slot), delivery)
        fields["require_client_certificate"] = {"value": tls.client == "require"}
        fields["disable_stateless_session_resumption"] = True
        fields["disable_stateful_session_resumption"] = True
    parameters = common_pb2.TlsParameters(
        tls_minimum_protocol_version=_VERSIONS[tls.min_version],
        tls_maximum_protocol_version=_VERSIONS[tls.max_version],
        cipher_suites=tls.ciphers,
        ecdh_curves=tls.curves,
    )
    return tls_pb2.DownstreamTlsContext(
        common_tls_context=tls_pb2.CommonTlsContext(
            tls_params=parameters,
            tls_certificate_sds_secret_configs=[_secret(credential(name), delivery) for name in tls.credentials],
            **common,
        ),
        **fields,
    )


def upstream(tls: UpstreamTls, protocol: str, proxy: Proxy, delivery: Delivery) -> Message:
    """The transport socket towards a cluster that speaks ``protocol``."""
    match tls:
        case MeshUpstream():
            known = {proxy.trust_domain, *proxy.trust_domain_aliases}
            listed = [one for one in tls.identities if one.removeprefix("spiffe://").partition("/")[0] in known]
            names = [_uri(string_matcher(Exact(one))) for one in listed or [NOBODY]]
            # Where downstream decides, the route names the protocol of HTTP (``actions``); what has no route are bytes.
            alpn = CLIENT_ALPN.get(protocol, ())
            context = tls_pb2.UpstreamTlsContext(
                sni=tls.server_name, common_tls_context=_mesh(tls, delivery, alpn, names)
            )
        case TlsUpstream():
            context = _origination(tls, protocol, delivery)
    return extension(base_pb2.TransportSocket, TLS, context)


def _origination(tls: TlsUpstream, protocol: str, delivery: Delivery) -> Message:
    common: dict[str, object] = {"alpn_protocols": _PLAIN_ALPN.get(protocol, ())}
    if tls.credential:
        common["tls_certificate_sds_secret_configs"] = [_secret(credential(tls.credential), delivery)]
    if not tls.skip_verify:
        names = [_name(one) for one in tls.names or (tls.server_name,)]
        if tls.ca:
            common["combined_validation_context"] = _combined(names, authority(tls.ca), delivery)
        else:
            roots = common_pb2.CertificateValidationContext.SystemRootCerts()
            common["validation_context"] = common_pb2.CertificateValidationContext(
                system_root_certs=roots, match_typed_subject_alt_names=names
            )
    parameters = common_pb2.TlsParameters(
        tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2,
        tls_maximum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
        cipher_suites=tls.ciphers,
        ecdh_curves=tls.curves,
    )
    return tls_pb2.UpstreamTlsContext(
        sni=tls.server_name, common_tls_context=tls_pb2.CommonTlsContext(tls_params=parameters, **common)
    )


def _mesh(tls: MeshTls | MeshUpstream, delivery: Delivery, alpn: tuple[str, ...], names: list[Message]) -> Message:
    parameters = common_pb2.TlsParameters(
        tls_minimum_protocol_version=_VERSIONS[tls.min_version],
        tls_maximum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
        cipher_suites=tls.ciphers or _CIPHERS,
    )
    return tls_pb2.CommonTlsContext(
        tls_params=parameters,
        alpn_protocols=alpn,
        tls_certificate_sds_secret_configs=[_secret(IDENTITY, delivery)],
        combined_validation_context=_combined(names, BUNDLE, delivery),
    )


def _members(proxy: Proxy) -> list[Message]:
    """Whoever bears a SPIFFE ID of our trust domain or an alias of it."""
    return [
        _uri(string_matcher(Prefix(f"spiffe://{domain}/")))
        for domain in (proxy.trust_domain, *proxy.trust_domain_aliases)
    ]


def _combined(names: list[Message], ca: str, delivery: Delivery) -> Message:
    return tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=common_pb2.CertificateValidationContext(match_typed_subject_alt_names=names),
        validation_context_sds_secret_config=_secret(ca, delivery),
    )


def _secret(name: str, delivery: Delivery) -> Message:
    """A reference to a secret: one of the same file, or one that comes over the xDS stream."""
    if delivery is Delivery.STATIC:
        return secret_pb2.SdsSecretConfig(name=name)
    return secret_pb2.SdsSecretConfig(name=name, sds_config=config_source())


def _uri(matcher: Message) -> Message:
    kind = common_pb2.SubjectAltNameMatcher
    return kind(san_type=kind.URI, matcher=matcher)


def _name(name: str) -> Message:
    """A name that an upstream's certificate must bear, of the kind that it looks like."""
    kind = common_pb2.SubjectAltNameMatcher
    if "://" in name:
        return _uri(string_pb2.StringMatcher(exact=name))
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return kind(san_type=kind.DNS, matcher=string_pb2.StringMatcher(exact=name))
    return kind(san_type=kind.IP_ADDRESS, matcher=string_pb2.StringMatcher(exact=name))
