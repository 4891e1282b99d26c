"""Certificates of gateways, where the Secret in Git has one: whether it can serve, until when, and for which hosts.

Only the certificate is kept while a check runs; the key is asked no more than whether it is there, and never reaches a snapshot.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, ResourceId, Severity, Span
from compiler.hosts import covers
from compiler.mesh import Mesh
from compiler.resources.written import Written, held_data

if TYPE_CHECKING:
    from cryptography import x509

_CERTIFICATE, _KEY = ("tls.crt", "cert"), ("tls.key", "key")


class _Asked(NamedTuple):
    """One listener's use of a Secret: whose it is, where the Secret is named, and for which hosts, each at its place."""

    about: ResourceId
    secret: Written
    name: str
    span: Span
    hosts: list[tuple[str, Span]]


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0161, WFT0130 and WFT0131 at the credential's name; where Git has no such Secret, or one without data, nothing is said."""
    if not mesh.gateways and not mesh.api_gateways:
        return
    secrets = {(item.meta.namespace, item.meta.name): item for item in mesh.written("Secret")}
    if secrets:
        for asked in (*_of_istio(mesh, secrets), *_of_the_api(mesh, secrets)):
            yield from _credential(mesh, asked)


def _of_istio(mesh: Mesh, secrets: dict[tuple[str, str], Written]) -> Iterator[_Asked]:
    for gateway in mesh.gateways_asked_about():
        namespaces = sorted({pod.meta.namespace for pod in mesh.pods if pod.has_labels(gateway.selector)})
        for server in gateway.servers:
            for reference in server.tls.credentials if server.tls else ():
                held = [secrets[n, reference.value] for n in namespaces if (n, reference.value) in secrets]
                hosts = [(host.host, host.span) for host in server.hosts]
                if held:
                    yield _Asked(gateway.meta.id, held[0], reference.value, reference.span, hosts)


def _of_the_api(mesh: Mesh, secrets: dict[tuple[str, str], Written]) -> Iterator[_Asked]:
    for gateway in mesh.api_gateways.values():
        for listener in gateway.listeners:
            for reference in listener.certificates:
                secret = secrets.get((reference.namespace, reference.name))
                if secret is not None:
                    hosts = [(listener.hostname, listener.span)] if listener.hostname else []
                    yield _Asked(gateway.meta.id, secret, reference.name, reference.span, hosts)


def _credential(mesh: Mesh, asked: _Asked) -> Iterator[Diagnostic]:
    secret = asked.secret
    related = (Related(secret.meta.span, "the Secret"),)
    certificate = _certificate(secret)
    if certificate is None:
        if secret.root.has("data") or secret.root.has("stringData"):
            message = f"Secret `{asked.name}` holds no certificate and key that can serve (tls.crt and tls.key)"
            yield diagnostic("IST0161", message, asked.span, resource=asked.about, related=related)
        return
    yield from _age(mesh, asked, certificate, related)
    names = _names(certificate)
    for host, span in asked.hosts:
        if host != "*" and not any(covers(name, host) and _one_label(name, host) for name in names):
            shown = ", ".join(names) or "no name"
            message = f"the certificate of `{asked.name}` is for {shown}, not for `{host}`"
            yield diagnostic("WFT0131", message, span, resource=asked.about, related=related)


def _age(
    mesh: Mesh, asked: _Asked, certificate: x509.Certificate, related: tuple[Related, ...]
) -> Iterator[Diagnostic]:
    dates = mesh.dates
    if dates is None:
        return
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if begins > dates.now:
        message = f"the certificate of `{asked.name}` is not valid before {begins:%Y-%m-%d}"
        yield diagnostic("IST0161", message, asked.span, resource=asked.about, related=related)
    elif ends <= dates.now:
        message = f"the certificate of `{asked.name}` expired on {ends:%Y-%m-%d}"
        yield diagnostic("IST0161", message, asked.span, resource=asked.about, related=related)
    elif ends <= dates.now + timedelta(days=dates.expiry_days):
        days = (ends - dates.now).days
        message = f"the certificate of `{asked.name}` expires on {ends:%Y-%m-%d}, in {days} days"
        severity = Severity.ERROR if dates.fails else Severity.WARNING
        yield diagnostic("WFT0130", message, asked.span, resource=asked.about, related=related, severity=severity)


def _certificate(secret: Written) -> x509.Certificate | None:
    """The Secret's first certificate, where it has a key too and both can be read."""
    certificate, key = (held_data(secret, names) for names in (_CERTIFICATE, _KEY))
    if b"PRIVATE KEY-----" not in key:
        return None
    # Loading the library takes longer than a whole check of a small mesh, and few keep certificates in Git.
    from cryptography import x509

    try:
        # An odd serial number makes the library warn; it is no reason why the certificate could not serve.
        with warnings.catch_warnings(action="ignore"):
            return x509.load_pem_x509_certificate(certificate)
    except ValueError:
        return None


def _names(certificate: x509.Certificate) -> list[str]:
    from cryptography import x509
    from cryptography.x509.oid import ExtensionOID

    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    assert isinstance(extension, x509.SubjectAlternativeName)
    return [name.lower() for name in extension.get_values_for_type(x509.DNSName)]


def _one_label(name: str, host: str) -> bool:
    """A wildcard of a certificate stands for one label (RFC 9525 section 6.3)."""
    return not name.startswith("*.") or name.count(".") == host.count(".")
