"""Messages: what is no query ends in the right refusal or in silence, replies fit and say so where they were cut, and only true replies pass."""

from __future__ import annotations

import os
import struct

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.dns.answering import Answer
from runtime.dns.message import (
    MAX_MESSAGE_BYTES,
    QueryError,
    answers,
    asking,
    chained_reply,
    failure,
    is_truncated,
    known_reply,
    passed_on,
    read_query,
    with_id,
)


def query(name: str = "a.test.", kind: str = "A", *, edns: int | None = None, payload: int = 1232) -> bytes:
    made = dns.message.make_query(name, kind, use_edns=edns if edns is not None else False, payload=payload)
    made.id = 0x1234
    return made.to_wire()


PLAIN = query()


def refusal(wire: bytes) -> bytes:
    with pytest.raises(QueryError) as caught:
        read_query(wire, stream=False)
    return caught.value.reply


@pytest.mark.parametrize(
    ("wire", "rcode"),
    [
        pytest.param(PLAIN[:4] + b"\x00\x00" + PLAIN[6:], dns.rcode.FORMERR, id="no question"),
        pytest.param(PLAIN[:4] + b"\x00\x02" + PLAIN[6:] + PLAIN[12:], dns.rcode.FORMERR, id="two questions"),
        pytest.param(PLAIN[:-3], dns.rcode.FORMERR, id="cut"),
        pytest.param(PLAIN + b"more", dns.rcode.FORMERR, id="junk behind"),
        pytest.param(PLAIN[:12] + b"\xc0\x0c" + PLAIN[-4:], dns.rcode.FORMERR, id="a name that points at itself"),
        pytest.param(PLAIN[:12] + b"\x40a\x00" + PLAIN[-4:], dns.rcode.FORMERR, id="a label of no known form"),
        pytest.param(PLAIN + bytes(4096), dns.rcode.FORMERR, id="larger than any query"),
        pytest.param(PLAIN[:2] + b"\x28" + PLAIN[3:], dns.rcode.NOTIMP, id="an update"),
        pytest.param(query(kind="AXFR"), dns.rcode.REFUSED, id="a whole zone"),
        pytest.param(PLAIN[:-1] + b"\x03", dns.rcode.REFUSED, id="another class"),
        pytest.param(query(edns=1), dns.rcode.BADVERS, id="an EDNS to come"),
    ],
)
def test_what_is_not_answered_is_refused_under_its_id_and_with_no_more_bytes(
    wire: bytes, rcode: dns.rcode.Rcode
) -> None:
    reply = refusal(wire)
    found = dns.message.from_wire(reply)
    assert (found.id, found.rcode(), bool(found.flags & dns.flags.QR)) == (0x1234, rcode, True)
    assert len(reply) <= max(len(wire), 12)


@pytest.mark.parametrize("wire", [b"", b"\x12\x34", PLAIN[:11], with_id(PLAIN, 1)[:2] + b"\x81" + PLAIN[3:]])
def test_what_is_no_message_and_what_is_a_reply_is_met_with_silence(wire: bytes) -> None:
    assert refusal(wire) == b""


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(PLAIN)), st.booleans())
def test_any_bytes_are_a_query_or_refused(noise: bytes, kept: int, stream: bool) -> None:
    for wire in (noise, PLAIN[:kept] + noise, PLAIN[:4] + b"\x00\x01" + noise):
        try:
            read = read_query(wire, stream=stream)
        except QueryError as error:
            larger = len(error.reply) > max(len(wire), 12)
            assert not larger
        else:
            assert dns.message.from_wire(failure(read)).rcode() == dns.rcode.SERVFAIL


def test_a_reply_bears_the_name_as_it_was_asked_and_says_that_it_is_known_here() -> None:
    read = read_query(query("WwW.Shop.tesT."), stream=False)
    assert (read.name, read.kind) == ("www.shop.test", 1)
    reply = dns.message.from_wire(known_reply(read, Answer((), ("1.1.1.1", "1.1.1.2"))))
    assert reply.question[0].name.to_text() == "WwW.Shop.tesT."
    assert sorted(row.to_text() for row in reply.answer[0]) == ["1.1.1.1", "1.1.1.2"]
    assert (reply.answer[0].ttl, reply.edns) == (30, -1)
    assert reply.flags & (dns.flags.AA | dns.flags.RA | dns.flags.QR | dns.flags.RD) == 0x8580


def test_nothing_of_a_family_is_an_empty_answer_and_a_chain_comes_before_its_end() -> None:
    read = read_query(query("a.test.corp.", edns=0), stream=False)
    empty = dns.message.from_wire(known_reply(read, Answer()))
    assert (empty.rcode(), empty.answer, empty.edns) == (dns.rcode.NOERROR, [], 0)
    chained = dns.message.from_wire(known_reply(read, Answer(("a.test",), ("1.1.1.1",))))
    assert [one.to_text() for one in chained.answer] == ["a.test.corp. 30 IN CNAME a.test.", "a.test. 30 IN A 1.1.1.1"]
    assert dns.message.from_wire(known_reply(read, Answer(fails=True))).rcode() == dns.rcode.SERVFAIL
    assert dns.message.from_wire(known_reply(read, Answer(("a" * 80 + ".test",)))).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    ("edns", "payload", "stream", "whole", "limit"),
    [
        (None, 0, False, False, 512),
        (0, 100, False, False, 512),
        (0, 1232, False, True, 1232),
        (0, 65_000, True, True, 65_535),
    ],
)
def test_a_reply_fits_what_its_client_takes_or_says_that_it_was_cut(
    edns: int | None, payload: int, stream: bool, whole: bool, limit: int
) -> None:
    read = read_query(query("giant.", edns=edns, payload=payload), stream=stream)
    known = tuple(f"240.0.0.{number}" for number in range(64))
    theirs = dns.message.make_response(read.message)
    theirs.answer.append(dns.rrset.from_text_list("giant.", 5, "IN", "A", list(known)))
    for wire in (known_reply(read, Answer((), known)), passed_on(read, with_id(theirs.to_wire(max_size=65_535), 7))):
        reply = dns.message.from_wire(wire)
        assert (len(wire) <= limit, is_truncated(wire), len(reply.answer[0]) == 64) == (True, not whole, whole)
        assert reply.id == 0x1234
        assert len(reply.answer[0]) >= 20


def test_over_udp_nobody_gets_more_than_the_limit_and_over_tcp_as_much_as_a_message_holds() -> None:
    known = Answer((), tuple(f"10.{number // 250}.{number % 250}.1" for number in range(5000)))
    for stream, limit in ((False, 4096), (True, MAX_MESSAGE_BYTES)):
        wire = known_reply(read_query(query(edns=0, payload=65_000), stream=stream), known)
        assert len(wire) <= limit
        assert is_truncated(wire) != stream


def test_what_another_server_said_of_an_aliass_end_stands_behind_the_alias() -> None:
    read = read_query(query("ext.ns.svc.cluster.local.", edns=0), stream=False)
    asked = asking(read, "www.outside.test")
    assert dns.message.from_wire(asked).question[0].to_text() == "www.outside.test. IN A"
    theirs = dns.message.make_response(dns.message.from_wire(asked))
    theirs.answer.append(dns.rrset.from_text("www.outside.test.", 60, "IN", "A", "9.9.9.9"))
    reply = dns.message.from_wire(chained_reply(read, Answer(("www.outside.test",)), theirs.to_wire()))
    assert [one[0].to_text() for one in reply.answer] == ["www.outside.test.", "9.9.9.9"]
    theirs.set_rcode(dns.rcode.NXDOMAIN)
    nobody = dns.message.from_wire(chained_reply(read, Answer(("www.outside.test",)), theirs.to_wire()))
    assert nobody.rcode() == dns.rcode.NXDOMAIN
    theirs.flags |= dns.flags.TC
    assert is_truncated(chained_reply(read, Answer(("www.outside.test",)), theirs.to_wire()))
    broken = dns.message.from_wire(chained_reply(read, Answer(("www.outside.test",)), theirs.to_wire()[:-2]))
    assert broken.rcode() == dns.rcode.SERVFAIL


def test_only_a_reply_to_the_same_question_under_the_same_id_is_one() -> None:
    asked = query("a.test.", edns=0)
    true = dns.message.make_response(dns.message.from_wire(asked)).to_wire()
    assert answers(true, asked)
    assert answers(true.replace(b"test", b"TEST"), asked)
    other = dns.message.make_response(dns.message.from_wire(query("b.test."))).to_wire()
    six = dns.message.make_response(dns.message.from_wire(query("a.test.", "AAAA"))).to_wire()
    for wrong in (other, six, with_id(true, 0x1235), asked, true[:11], true[:12], b""):
        assert not answers(wrong, asked)
    refused = struct.pack("!HHHHHH", 0x1234, 0x8185, 0, 0, 0, 0)
    assert answers(refused, asked)
    assert not answers(struct.pack("!HHHHHH", 0x1234, 0x8180, 0, 0, 0, 0), asked)


def rich() -> bytes:
    """A reply with records of many types, compression and EDNS."""
    made = dns.message.make_response(dns.message.make_query("a.test.", "ANY", use_edns=0, payload=4096))
    for row in (
        "a.test. 5 IN MX 10 mail.a.test.",
        'a.test. 5 IN TXT "some text" "more"',
        "a.test. 5 IN SOA ns.a.test. root.a.test. 1 2 3 4 5",
        "a.test. 5 IN SRV 1 2 443 b.a.test.",
        'a.test. 5 IN CAA 0 issue "ca.test"',
        "a.test. 5 IN HTTPS 1 . alpn=h2 ipv4hint=1.2.3.4",
        'a.test. 5 IN NAPTR 1 2 "u" "sip" "!^.*$!sip:a@b!" .',
    ):
        name, ttl, _, kind, data = row.split(" ", 4)
        made.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
    made.answer.append(dns.rrset.from_text_list("a.test.", 5, "IN", "A", [f"10.0.0.{number}" for number in range(40)]))
    made.authority.append(dns.rrset.from_text("test.", 5, "IN", "NS", "ns.test."))
    made.additional.append(dns.rrset.from_text("ns.test.", 5, "IN", "AAAA", "fd00::1"))
    return made.to_wire()


RICH = rich()
MUTATIONS = int(os.environ.get("WEFT_DNS_MUTATIONS", "60"))


@settings(max_examples=MUTATIONS, deadline=None)
@given(st.lists(st.tuples(st.integers(2, len(RICH) - 1), st.integers(0, 255)), max_size=6), st.integers(12, len(RICH)))
def test_whatever_a_resolver_says_the_client_gets_a_message_that_fits(
    changes: list[tuple[int, int]], kept: int
) -> None:
    wire = bytearray(RICH)
    for at, value in changes:
        wire[at] = value
    for found in (bytes(wire), bytes(wire[:kept])):
        for edns, payload in ((None, 0), (0, 1232)):
            read = read_query(query("a.test.", "ANY", edns=edns, payload=payload), stream=False)
            for reply in (passed_on(read, found), chained_reply(read, Answer(("b.test",)), found)):
                assert len(reply) <= max(512, payload)
                assert reply[:2] == b"\x12\x34"
