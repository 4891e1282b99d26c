"""SPIFFE IDs and what makes a leaf certificate an X.509-SVID, as pure rules (SPIFFE-ID section 2, X509-SVID sections 2 and 4).

Reading a certificate is not done here: ``LeafFacts`` is what someone read from one.
"""

from __future__ import annotations

import re

import msgspec

MAX_ID_BYTES = 2048
"""Longer IDs are refused; shorter ones are supported (SPIFFE-ID section 2.3)."""

MAX_DOMAIN_BYTES = 255

_DOMAIN = re.compile(r"[a-z0-9._-]+\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+\Z")
_SCHEME = "spiffe://"


class SpiffeError(Exception):
    """Not a SPIFFE ID, or not an X.509-SVID; the message says which rule is broken and by what."""


class SpiffeId(msgspec.Struct, frozen=True, order=True):
    """A workload's SPIFFE ID. ``path`` begins with a slash and is never empty: a trust domain alone names no workload."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"

    @property
    def workload(self) -> tuple[str, str] | None:
        """Namespace and service account where the path is Istio's ``/ns/<namespace>/sa/<account>``, else None."""
        parts = self.path.split("/")
        if len(parts) == 5 and (parts[1], parts[3]) == ("ns", "sa"):
            return parts[2], parts[4]
        return None


class LeafFacts(msgspec.Struct, frozen=True):
    """What a leaf certificate says that X509-SVID has rules about. ``extended_usages`` is None where the extension is absent."""

    uris: tuple[str, ...]
    authority: bool
    key_usage_critical: bool
    digital_signature: bool
    signs_certificates: bool
    signs_revocations: bool
    extended_usages: frozenset[str] | None = None


SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"


def parse(text: str) -> SpiffeId:
    """Reads a workload's SPIFFE ID; raises SpiffeError. Nothing is repaired: no case folding, no decoding, no trimming."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise SpiffeError(f"a SPIFFE ID has at most {MAX_ID_BYTES} bytes, this one {len(text)}")
    if not text.startswith(_SCHEME):
        raise SpiffeError(f"{text!r} is not a SPIFFE ID: it does not begin with {_SCHEME}")
    domain, slash, rest = text.removeprefix(_SCHEME).partition("/")
    require_trust_domain(domain)
    if not slash:
        raise SpiffeError(f"{text!r} names a trust domain, not a workload: it has no path")
    for segment in rest.split("/"):
        if not segment:
            raise SpiffeError(f"{text!r} has an empty path segment or a slash at its end")
        if segment in (".", ".."):
            raise SpiffeError(f"{text!r} has the path segment {segment!r}")
        if not _SEGMENT.match(segment):
            raise SpiffeError(f"{text!r}: the path segment {segment!r} has characters other than A-Z a-z 0-9 . - _")
    return SpiffeId(domain, f"/{rest}")


def require_trust_domain(domain: str) -> None:
    """Raises SpiffeError where a text is no trust domain's name: lower-case letters, digits, dot, dash, underscore; no port, no user."""
    if not _DOMAIN.match(domain) or len(domain) > MAX_DOMAIN_BYTES:
        raise SpiffeError(
            f"{domain!r} is not a trust domain: only a-z 0-9 . - _ are allowed, 1 to {MAX_DOMAIN_BYTES} of them"
        )


def require_svid(leaf: LeafFacts) -> SpiffeId:
    """The identity of a leaf that is an X.509-SVID; raises SpiffeError with the first rule that it breaks."""
    if leaf.authority:
        raise SpiffeError("the leaf is a certificate authority (CA is true)")
    if leaf.signs_certificates:
        raise SpiffeError("the leaf may sign certificates (keyCertSign)")
    if leaf.signs_revocations:
        raise SpiffeError("the leaf may sign revocation lists (cRLSign)")
    if not leaf.digital_signature:
        raise SpiffeError("the leaf may not sign (digitalSignature is missing)")
    if not leaf.key_usage_critical:
        raise SpiffeError("the leaf's key usage is not critical")
    if leaf.extended_usages is not None and not {SERVER_AUTH, CLIENT_AUTH} <= leaf.extended_usages:
        raise SpiffeError("the leaf is not for both server and client authentication")
    if len(leaf.uris) != 1:
        raise SpiffeError(f"the leaf bears {len(leaf.uris)} URI names; an X.509-SVID bears exactly one")
    return parse(leaf.uris[0])
