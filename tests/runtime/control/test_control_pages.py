"""The pages by their handlers: who may call what, and what is refused with which reason."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from policies.head import Peer
from runtime.control import ca
from runtime.control.ca_pages import Issuance
from runtime.control.interface import ProxyStatus, Refusal, SignedCertificate, SignRequest, StatusReport
from runtime.control.ledger import Ledger
from runtime.control.naming import Naming, load_naming
from runtime.control.registry import WorkloadRegistry
from runtime.control.routing import Access, Page, Router
from runtime.control.status import FORGET_S, StatusBoard
from runtime.service import ServiceRequest, ServiceResponse
from snapshot.live import RegisteredWorkload, Registry
from snapshot.section import Proxy, Workload
from tests.slices import snapshot_of

NOW = 1_800_000_000.0
DOMAIN = "shop.test"
REVIEWS = f"spiffe://{DOMAIN}/ns/default/sa/reviews"
RATINGS = f"spiffe://{DOMAIN}/ns/default/sa/ratings"
LABELS = (("app", "reviews"),)


def call(method: str, path: str, body: object = None, identity: str = "", **query: str) -> ServiceRequest:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return ServiceRequest(method, path, query, [], raw, Peer("127.0.0.9", 1, "127.0.0.1", 2, identity, tls=True))


def naming() -> Naming:
    proxy = Proxy(workload=Workload(name="reviews", namespace="default", identity=REVIEWS), trust_domain=DOMAIN)
    snapshot = snapshot_of({"reviews": [proxy]}, labels=LABELS)
    return load_naming(snapshot.index, snapshot.digest, snapshot.blobs.__getitem__, None)


class Plane:
    """The pages on one router, as the server puts them together, without sockets and with a clock of the test's."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.namings = [naming()]
        self.ledger = Ledger(folder / "control.sqlite")
        authority = ca.create_or_open(folder / "ca", DOMAIN, now=NOW)
        self.issuance = Issuance(authority, self.ledger, clock=lambda: self.now, svid_ttl_s=3600)
        self.registry = WorkloadRegistry(self.ledger, lambda: self.namings, start=1, lease_s=15)
        self.status = StatusBoard(lambda: {"stable": 3}, clock=lambda: self.now)
        pages = [*self.issuance.pages(), *self.registry.pages(), *self.status.pages()]
        self.router = Router(pages, trust_domain=DOMAIN)

    async def ask(self, *arguments: object, **query: str) -> ServiceResponse:
        return await self.router.answer(call(*arguments, **query))  # type: ignore[arg-type]


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    made = Plane(tmp_path)
    yield made
    made.ledger.close()


def reason(reply: ServiceResponse) -> tuple[int, str]:
    return reply.status, msgspec.json.decode(reply.body, type=Refusal).reason


def csr(key: object = None, *names: x509.GeneralName) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    request = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())  # type: ignore[arg-type]
    return request.public_bytes(serialization.Encoding.PEM).decode()


URI = x509.UniformResourceIdentifier


async def test_a_join_token_buys_a_certificate_once(plane: Plane) -> None:
    token = plane.ledger.create_token(REVIEWS, now=NOW, ttl_s=60, uses=1)
    first = await plane.ask("POST", "/ca/sign", SignRequest(csr(), token))
    signed = msgspec.json.decode(first.body, type=SignedCertificate)
    assert (signed.identity, signed.expires_at) == (REVIEWS, NOW + 3600)
    leaf = x509.load_pem_x509_certificate(signed.certificate_chain.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [URI(REVIEWS)]
    assert signed.bundle.encode() == plane.issuance.authority.bundle
    assert [row.identity for row in plane.ledger.issued()] == [REVIEWS]
    assert reason(await plane.ask("POST", "/ca/sign", SignRequest(csr(), token))) == (403, "token")


async def test_the_current_certificate_renews_the_same_identity_and_no_other(plane: Plane) -> None:
    renewed = await plane.ask("POST", "/ca/sign", SignRequest(csr(None, URI(REVIEWS))), REVIEWS)
    assert msgspec.json.decode(renewed.body, type=SignedCertificate).identity == REVIEWS
    other = await plane.ask("POST", "/ca/sign", SignRequest(csr(None, URI(RATINGS))), REVIEWS)
    assert reason(other) == (403, "identity")


WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)


@pytest.mark.parametrize(
    ("request_pem", "answer"),
    [
        ("", (400, "csr")),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", (400, "csr")),
        ("x" * 20_000, (400, "csr")),
        (csr(WEAK), (400, "csr")),
        (csr(ec.generate_private_key(ec.SECP384R1())), (400, "csr")),
        (csr(None, URI(RATINGS)), (403, "identity")),
        (csr(None, URI(REVIEWS), URI(RATINGS)), (403, "identity")),
        (csr(None, URI(REVIEWS), x509.DNSName("reviews")), (403, "identity")),
        (csr(None, x509.DNSName("reviews")), (403, "identity")),
    ],
)
async def test_an_unsound_request_is_refused_and_does_not_use_up_the_token(
    plane: Plane, request_pem: str, answer: tuple[int, str]
) -> None:
    token = plane.ledger.create_token(REVIEWS, now=NOW, ttl_s=60, uses=1)
    assert reason(await plane.ask("POST", "/ca/sign", SignRequest(request_pem, token))) == answer
    assert plane.ledger.token_identity(token, now=NOW) == REVIEWS
    assert plane.ledger.issued() == []


async def test_a_request_whose_signature_was_changed_is_refused(plane: Plane) -> None:
    request = x509.load_pem_x509_csr(csr().encode())
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.b64encode(der).decode()}\n-----END CERTIFICATE REQUEST-----\n"
    assert reason(await plane.ask("POST", "/ca/sign", SignRequest(pem), REVIEWS)) == (400, "csr")


@pytest.mark.parametrize(
    "caller", ["", "spiffe://other.test/ns/default/sa/reviews", "spiffe://shop.test.evil/ns/a/sa/b"]
)
async def test_without_token_and_without_an_identity_of_the_domain_nothing_is_signed(plane: Plane, caller: str) -> None:
    assert reason(await plane.ask("POST", "/ca/sign", SignRequest(csr()), caller)) == (401, "unauthenticated")


async def test_an_expired_token_buys_nothing(plane: Plane) -> None:
    token = plane.ledger.create_token(REVIEWS, now=NOW, ttl_s=60, uses=1)
    plane.now += 60
    assert reason(await plane.ask("POST", "/ca/sign", SignRequest(csr(), token))) == (403, "token")


async def test_the_bundle_is_not_sent_again_to_who_has_it(plane: Plane) -> None:
    first = await plane.ask("GET", "/ca/bundle")
    assert first.body == plane.issuance.authority.bundle
    again = call("GET", "/ca/bundle")
    again.headers = [(b"if-none-match", dict(first.headers)[b"etag"])]
    assert (await plane.router.answer(again)).status == 304


def claim(name: str = "reviews-1", address: str = "127.0.0.3", **fields: object) -> RegisteredWorkload:
    made = RegisteredWorkload("default", name, address, LABELS, "")
    return msgspec.structs.replace(made, **fields)


async def test_a_workload_registers_under_its_certificates_identity(plane: Plane) -> None:
    forged = claim(identity=RATINGS)
    assert (await plane.ask("PUT", "/registry/default/reviews-1", forged, REVIEWS)).status == 200
    reply = await plane.ask("GET", "/registry", None, REVIEWS)
    assert msgspec.json.decode(reply.body, type=Registry).workloads == (claim(identity=REVIEWS),)


async def test_labels_that_the_snapshot_does_not_know_are_not_registered(plane: Plane) -> None:
    more = claim(labels=(("app", "reviews"), ("tier", "payments")))
    assert (await plane.ask("PUT", "/registry/default/reviews-1", more, REVIEWS)).status == 200
    reply = await plane.ask("GET", "/registry", None, REVIEWS)
    assert msgspec.json.decode(reply.body, type=Registry).workloads[0].labels == LABELS


@pytest.mark.parametrize(
    ("path", "workload", "identity", "answer"),
    [
        ("default/reviews-1", claim(), "", (401, "unauthenticated")),
        ("default/reviews-1", claim(), RATINGS, (403, "identity")),
        ("default/reviews-1", claim(labels=(("app", "other"),)), REVIEWS, (403, "naming")),
        ("default/reviews-1", claim(labels=(*LABELS, ("app", "other"))), REVIEWS, (403, "naming")),
        ("other/reviews-1", claim(namespace="other"), REVIEWS, (403, "naming")),
        ("default/reviews-2", claim(), REVIEWS, (400, "malformed")),
        ("default/reviews-1/x", claim(), REVIEWS, (400, "malformed")),
        ("default", claim(), REVIEWS, (400, "malformed")),
        ("default/reviews-1", b"{", REVIEWS, (400, "malformed")),
        ("default/reviews-1", claim(address="0.0.0.0"), REVIEWS, (400, "address")),
        ("default/reviews-1", claim(address="::"), REVIEWS, (400, "address")),
        ("default/reviews-1", claim(address="224.0.0.1"), REVIEWS, (400, "address")),
        ("default/reviews-1", claim(address="255.255.255.255"), REVIEWS, (400, "address")),
        ("default/reviews-1", claim(address="reviews.example"), REVIEWS, (400, "address")),
        ("default/reviews-1", claim(ports=(("http", 0),)), REVIEWS, (400, "address")),
        ("default/reviews-1", claim(ports=(("http", 70_000),)), REVIEWS, (400, "address")),
        ("default/reviews-1", claim(locality="x" * 300), REVIEWS, (400, "malformed")),
    ],
)
async def test_a_registration_that_is_not_the_callers_to_make_is_refused(
    plane: Plane, path: str, workload: object, identity: str, answer: tuple[int, str]
) -> None:
    assert reason(await plane.ask("PUT", f"/registry/{path}", workload, identity)) == answer
    assert len(plane.registry.leases) == 0


async def test_before_the_first_publish_nobody_can_register(plane: Plane) -> None:
    plane.namings = []
    assert reason(await plane.ask("PUT", "/registry/default/reviews-1", claim(), REVIEWS)) == (503, "unavailable")


async def test_a_reader_that_waits_gets_the_next_version(plane: Plane) -> None:
    version = str(plane.registry.board.version)
    replies = []

    async def read() -> None:
        replies.append(await plane.ask("GET", "/registry", None, RATINGS, version=version, wait="30"))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await plane.ask("PUT", "/registry/default/reviews-1", claim(), REVIEWS)
    assert {reply.status for reply in replies} == {200}
    assert {msgspec.json.decode(reply.body, type=Registry).version for reply in replies} == {int(version) + 1}


async def test_a_reader_without_news_gets_304_when_its_time_is_over(
    plane: Plane, autojump_clock: trio.testing.MockClock
) -> None:
    started = trio.current_time()
    version = str(plane.registry.board.version)
    reply = await plane.ask("GET", "/registry", None, REVIEWS, version=version, wait="5000")
    assert reply.status == 304
    assert trio.current_time() - started == pytest.approx(30), "the wait is capped"


async def test_a_registration_ends_with_its_lease_and_readers_are_told(
    plane: Plane, mock_clock: trio.testing.MockClock
) -> None:
    await plane.ask("PUT", "/registry/default/reviews-1", claim(), REVIEWS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plane.registry.expire_forever)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(14.9)
        await trio.testing.wait_all_tasks_blocked()
        assert len(plane.registry.leases) == 1
        version = plane.registry.board.version
        mock_clock.jump(0.2)
        assert await plane.registry.board.wait_other(version, wait_s=1)
        assert len(plane.registry.leases) == 0
        nursery.cancel_scope.cancel()


async def test_a_workload_that_says_goodbye_is_gone_at_once(plane: Plane) -> None:
    await plane.ask("PUT", "/registry/default/reviews-1", claim(), REVIEWS)
    stranger = await plane.ask("DELETE", "/registry/default/reviews-1", None, RATINGS)
    assert reason(stranger) == (409, "conflict")
    assert (await plane.ask("DELETE", "/registry/default/reviews-1", None, REVIEWS)).status == 204
    assert len(plane.registry.leases) == 0
    assert plane.ledger.registrations() == []


async def test_without_a_working_ledger_nothing_is_signed_but_registrations_go_on(plane: Plane) -> None:
    plane.ledger._connection.execute("PRAGMA query_only=ON")
    assert reason(await plane.ask("POST", "/ca/sign", SignRequest(csr()), REVIEWS)) == (503, "unavailable")
    assert plane.issuance.issued == {"token": 0, "renewal": 0}
    assert (await plane.ask("PUT", "/registry/default/reviews-1", claim(), REVIEWS)).status == 200
    assert len(plane.registry.leases) == 1


async def test_one_replica_leaves_and_the_other_stays(plane: Plane) -> None:
    await plane.ask("PUT", "/registry/default/reviews-1", claim(), REVIEWS)
    await plane.ask("PUT", "/registry/default/reviews-1", claim(address="127.0.0.4"), REVIEWS)
    gone = await plane.ask("DELETE", "/registry/default/reviews-1", None, REVIEWS, address="127.0.0.3")
    assert gone.status == 204
    left = claim(address="127.0.0.4", identity=REVIEWS)
    assert plane.registry.leases.registry(0).workloads == (left,)
    assert plane.ledger.registrations() == [left]


async def test_registrations_and_versions_outlive_a_restart(plane: Plane) -> None:
    await plane.ask("PUT", "/registry/default/reviews-1", claim(), REVIEWS)
    again = WorkloadRegistry(plane.ledger, lambda: plane.namings, start=2, lease_s=15)
    await again.restore()
    assert again.leases.registry(0).workloads == (claim(identity=REVIEWS),)
    assert again.board.version > plane.registry.board.version


async def test_a_proxy_reports_what_it_runs_and_everyone_can_read_it(plane: Plane) -> None:
    sent = ProxyStatus(proxy="", namespace="default", name="reviews-1", version=3, snapshot="ab", error="x" * 9000)
    assert (await plane.ask("PUT", "/status/default/reviews-1", sent, REVIEWS)).status == 204
    report = msgspec.json.decode((await plane.ask("GET", "/status")).body, type=StatusReport)
    assert report.published == {"stable": 3}
    (status,) = report.proxies
    assert (status.proxy, status.identity, status.seen_at) == ("default/reviews-1", REVIEWS, NOW)
    assert len(status.error) == 4096


async def test_only_a_report_that_differs_wakes_readers(plane: Plane) -> None:
    sent = ProxyStatus(proxy="a", namespace="default", version=3)
    plane.status.put(sent, REVIEWS)
    version = plane.status.board.version
    plane.now += 5
    plane.status.put(sent, REVIEWS)
    assert plane.status.board.version == version
    plane.status.put(msgspec.structs.replace(sent, version=4), REVIEWS)
    assert plane.status.board.version == version + 1


async def test_a_proxy_cannot_report_for_another_identity_or_namespace(plane: Plane) -> None:
    sent = ProxyStatus(proxy="", namespace="default")
    assert (await plane.ask("PUT", "/status/p", sent, REVIEWS)).status == 204
    assert reason(await plane.ask("PUT", "/status/p", sent, RATINGS)) == (409, "conflict")
    elsewhere = ProxyStatus(proxy="", namespace="other")
    assert reason(await plane.ask("PUT", "/status/q", elsewhere, REVIEWS)) == (403, "identity")
    assert reason(await plane.ask("PUT", "/status/q", sent)) == (401, "unauthenticated")


async def test_a_proxy_that_is_silent_for_long_leaves_the_report(plane: Plane) -> None:
    plane.status.put(ProxyStatus(proxy="a"), REVIEWS)
    plane.now += FORGET_S + 1
    assert plane.status.report().proxies == ()


@pytest.mark.parametrize("query", [{"version": "x"}, {"version": "-1"}, {"version": "1", "wait": "nan"}])
async def test_numbers_in_the_query_are_checked(plane: Plane, query: dict[str, str]) -> None:
    assert reason(await plane.ask("GET", "/status", **query)) == (400, "malformed")


async def test_unknown_pages_and_methods_are_told_apart(plane: Plane) -> None:
    assert reason(await plane.ask("GET", "/nothing")) == (404, "not_found")
    assert reason(await plane.ask("DELETE", "/status")) == (405, "method")
    assert {name.value: count for name, count in plane.router.refused.items() if count} == {"not_found": 1, "method": 1}


@pytest.mark.parametrize(
    ("configured", "given", "status"),
    [
        ("", b"", 403),
        ("", b"Bearer ", 403),
        ("secret", b"", 401),
        ("secret", b"Bearer other", 403),
        ("secret", b"secret", 401),
        ("secret", b"bearer secret", 200),
    ],
)
async def test_publishing_takes_the_publish_token(configured: str, given: bytes, status: int) -> None:
    async def fine(_request: ServiceRequest, _rest: str) -> ServiceResponse:
        return ServiceResponse()

    page = Page("PUT", "/store/", Access.PUBLISHER, fine)
    request = call("PUT", "/store/x")
    request.headers = [(b"authorization", given)]
    router = Router([page], trust_domain=DOMAIN, publish_token=configured)
    assert (await router.answer(request)).status == status
