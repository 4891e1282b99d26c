"""DNS messages as bytes: the only place that knows dnspython. What arrives is a stranger's; what is wrong with it ends here, as a reply or silence.

Limits: a query has at most MAX_QUERY_BYTES and one question; a reply over UDP is as large as its client said that it can take, within
UDP_BYTES, and says so where more was to be told (TC).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from runtime.dns.answering import Answer

MAX_QUERY_BYTES = 4096
MAX_MESSAGE_BYTES = 65_535
UDP_BYTES = (512, 4096)
OUR_UDP_BYTES = 1232
"""What we say that we take over UDP: what passes every network whole."""

TTL_S = 30
"""How long an answer of the mesh may be kept (Istio's)."""

MAX_ADDRESSES = 1000
"""Of a name with more, an answer has these many; nobody tries them all."""

HEADER_BYTES = 12
_LARGE_ADDRESS = 28
"""Bytes of an AAAA record whose name stands before it already."""
_NOT_FORWARDED = {dns.rdatatype.AXFR, dns.rdatatype.IXFR, dns.rdatatype.MAILA, dns.rdatatype.MAILB}
_FAILURES = {dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED}


class QueryError(Exception):
    """No query that is answered. ``reply`` is what is said to that; empty where silence is (what is no query, or might be a reply's echo)."""

    def __init__(self, reply: bytes) -> None:
        super().__init__("not a query that is answered")
        self.reply = reply


class Query:
    """One question that arrived. ``name`` is in lower case and has no dot at its end, ``kind`` is the type of record, ``max_bytes`` what a
    reply may have."""

    __slots__ = ("kind", "max_bytes", "message", "name", "wire")

    def __init__(self, wire: bytes, message: dns.message.Message, max_bytes: int) -> None:
        question = message.question[0]
        self.wire = wire
        self.message = message
        self.name = question.name.to_text(omit_final_dot=True).lower()
        self.kind = int(question.rdtype)
        self.max_bytes = max_bytes


def read_query(wire: bytes, *, stream: bool) -> Query:
    """A query; raises QueryError. ``stream`` says that it came over TCP."""
    if len(wire) < HEADER_BYTES or wire[2] & 0x80:
        raise QueryError(b"")
    if wire[2] & 0x78:
        raise QueryError(_bare(wire, dns.rcode.NOTIMP))
    if len(wire) > MAX_QUERY_BYTES or struct.unpack_from("!H", wire, 4)[0] != 1:
        raise QueryError(_bare(wire, dns.rcode.FORMERR))
    try:
        message = dns.message.from_wire(wire)
        question = message.question[0]
    except (dns.exception.DNSException, IndexError, ValueError):
        raise QueryError(_bare(wire, dns.rcode.FORMERR)) from None
    if message.edns > 0:
        raise QueryError(_said(message, dns.rcode.BADVERS))
    if question.rdclass != dns.rdataclass.IN or question.rdtype in _NOT_FORWARDED:
        raise QueryError(_said(message, dns.rcode.REFUSED))
    least, most = UDP_BYTES
    udp = min(max(message.payload, least), most) if message.edns == 0 else least
    return Query(wire, message, MAX_MESSAGE_BYTES if stream else udp)


def _bare(wire: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """A reply without its question, which could not be read."""
    kept = wire[2] & 0x79  # Opcode and RD.
    return wire[:2] + bytes((0x80 | kept, int(rcode))) + bytes(8)


def _said(message: dns.message.Message, rcode: dns.rcode.Rcode) -> bytes:
    response = _response(message)
    response.set_rcode(rcode)
    return response.to_wire()


def _response(message: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(message, recursion_available=True, our_payload=OUR_UDP_BYTES)
    if message.edns > 0:
        response.use_edns(0, payload=OUR_UDP_BYTES)
    return response


def failure(query: Query) -> bytes:
    """The reply where nobody could be asked (SERVFAIL)."""
    return _said(query.message, dns.rcode.SERVFAIL)


def known_reply(query: Query, answer: Answer) -> bytes:
    """The reply with what the mesh knows, records in an order of chance. What is left out for want of room is the end of the addresses."""
    response = _response(query.message)
    response.flags |= dns.flags.AA
    if answer.fails or not _chain(response, query, answer.chain):
        return failure(query)
    owner = dns.name.from_text(answer.chain[-1]) if answer.chain else query.message.question[0].name
    for made in (A, AAAA):
        kind = dns.rdatatype.AAAA if made is AAAA else dns.rdatatype.A
        found = [one for one in answer.addresses if (":" in one) == (made is AAAA)][:MAX_ADDRESSES]
        if found:
            records = [made(dns.rdataclass.IN, kind, address) for address in found]
            response.answer.append(dns.rrset.from_rdata_list(owner, TTL_S, records))
    return _fitting(response, query.max_bytes)


def chained_reply(query: Query, answer: Answer, found: bytes) -> bytes:
    """The reply with the aliases that the mesh knows and what others answered for the name at their end."""
    response = _response(query.message)
    try:
        theirs = dns.message.from_wire(found, ignore_trailing=True)
    except (dns.exception.DNSException, IndexError, ValueError):
        return failure(query)
    if not _chain(response, query, answer.chain):
        return failure(query)
    response.answer += theirs.answer
    response.set_rcode(theirs.rcode())
    response.flags |= theirs.flags & dns.flags.TC
    return _fitting(response, query.max_bytes)


def _chain(response: dns.message.Message, query: Query, chain: Sequence[str]) -> bool:
    """Adds the aliases; False where one is no name of DNS."""
    owner = query.message.question[0].name
    for target in chain:
        try:
            named = dns.name.from_text(target)
        except dns.exception.DNSException:
            return False
        alias = CNAME(dns.rdataclass.IN, dns.rdatatype.CNAME, named)  # type: ignore[no-untyped-call]
        response.answer.append(dns.rrset.from_rdata(owner, TTL_S, alias))
        owner = named
    return True


def _fitting(response: dns.message.Message, max_bytes: int) -> bytes:
    """A message in at most so many bytes: first what only helps, then answers from the end are left out, and TC says so."""
    wire = response.to_wire(max_size=MAX_MESSAGE_BYTES)
    if len(wire) > max_bytes:
        response.flags |= dns.flags.TC
        response.additional, response.authority = [], []
        wire = response.to_wire(max_size=MAX_MESSAGE_BYTES)
    while len(wire) > max_bytes and response.answer:
        last = response.answer.pop()
        kept = list(last)[: -max(1, (len(wire) - max_bytes) // _LARGE_ADDRESS)]
        if kept:
            response.answer.append(dns.rrset.from_rdata_list(last.name, last.ttl, kept))
        wire = response.to_wire(max_size=MAX_MESSAGE_BYTES)
    return wire


# --- what is asked on --------------------------------------------------------------------------------------------------------


def with_id(wire: bytes, number: int) -> bytes:
    """A message under another id."""
    return struct.pack("!H", number) + wire[2:]


def asking(query: Query, name: str) -> bytes:
    """A query for another name, otherwise like this one."""
    if name == query.name:
        return query.wire
    made = dns.message.make_query(dns.name.from_text(name), dns.rdatatype.RdataType.make(query.kind))
    made.flags = query.message.flags
    if query.message.edns == 0:
        made.use_edns(0, ednsflags=query.message.ednsflags, payload=OUR_UDP_BYTES)
    return made.to_wire()


def answers(reply: bytes, asked: bytes) -> bool:
    """Whether bytes from a resolver are the reply to a query: its id and its question, letter by letter. Only a failure may come without one."""
    if len(reply) < HEADER_BYTES or reply[:2] != asked[:2] or not reply[2] & 0x80:
        return False
    if struct.unpack_from("!H", reply, 4)[0] == 0:
        return reply[3] & 0x0F != dns.rcode.NOERROR and len(reply) == HEADER_BYTES
    end = _question_end(asked)
    return reply[4:6] == b"\x00\x01" and reply[HEADER_BYTES:end].lower() == asked[HEADER_BYTES:end].lower()


def _question_end(wire: bytes) -> int:
    """Where the question of a query ends, whose name is not compressed: nothing stands before it."""
    at = HEADER_BYTES
    while at < len(wire) and wire[at]:
        at += wire[at] + 1
    return at + 5


def is_truncated(reply: bytes) -> bool:
    """Whether a reply says that there is more to be told over TCP."""
    return bool(reply[2] & 0x02)


def is_failure(reply: bytes) -> bool:
    """Whether a reply says that its sender cannot, or will not, answer: somebody else may."""
    return reply[3] & 0x0F in _FAILURES


def passed_on(query: Query, found: bytes) -> bytes:
    """Another server's reply as the reply to a query, as it came where it fits."""
    if len(found) <= query.max_bytes:
        return query.wire[:2] + found[2:]
    try:
        message = dns.message.from_wire(found, ignore_trailing=True)
    except (dns.exception.DNSException, IndexError, ValueError):
        return failure(query)
    message.id = query.message.id
    return _fitting(message, query.max_bytes)
