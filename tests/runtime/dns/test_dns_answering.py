"""What names answer, by tables: forms of names, families, wildcards, search domains, aliases, live endpoints."""

from __future__ import annotations

import pytest

from policies.source import SourceRef
from runtime.dns.answering import AAAA, ANY, HTTPS, A, Answer, NameIndex, answer
from runtime.dns.resolv_conf import Resolvers, addresses, parse
from snapshot.section import Name, NameTable

SOURCE = SourceRef("Service", "ns1", "a")
TXT, SRV = 16, 33


def entry(*names: str, to: str = "", cluster: str = "", alias: str = "") -> Name:
    return Name(names, SOURCE, tuple(to.split()), cluster, alias)


TABLES = (
    NameTable(
        "ns1",
        (
            entry("*.b.wildcard", to="11.11.11.11"),
            entry("*.wildcard", to="10.10.10.10"),
            entry("dual.test", to="2.2.2.2 2001:db8::1"),
            entry("ipv6.test", to="2001:db8::1"),
            entry(
                "productpage.ns1.svc.cluster.local",
                "productpage.ns1.svc",
                "productpage.ns1",
                "productpage",
                to="9.9.9.9",
            ),
            entry("www.shop.test", to="1.1.1.1"),
            entry("own.wildcard", to="3.3.3.3"),
            entry("alias.test", alias="www.shop.test"),
            entry("outside.test", alias="www.outside.test"),
            entry("first.loop.test", alias="second.loop.test"),
            entry("second.loop.test", alias="first.loop.test"),
            entry("headless.ns1.svc.cluster.local", cluster="full"),
            entry("nobody.ns1.svc.cluster.local", cluster="empty"),
            entry("allocated.test", to="240.240.1.1 2001:2::f0f0:101"),
        ),
    ),
    NameTable("ns2", (entry("example.ns2.svc.cluster.local", "example.ns2.svc", "example.ns2", to="10.10.10.11"),)),
)
LIVE = {"full": ("10.0.0.1", "10.0.0.2", "fd00::1"), "empty": ()}


def ask(name: str, kind: int = A, *, has_ipv6: bool = True) -> Answer:
    index = NameIndex(TABLES, search="ns1.svc.cluster.local", has_ipv6=has_ipv6)
    return answer(index, name, kind, LIVE.__getitem__)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("www.shop.test", "1.1.1.1"),
        ("productpage.ns1.svc.cluster.local", "9.9.9.9"),
        ("productpage.ns1.svc", "9.9.9.9"),
        ("productpage.ns1", "9.9.9.9"),
        ("productpage", "9.9.9.9"),
        ("example.ns2", "10.10.10.11"),
        ("foo.wildcard", "10.10.10.10"),
        ("a.b.wildcard", "11.11.11.11"),
        ("x.a.b.wildcard", "11.11.11.11"),
        ("own.wildcard", "3.3.3.3"),
        ("headless.ns1.svc.cluster.local", "10.0.0.1 10.0.0.2"),
        ("dual.test", "2.2.2.2"),
    ],
)
def test_a_name_of_the_mesh_has_its_addresses(name: str, found: str) -> None:
    assert ask(name) == Answer((), tuple(found.split()))


@pytest.mark.parametrize("name", ["www.else.test", "example", "wildcard", "nobody.ns1.svc.cluster.local", ""])
def test_what_is_not_known_is_asked_on(name: str) -> None:
    assert ask(name) == Answer(ask=name)


def test_a_known_name_without_an_address_of_the_family_is_an_empty_answer() -> None:
    assert ask("ipv6.test", A) == Answer()
    assert ask("www.shop.test", AAAA) == Answer()
    assert ask("dual.test", AAAA) == Answer((), ("2001:db8::1",))
    assert ask("headless.ns1.svc.cluster.local", AAAA) == Answer((), ("fd00::1",))
    assert ask("dual.test", ANY) == Answer((), ("2.2.2.2", "2001:db8::1"))


def test_hints_that_would_lead_past_the_proxy_are_none_and_other_types_are_asked_on() -> None:
    assert ask("www.shop.test", HTTPS) == Answer()
    assert ask("www.else.test", HTTPS) == Answer(ask="www.else.test")
    assert [ask("www.shop.test", kind) for kind in (TXT, SRV)] == [Answer(ask="www.shop.test")] * 2


def test_what_resolvers_try_first_is_answered_with_the_name_that_they_mean() -> None:
    behind = "ns1.svc.cluster.local"
    assert ask(f"www.shop.test.{behind}") == Answer(("www.shop.test",), ("1.1.1.1",))
    assert ask(f"productpage.ns1.{behind}") == Answer(("productpage.ns1",), ("9.9.9.9",))
    assert ask(f"productpage.ns1.{behind}", AAAA) == Answer(("productpage.ns1",))
    assert ask(f"foo.wildcard.{behind}") == Answer(("foo.wildcard",), ("10.10.10.10",))
    assert ask(f"www.else.test.{behind}") == Answer(ask=f"www.else.test.{behind}")


def test_a_single_label_below_the_search_domain_is_left_to_its_owner() -> None:
    index = NameIndex(TABLES, search="corp.example")
    assert answer(index, "productpage.corp.example", A, LIVE.__getitem__) == Answer(ask="productpage.corp.example")


def test_aliases_are_followed_inside_the_mesh_and_their_end_outside_is_asked_for() -> None:
    assert ask("alias.test") == Answer(("www.shop.test",), ("1.1.1.1",))
    assert ask("outside.test") == Answer(("www.outside.test",), ask="www.outside.test")
    assert ask("first.loop.test").fails


def test_allocated_addresses_are_of_families_that_the_machine_has() -> None:
    assert ask("allocated.test", AAAA).addresses == ("2001:2::f0f0:101",)
    assert ask("allocated.test", AAAA, has_ipv6=False) == Answer()
    assert ask("ipv6.test", AAAA, has_ipv6=False).addresses == ("2001:db8::1",)


def test_a_hosts_own_name_is_its_own_even_where_a_service_is_called_so_for_short() -> None:
    table = NameTable("n", (entry("a.n.svc.cluster.local", "a.n.svc", "a.n", to="1.1.1.1"), entry("a.n", to="2.2.2.2")))
    assert answer(NameIndex((table,)), "a.n", A, LIVE.__getitem__).addresses == ("2.2.2.2",)


def test_resolv_conf_is_read_as_the_c_library_does() -> None:
    text = """
# a comment
domain old.test
search ns1.svc.cluster.local svc.cluster.local ; more
nameserver 10.96.0.10
nameserver nonsense
nameserver fe80::1%eth0 # with a scope
options ndots:5 timeout:2 attempts:9
"""
    assert parse(text) == Resolvers((("10.96.0.10", 53), ("fe80::1%eth0", 53)), "ns1.svc.cluster.local", 2.0, 3)
    assert parse("") == Resolvers()


def test_resolvers_are_named_with_or_without_a_port() -> None:
    written = ("10.0.0.1", "10.0.0.2:5353", "fd00::1", "[fd00::2]:54")
    assert addresses(written) == (("10.0.0.1", 53), ("10.0.0.2", 5353), ("fd00::1", 53), ("fd00::2", 54))
    for wrong in ("localhost", "10.0.0.1:dns", ""):
        with pytest.raises(ValueError):
            addresses((wrong,))
