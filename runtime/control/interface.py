"""What the control plane's HTTP interface carries as JSON: the types that its clients and its pages share.

Times are seconds since 1970. Unknown fields are ignored, so an older control plane serves a newer proxy. Every refusal is a ``Refusal``
body whose ``reason`` is closed (``Reason``) and is also the label of ``weft_control_refused_total``.
"""

from __future__ import annotations

from enum import Enum

import msgspec

LEASE_S = 15.0
"""How long a registration holds without being refreshed."""

REFRESH_S = 5.0
"""How often a sidecar refreshes its registration."""

MAX_WAIT_S = 30.0
"""The longest that a long poll waits, whatever the client asks."""


class Reason(Enum):
    """Why a call was refused."""

    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    TOKEN = "token"  # noqa: S105  the name of a reason
    IDENTITY = "identity"
    CSR = "csr"
    NAMING = "naming"
    ADDRESS = "address"
    CONFLICT = "conflict"
    PRECONDITION = "precondition"
    NOT_FOUND = "not_found"
    METHOD = "method"
    PUBLISH_TOKEN = "publish_token"  # noqa: S105  the name of a reason
    UNAVAILABLE = "unavailable"


class Refusal(msgspec.Struct, frozen=True):
    """The body of every reply of 400 and above: the closed reason and a sentence with the offending value and the next action."""

    reason: str
    message: str


class SignRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST /ca/sign``: a PKCS#10 request (PEM) and, the first time, a join token. Without a token the client certificate decides."""

    csr: str
    token: str = ""


class SignedCertificate(msgspec.Struct, frozen=True):
    """The answer: leaf first, then the intermediate (PEM), the trust bundle (PEM), and what the leaf says."""

    certificate_chain: str
    bundle: str
    identity: str
    issued_at: float
    expires_at: float


class Registered(msgspec.Struct, frozen=True):
    """``PUT /registry/<namespace>/<name>``: the registry's version now, and how long the lease holds without a refresh."""

    version: int
    lease_s: float


class ProxyStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """``PUT /status/<proxy>``: what one proxy runs. ``proxy`` is the id in the path; ``version`` the release, ``snapshot`` its digest.

    ``break_glass`` is why that release was signed with the key for emergencies ("" where it was not).
    ``error`` is the last problem ("" for none) with its closed ``error_reason``. ``identity`` and ``seen_at`` are set by the control plane.
    """

    proxy: str
    namespace: str = ""
    name: str = ""
    kind: str = "sidecar"
    labels: dict[str, str] = {}
    address: str = ""
    channel: str = "stable"
    version: int = 0
    snapshot: str = ""
    commit: str = ""
    fresh: bool = True
    prepared_at: float = 0.0
    swapped_at: float = 0.0
    error: str = ""
    error_reason: str = ""
    svid_expires_at: float = 0.0
    workers: int = 1
    break_glass: str = ""
    identity: str = ""
    seen_at: float = 0.0


class StatusReport(msgspec.Struct, frozen=True):
    """``GET /status``: all proxies, and per channel what the store has published (``published``: channel -> release version).

    ``version`` grows with every change that a reader would see, so it can be waited on (``?version=N&wait=SECONDS``, 304 on timeout)."""

    version: int
    published: dict[str, int]
    proxies: tuple[ProxyStatus, ...]
