"""The request target's four forms (RFC 9112 section 3.2), and what each says about scheme, authority, path and query."""

from __future__ import annotations

import re

from policies.path import normalize
from runtime.http1.error import ProtocolError, Reason
from runtime.http1.grammar import split_authority

_ABSOLUTE = re.compile(r"(https?)://([^/?]*)(/[^?]*)?(?:\?(.*))?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def refine_path(path: str, profile: str) -> str:
    """The normal form of an origin-form path; raises ProtocolError where the profile refuses it."""
    normal = normalize(path, profile)
    if normal is None:
        raise ProtocolError(Reason.PATH)
    return normal


def split_absolute(target: str, host_field: str, profile: str) -> tuple[str, str, str, str, str | None]:
    """Scheme, authority, host, path and query of an absolute-form target, which must agree with the Host field; raises ProtocolError."""
    matched = _ABSOLUTE.fullmatch(target)
    if matched is None:
        raise ProtocolError(Reason.TARGET)
    scheme = matched[1].lower()
    authority, host = split_authority(matched[2].encode("ascii"))
    default = _DEFAULT_PORTS[scheme]
    if authority.lower().removesuffix(default) != host_field.lower().removesuffix(default):
        raise ProtocolError(Reason.HOST_MISMATCH)
    return scheme, authority, host, refine_path(matched[3] or "/", profile), matched[4]


def split_connect(target: str, host_field: str) -> tuple[str, str]:
    """Authority and host of CONNECT's target, which must give a port; the Host field may leave the port out. Raises ProtocolError."""
    authority, host = split_authority(target.encode("ascii"))
    if not re.search(r":[0-9]+\Z", authority):
        raise ProtocolError(Reason.TARGET)
    wanted = authority.lower()
    if host_field.lower() not in {wanted, wanted.rpartition(":")[0]}:
        raise ProtocolError(Reason.HOST_MISMATCH)
    return authority, host
