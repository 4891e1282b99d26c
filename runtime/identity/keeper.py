"""Obtains the SVID, keeps it fresh, and never gives up: the last good one serves until it expires, however long the authority is away."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from policies.spiffe import SpiffeError
from runtime.discovery.control import ControlClient, ControlError
from runtime.identity.certificate import read_certificates, read_svid
from runtime.identity.rotation import retry_after, rotate_at
from runtime.identity.saved import SavedIdentity
from snapshot.live import Svid

BUNDLE_S = 4.0
"""How often the trust bundle is asked for; it must not be older than 5 s."""

LONGEST_NAP_S = 30.0
"""The wall clock is looked at this often, because a suspended machine's sleep is longer than asked for."""

log = logging.getLogger("weft.proxy")


class IdentityKeeper:
    """Owns the current SVID. ``problem`` is what went wrong last ("" since the last success), ``failures`` how often in a row."""

    def __init__(
        self,
        control: ControlClient,
        saved: SavedIdentity,
        token_file: str,
        *,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.svid: Svid | None = None
        self.problem = ""
        self.failures = 0
        self.failed_total = 0
        self._control = control
        self._saved = saved
        self._token_file = token_file
        self._clock = clock
        self._draw = draw

    async def run(self, emit: Callable[[Svid], Awaitable[None]]) -> None:
        """Emits the saved SVID where it is valid, then each new one. Runs until cancelled."""
        self.svid = await trio.to_thread.run_sync(partial(self._saved.load, now=self._clock()))
        if self.svid is not None:
            await self._control.show(self._saved.certificate)
            await emit(self.svid)
        while True:
            if self.svid is not None and not self.failures:
                await self._sleep_until(rotate_at(self.svid, now=self._clock(), draw=self._draw()))
            try:
                self.svid = await self._obtain()
            except (ControlError, SpiffeError, OSError) as error:
                await self._wait_after(error)
                continue
            self.failures, self.problem = 0, ""
            await emit(self.svid)

    async def follow_bundle(self, emit: Callable[[Svid], Awaitable[None]]) -> None:
        """Takes up a changed trust bundle between rotations: a root that is added, or taken away, counts within BUNDLE_S."""
        while True:
            await trio.sleep(BUNDLE_S)
            if self.svid is None:
                continue
            try:
                bundle = await self._control.read_bundle()
                read_certificates(bundle)
            except (ControlError, SpiffeError):
                continue
            if self.svid is not None and bundle != self.svid.bundle:
                self.svid = msgspec.structs.replace(self.svid, bundle=bundle)
                log.info("the trust bundle changed")
                await self._keep(self.svid)
                await emit(self.svid)

    async def _obtain(self) -> Svid:
        key = ec.generate_private_key(ec.SECP256R1())
        current = self.svid if self.svid is not None and self.svid.expires_at > self._clock() else None
        token = "" if current is not None else await trio.to_thread.run_sync(_read_token, self._token_file)
        signed = await self._control.sign(_request(key, current.identity if current else ""), token)
        svid = read_svid(signed.certificate_chain.encode(), _pem(key), signed.bundle.encode())
        # The authority backdates notBefore; half of the life counts from when it really signed.
        svid = msgspec.structs.replace(svid, issued_at=signed.issued_at)
        if current is not None and svid.identity != current.identity:
            raise SpiffeError(f"asked to renew {current.identity}, got {svid.identity}")
        await self._keep(svid)
        log.info("identity %s until %s", svid.identity, _when(svid.expires_at))
        return svid

    async def _keep(self, svid: Svid) -> None:
        try:
            await trio.to_thread.run_sync(self._saved.save, svid)
            await self._control.show(self._saved.certificate)
        except OSError as error:
            # A full or read-only disk costs the next restart its identity, not this process.
            log.warning("the certificate could not be saved: %s", error)

    async def _wait_after(self, error: Exception) -> None:
        self.failures += 1
        self.failed_total += 1
        left = self.svid.expires_at - self._clock() if self.svid is not None else 0.0
        state = f"the certificate is valid for {left:.0f} s more" if left > 0 else "there is no valid certificate"
        if str(error) != self.problem:
            log.warning("no new certificate (%s): %s", state, error)
        self.problem = str(error)
        await trio.sleep(retry_after(self.failures, valid_for_s=left, draw=self._draw()))

    async def _sleep_until(self, when: float) -> None:
        while (left := when - self._clock()) > 0:  # noqa: ASYNC110  the wall clock sets no event
            await trio.sleep(min(left, LONGEST_NAP_S))


def _read_token(path: str) -> str:
    if not path:
        raise OSError("no certificate and no join_token in the bootstrap: make one with weft ca token")
    token = Path(path).read_text().strip()
    if not token:
        raise OSError(f"the join token file {path} is empty")
    return token


def _request(key: ec.EllipticCurvePrivateKey, identity: str) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if identity:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
        builder = builder.add_extension(names, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
