"""The page of names: what the proxy's DNS server answers by itself, or what it would answer to one question."""

from __future__ import annotations

from runtime.dns.answering import AAAA, ANY, HTTPS, SVCB, A
from runtime.dns.server import DnsProxy
from runtime.pages.asked import Asked, json_answer, text_answer
from runtime.service import ServiceRequest, ServiceResponse
from runtime.socket_address import shown
from snapshot.section import Name

KINDS = {"A": A, "AAAA": AAAA, "ANY": ANY, "HTTPS": HTTPS, "SVCB": SVCB}


async def dns(asked: Asked, request: ServiceRequest) -> ServiceResponse:
    """Every name, or with ``?name=NAME`` (and ``type=AAAA``) the answer to one; the addresses of headless services are those of now."""
    server = asked.dns.server
    name = request.query.get("name", "")
    if not name:
        report: dict[str, object] = {
            "serving": asked.dns.serving,
            "resolvers": [shown(*one) for one in server.resolvers().servers],
            "names": [_entry(server, entry) for entry in server.index.entries],
        }
        return json_answer(report)
    kind = request.query.get("type", "A").upper()
    if kind not in KINDS:
        return text_answer(f"type is one of {', '.join(KINDS)}; every other is asked on\n", status=400)
    found = server.answer(name.rstrip(".").lower(), KINDS[kind])
    return json_answer(
        {
            "name": name,
            "type": kind,
            "aliases": list(found.chain),
            "addresses": list(found.addresses),
            "asked_on": found.ask,
            "fails": found.fails,
        }
    )


def _entry(server: DnsProxy, entry: Name) -> dict[str, object]:
    return {
        "names": list(entry.names),
        "addresses": list(entry.addresses or server.addresses_in(entry.cluster)),
        "alias": entry.alias,
        "cluster": entry.cluster,
        "source": str(entry.source),
    }
