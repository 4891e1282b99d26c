"""The state folder of a control plane, as the server and ``weft ca`` open it.

trust-domain      the trust domain's name; written at the first start, never changed
ca/               root and intermediate (runtime.control.ca)
tls/              the control plane's own certificate, remade at every start
control.sqlite    tokens, issued certificates, registrations (runtime.control.ledger)
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from runtime.control import ca, keyfiles
from runtime.control.ca import Authority
from runtime.control.keyfiles import StateError
from runtime.control.ledger import Ledger

DEFAULT_TRUST_DOMAIN = "cluster.local"

# SPIFFE-ID section 2.1 and 2.2: a lower-case trust domain, and path segments of letters, digits, dots, dashes and underscores.
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,253}\Z")


class State(msgspec.Struct, frozen=True):
    """An opened state folder. ``created`` says that this start made the authority."""

    folder: Path
    trust_domain: str
    authority: Authority
    ledger: Ledger
    created: bool = False


def create_or_open(folder: Path, trust_domain: str | None, *, now: float) -> State:
    """Opens a state folder, making what is missing; raises StateError where it is of another trust domain or not sound."""
    created = not (folder / "ca" / "root.pem").exists()
    domain = _settle_trust_domain(folder, trust_domain)
    authority = ca.create_or_open(folder / "ca", domain, now=now)
    return State(folder, domain, authority, Ledger(folder / "control.sqlite"), created)


def open_existing(folder: Path, *, now: float) -> State:
    """Opens a state folder that ``weft control`` made; raises StateError where there is none."""
    if not (folder / "trust-domain").exists():
        raise StateError(f"{folder} is not the state of a control plane: start weft control --state {folder} first")
    domain = _settle_trust_domain(folder, None)
    return State(folder, domain, ca.open_authority(folder / "ca", domain, now=now), Ledger(folder / "control.sqlite"))


def workload_identity(trust_domain: str, text: str) -> str:
    """The SPIFFE ID of ``namespace/serviceaccount``, or of a whole SPIFFE ID of this trust domain; raises ValueError."""
    prefix = f"spiffe://{trust_domain}/ns/"
    if text.startswith("spiffe://"):
        namespace, _, account = text.removeprefix(prefix).partition("/sa/")
        right_domain = text.startswith(prefix)
    else:
        namespace, _, account = text.partition("/")
        right_domain = True
    segments = (namespace, account)
    if not right_domain or any(_SEGMENT.match(part) is None or part in (".", "..") for part in segments):
        raise ValueError(f"{text!r} is neither namespace/serviceaccount nor {prefix}<namespace>/sa/<serviceaccount>")
    return f"{prefix}{namespace}/sa/{account}"


def _settle_trust_domain(folder: Path, asked: str | None) -> str:
    path = folder / "trust-domain"
    if path.exists():
        kept = keyfiles.read(path).decode("ascii", "replace").strip()
        if asked is not None and asked != kept:
            raise StateError(f"{folder} is the state of trust domain {kept}, not {asked}: use another --state")
        return kept
    domain = asked or DEFAULT_TRUST_DOMAIN
    if _TRUST_DOMAIN.match(domain) is None:
        raise StateError(f"{domain!r} is not a trust domain: lower-case letters, digits, dots, dashes and underscores")
    keyfiles.write(path, f"{domain}\n".encode(), mode=keyfiles.PUBLIC)
    return domain
