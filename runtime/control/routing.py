"""From a request to the page that answers it: one literal table, one check of who calls, one form of refusal."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import TypeVar

import msgspec

from policies.head import Headers
from runtime.control.interface import MAX_WAIT_S, Reason, Refusal
from runtime.control.refusal import Refused
from runtime.service import ServiceRequest, ServiceResponse
from snapshot.decoding import json_decoder

T = TypeVar("T")
JSON = (b"content-type", b"application/json")


class Access(Enum):
    """Who may call a page."""

    ANYONE = "anyone"
    WORKLOAD = "workload"
    PUBLISHER = "publisher"


class Page(msgspec.Struct, frozen=True):
    """One route. ``path`` ending in a slash takes every path below it, and ``answer`` gets the rest; otherwise the rest is empty."""

    method: str
    path: str
    access: Access
    answer: Callable[[ServiceRequest, str], Awaitable[ServiceResponse]]


class Router:
    """Answers requests from a table of pages and counts refusals by reason."""

    def __init__(self, pages: Sequence[Page], *, trust_domain: str, publish_token: str = "") -> None:
        self._pages = pages
        self._domain = f"spiffe://{trust_domain}/"
        self._publish_token = publish_token.encode()
        self.refused: dict[Reason, int] = dict.fromkeys(Reason, 0)

    async def answer(self, request: ServiceRequest) -> ServiceResponse:
        """The reply to one request; a refusal becomes its JSON body and status."""
        try:
            page, rest = self._find(request)
            self._require_access(page.access, request)
            return await page.answer(request, rest)
        except Refused as refused:
            self.refused[refused.reason] += 1
            return refusal_reply(refused)

    def _find(self, request: ServiceRequest) -> tuple[Page, str]:
        allowed = []
        for page in self._pages:
            below = page.path.endswith("/")
            if request.path == page.path or (below and request.path.startswith(page.path)):
                if page.method == request.method:
                    return page, request.path.removeprefix(page.path)
                allowed.append(page.method)
        if allowed:
            raise Refused(Reason.METHOD, f"{request.path} takes {', '.join(allowed)}, not {request.method}")
        raise Refused(Reason.NOT_FOUND, f"the control plane has no page {request.path}")

    def _require_access(self, access: Access, request: ServiceRequest) -> None:
        if access is Access.WORKLOAD and not request.peer.identity.startswith(self._domain):
            raise Refused(
                Reason.UNAUTHENTICATED, f"{request.path} needs a client certificate with an identity of {self._domain}"
            )
        if access is Access.PUBLISHER:
            self._require_publisher(request)

    def _require_publisher(self, request: ServiceRequest) -> None:
        if not self._publish_token:
            raise Refused(Reason.PUBLISH_TOKEN, "publishing over HTTP is off: start weft control with --publish-token")
        scheme, _, given = header(request.headers, b"authorization").partition(b" ")
        if scheme.lower() != b"bearer":
            raise Refused(Reason.UNAUTHENTICATED, "writing takes the publish token (Authorization: Bearer ...)")
        # Compared in constant time, so that the token cannot be found byte by byte.
        if not hmac.compare_digest(given.strip(), self._publish_token):
            raise Refused(Reason.PUBLISH_TOKEN, "the publish token is wrong")


def refusal_reply(refused: Refused) -> ServiceResponse:
    """A refusal as a response."""
    body = msgspec.json.encode(Refusal(reason=refused.reason.value, message=str(refused)))
    return ServiceResponse(status=refused.status, headers=(JSON,), body=body)


def json_reply(value: object, *, status: int = 200) -> ServiceResponse:
    """A value as a JSON response."""
    return ServiceResponse(status=status, headers=(JSON,), body=msgspec.json.encode(value))


def read_json(request: ServiceRequest, shape: type[T]) -> T:
    """The request's body as one type; raises Refused (``malformed``) with the place that is wrong."""
    try:
        return json_decoder(shape).decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(Reason.MALFORMED, f"the body is not a {shape.__name__}: {error}") from None


def header(headers: Headers, name: bytes) -> bytes:
    """The first value of a header (lower-case name), or empty."""
    return next((value for key, value in headers if key == name), b"")


def wait_of(request: ServiceRequest) -> float:
    """How long the caller is ready to wait (``?wait=SECONDS``), at most MAX_WAIT_S; raises Refused (``malformed``)."""
    return min(_number(request, "wait"), MAX_WAIT_S)


def version_of(request: ServiceRequest) -> int | None:
    """The version that the caller has (``?version=N``), or None; raises Refused (``malformed``)."""
    return int(_number(request, "version")) if "version" in request.query else None


def _number(request: ServiceRequest, name: str) -> float:
    text = request.query.get(name, "0")
    # Only plain digits: float() would also take nan, inf and a minus sign.
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 20:
        raise Refused(Reason.MALFORMED, f"{name}={text[:40]} is not a number of at least 0")
    return float(text) if name == "wait" else int(text.partition(".")[0])
