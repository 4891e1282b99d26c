"""Gateways, their listeners, ListenerSets and classes."""

from __future__ import annotations

import base64

import pytest

from tests.compiler.status.meshes import CLASS, WEB, Statuses, gateway, listener, route

HTTPS = listener("https", 443, "HTTPS", "tls: {certificateRefs: [{name: c}]}")
FOREIGN = listener("https", 443, "HTTPS", "tls: {certificateRefs: [{name: c, namespace: keys}]}")
ALLOWED = "allowedListeners: {namespaces: {from: All}}"


def listener_set(name: str, *listeners: str, namespace: str = "team") -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRef: {{name: edge, namespace: infra}}
  listeners: [{", ".join(listeners)}]
"""


def secret(certificate: str, key: str = "-----BEGIN PRIVATE KEY-----") -> str:
    pair = [base64.b64encode(text.encode()).decode() for text in (certificate, key)]
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: c, namespace: infra}}
type: kubernetes.io/tls
data: {{tls.crt: {pair[0]}, tls.key: {pair[1]}}}
"""


def test_a_sound_gateway_is_accepted_programmed_and_resolved() -> None:
    found = Statuses(CLASS, gateway(listener("http")))
    assert found.own("GatewayClass", "weft") == {"Accepted": "True Accepted"}
    assert found.own("Gateway", "edge") == {
        "Accepted": "True Accepted",
        "Programmed": "True Programmed",
        "ResolvedRefs": "True ResolvedRefs",
    }
    assert found.listener("http") == {
        "Accepted": "True Accepted",
        "Conflicted": "False NoConflicts",
        "Programmed": "True Programmed",
        "ResolvedRefs": "True ResolvedRefs",
    }


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (listener("b", protocol="TLS", rest="hostname: a.org, tls: {mode: Passthrough}"), "ProtocolConflict"),
        (listener("b", protocol="TCP"), "ProtocolConflict"),
        (listener("b", rest="hostname: b.org"), ""),
        (listener("b", protocol="UDP"), ""),
        (listener("b", port=81, rest="hostname: a.org"), ""),
    ],
)
def test_listeners_of_one_gateway_that_cannot_be_told_apart_are_all_refused(second: str, reason: str) -> None:
    first, third = listener("a", rest="hostname: a.org"), listener("c", port=90)
    found = Statuses(CLASS, gateway(first, second, third))
    for name in ("a", "b"):
        conflicted = found.listener(name)
        assert conflicted["Conflicted"] == (f"True {reason}" if reason else "False NoConflicts")
        assert conflicted["Accepted"] == (f"False {reason}" if reason else "True Accepted")
    assert found.listener("c")["Accepted"] == "True Accepted"
    assert found.own("Gateway", "edge")["Accepted"] == ("True ListenersNotValid" if reason else "True Accepted")


def test_https_and_tls_listeners_share_a_port_by_hostname() -> None:
    tls = [
        listener(host[0], 443, "TLS", f"hostname: {host}, tls: {{mode: Passthrough}}") for host in ("a.org", "b.org")
    ]
    https = listener("h", 443, "HTTPS", "hostname: a.org, tls: {certificateRefs: [{name: c}]}")
    found = Statuses(CLASS, gateway(*tls, https))
    conflicts = {name: found.listener(name)["Conflicted"] for name in "abh"}
    assert conflicts == {"a": "True HostnameConflict", "b": "False NoConflicts", "h": "True HostnameConflict"}


def test_a_listener_that_speaks_what_nobody_understands_is_nobodys_rival() -> None:
    found = Statuses(CLASS, gateway(listener("a", protocol="SCTP"), listener("b")))
    assert found.listener("a")["Accepted"] == "False UnsupportedProtocol"
    assert found.listener("a")["Conflicted"] == found.listener("b")["Conflicted"] == "False NoConflicts"
    assert found.listener("b")["Programmed"] == "True Programmed"


def test_a_gateway_without_a_valid_listener_is_refused() -> None:
    found = Statuses(CLASS, gateway(listener("a", protocol="SCTP")))
    assert found.listener("a")["Accepted"] == "False UnsupportedProtocol"
    assert found.own("Gateway", "edge")["Accepted"] == "False ListenersNotValid"
    assert found.own("Gateway", "edge")["Programmed"] == "False Invalid"


@pytest.mark.parametrize(
    ("listeners", "held", "wanted"),
    [
        (HTTPS, "", "True ResolvedRefs"),
        (HTTPS, secret("-----BEGIN CERTIFICATE-----"), "True ResolvedRefs"),
        (HTTPS, secret("Hello"), "False InvalidCertificateRef"),
        (HTTPS, secret("-----BEGIN CERTIFICATE-----", "Hello"), "False InvalidCertificateRef"),
        (HTTPS.replace("{name: c}", "{name: c, kind: ConfigMap}"), "", "False InvalidCertificateRef"),
        (FOREIGN, "", "False RefNotPermitted"),
    ],
)
def test_a_listeners_certificate_must_be_there_and_may_be_used(listeners: str, held: str, wanted: str) -> None:
    found = Statuses(CLASS, gateway(listeners), *([held] if held else ())).listener("https")
    assert found["ResolvedRefs"] == wanted
    assert found["Programmed"] == ("True Programmed" if wanted.startswith("True") else "False Invalid")


def test_what_a_complete_tree_lacks_does_not_exist() -> None:
    found = [Statuses(CLASS, gateway(HTTPS), complete=complete).listener("https") for complete in (False, True)]
    assert [item["ResolvedRefs"] for item in found] == ["True ResolvedRefs", "False InvalidCertificateRef"]


def test_routes_count_at_a_listener_that_cannot_serve() -> None:
    conflicted = gateway(listener("a"), listener("b", protocol="TCP"))
    found = Statuses(CLASS, WEB, conflicted, route())
    assert found.attached() == {"a": 1, "b": 0}
    assert found.parent()["Accepted"] == "False NoMatchingParent"
    unresolved = Statuses(CLASS, WEB, gateway(FOREIGN), route())
    assert unresolved.attached() == {"https": 1}
    assert unresolved.parent()["Accepted"] == "True Accepted"


def test_a_kind_that_a_protocol_cannot_have_is_named_and_the_others_stay() -> None:
    kinds = "{name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [KINDS]}}"
    foreign = "{group: example.org, kind: HTTPRoute}"
    for written, left in (("{kind: HTTPRoute}, {kind: TCPRoute}", ("HTTPRoute",)), (foreign, ())):
        found = Statuses(CLASS, gateway(kinds.replace("KINDS", written)))
        assert found.listener("http")["ResolvedRefs"] == "False InvalidRouteKinds"
        assert (found["Gateway", "edge"].listeners or ())[0].kinds == left


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        ("addresses: [{type: IPAddress, value: 10.0.0.1}]", "True Accepted"),
        ("addresses: [{type: example.org/pool, value: a}]", "False UnsupportedAddress"),
        ("infrastructure: {parametersRef: {group: example.org, kind: P, name: p}}", "False InvalidParameters"),
        ("infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: p}}", "True Accepted"),
    ],
)
def test_what_a_gateway_asks_for_must_be_supported(extra: str, wanted: str) -> None:
    assert Statuses(CLASS, gateway(listener("http"), extra=extra)).own("Gateway", "edge")["Accepted"] == wanted


def test_authorities_of_clients_concern_https_listeners_alone() -> None:
    extra = "tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: Service, name: a}]}}}}"
    found = Statuses(CLASS, gateway(listener("http"), HTTPS, extra=extra))
    assert found.listener("http")["Accepted"] == "True Accepted"
    assert found.listener("https")["Accepted"] == "False NoValidCACertificate"
    assert found.listener("https")["ResolvedRefs"] == "False InvalidCACertificateKind"


def test_an_insecure_fallback_is_told() -> None:
    validation = "{mode: AllowInsecureFallback, caCertificateRefs: [{group: '', kind: ConfigMap, name: a}]}"
    found = Statuses(CLASS, gateway(HTTPS, extra=f"tls: {{frontend: {{default: {{validation: {validation}}}}}}}"))
    assert found.own("Gateway", "edge")["InsecureFrontendValidationMode"] == "True ConfigurationChanged"


def test_a_listener_set_needs_its_gateways_leave() -> None:
    added = listener_set("more", listener("x", 90))
    refused = Statuses(CLASS, gateway(listener("http")), added)
    assert refused.own("ListenerSet", "more") == {"Accepted": "False NotAllowed", "Programmed": "False NotAllowed"}
    allowed = Statuses(CLASS, gateway(listener("http"), extra=ALLOWED), added)
    assert allowed.own("ListenerSet", "more") == {"Accepted": "True Accepted", "Programmed": "True Programmed"}
    assert allowed["Gateway", "edge"].attached_sets == 1


def test_an_earlier_owner_keeps_what_a_later_one_asks_for() -> None:
    first = listener_set("a", listener("x", 80, "TCP"), listener("w", 90), listener("z", 80, rest="hostname: z.org"))
    second = listener_set("b", listener("w", 90))
    found = Statuses(CLASS, gateway(listener("http"), extra=ALLOWED), first, second)
    assert found.listener("http")["Accepted"] == "True Accepted"
    assert found.listener("x", "ListenerSet", "a")["Accepted"] == "False ProtocolConflict"
    assert found.listener("z", "ListenerSet", "a")["Accepted"] == "True Accepted"
    assert found.listener("w", "ListenerSet", "a")["Accepted"] == "True Accepted"
    assert found.listener("w", "ListenerSet", "b")["Programmed"] == "False HostnameConflict"
    assert found.own("ListenerSet", "b")["Accepted"] == "False ListenersNotValid"


def test_routes_attach_to_the_gateways_own_listeners_or_to_a_listener_sets() -> None:
    added = listener_set("more", listener("x", 90))
    by_set = route(name="s", parent="group: gateway.networking.k8s.io, kind: ListenerSet, name: more, namespace: team")
    found = Statuses(CLASS, WEB, gateway(listener("http"), extra=ALLOWED), added, route(), by_set)
    assert found.attached() == {"http": 1}
    assert found.attached("more", "ListenerSet") == {"x": 1}
    assert found.parent(name="s")["Accepted"] == "True Accepted"
