"""``/ca``: who asks, is the request sound, sign, record. The one place where an identity is handed out.

The first certificate is bought with a join token, which is bound to one SPIFFE ID. Renewals are asked for over a connection that shows the
current certificate, and give the same identity. A token is used up only once everything else was right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import trio

from runtime.control.ca import Authority
from runtime.control.csr import require_key, require_names, require_request
from runtime.control.interface import Reason, SignedCertificate, SignRequest
from runtime.control.ledger import IssuedCertificate, Ledger, LedgerError
from runtime.control.refusal import Refused
from runtime.control.routing import Access, Page, header, json_reply, read_json
from runtime.service import ServiceRequest, ServiceResponse

MIN_TTL_S = 5.0
"""A certificate that lives shorter cannot be renewed in time by anyone."""


class Issuance:
    """Signs for those who may ask. Holds the authority, which is replaced whole when its intermediate is renewed."""

    def __init__(self, authority: Authority, ledger: Ledger, *, clock: Callable[[], float], svid_ttl_s: float) -> None:
        self.authority = authority
        self.issued = {"token": 0, "renewal": 0}
        self._ledger = ledger
        self._clock = clock
        self._svid_ttl_s = max(svid_ttl_s, MIN_TTL_S)

    def pages(self) -> list[Page]:
        """The routes of the certificate authority."""
        return [
            Page("POST", "/ca/sign", Access.ANYONE, self._sign),
            Page("GET", "/ca/bundle", Access.ANYONE, self._bundle),
        ]

    def issue(self, asked: SignRequest, caller: str) -> SignedCertificate:
        """Checks and signs one request. ``caller`` is the identity of the client certificate, "" for none. Blocks; raises Refused."""
        now = self._clock()
        by = "token" if asked.token else "renewal"
        identity = self._entitled(asked.token, caller, now)
        request = require_request(asked.csr)
        key = require_key(request)
        require_names(request, identity)
        if asked.token and self._ledger.use_token(asked.token, now=now) != identity:
            raise Refused(Reason.TOKEN, "the join token was used up a moment ago: make a new one with weft ca token")
        leaf = self.authority.sign_svid(key, identity, now=now, life_s=self._svid_ttl_s)
        expires_at = leaf.not_valid_after_utc.timestamp()
        self._ledger.record(IssuedCertificate(f"{leaf.serial_number:x}", identity, by, now, expires_at))
        return SignedCertificate(
            certificate_chain=self.authority.chain(leaf).decode(),
            bundle=self.authority.bundle.decode(),
            identity=identity,
            issued_at=now,
            expires_at=expires_at,
        )

    def _entitled(self, token: str, caller: str, now: float) -> str:
        if not token:
            if not caller.startswith(f"spiffe://{self.authority.trust_domain}/"):
                raise Refused(
                    Reason.UNAUTHENTICATED, "show a join token, or the current certificate as client certificate"
                )
            return caller
        identity = self._ledger.token_identity(token, now=now)
        if identity is None:
            raise Refused(
                Reason.TOKEN, "the join token is unknown, expired or used up: make a new one with weft ca token"
            )
        return identity

    async def _sign(self, request: ServiceRequest, _rest: str) -> ServiceResponse:
        asked = read_json(request, SignRequest)
        try:
            signed = await trio.to_thread.run_sync(self.issue, asked, request.peer.identity)
        except LedgerError as error:
            # What cannot be recorded is not signed.
            raise Refused(Reason.UNAVAILABLE, str(error)) from None
        self.issued["token" if asked.token else "renewal"] += 1
        return json_reply(signed)

    async def _bundle(self, request: ServiceRequest, _rest: str) -> ServiceResponse:
        bundle = self.authority.bundle
        etag = f'"{hashlib.sha256(bundle).hexdigest()[:32]}"'.encode()
        if header(request.headers, b"if-none-match") == etag:
            return ServiceResponse(status=304, headers=((b"etag", etag),))
        headers = ((b"content-type", b"application/x-pem-file"), (b"etag", etag))
        return ServiceResponse(headers=headers, body=bundle)
