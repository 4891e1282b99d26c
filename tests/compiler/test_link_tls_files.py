"""TLS settings that name files on the proxy's machine, and what a Gateway asks of its clients' certificates."""

from __future__ import annotations

from snapshot.section import ServerTls, TlsUpstream
from snapshot.slots import KeyFiles, key_files
from tests.compiler.compiled import compiled
from tests.compiler.test_link_sidecars import SHOP

EDGE = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  selector: {app: edge}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["a.test"]
    tls:
      mode: MUTUAL
      serverCertificate: /etc/tls.crt
      privateKey: /etc/tls.key
      caCertificates: /etc/ca.crt
      caCrl: /etc/ca.crl
      subjectAltNames: [client.test]
      verifyCertificateHash: ["AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89"]
      verifyCertificateSpki: [NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=]
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other, namespace: far}
spec:
  host: other
  trafficPolicy: {tls: {TLS}}
"""


def upstream(tls: str) -> TlsUpstream:
    made = compiled(SHOP + "---\n" + RULE.replace("TLS", tls)).slice("sidecar/shop/reviews-v1")
    found = made.clusters["outbound|80||other.far.svc.cluster.local"].tls
    assert isinstance(found, TlsUpstream)
    return found


def test_a_gateway_names_its_files_and_what_a_client_must_show() -> None:
    prepared = compiled(EDGE).slice("gateway/app=edge")
    (listener,) = prepared.listeners.values()
    tls = listener.chains[0].tls
    assert isinstance(tls, ServerTls)
    (slot,) = tls.credentials
    assert key_files(slot) == KeyFiles("/etc/tls.crt", "/etc/tls.key", "/etc/ca.crt", "/etc/ca.crl")
    assert (tls.client, tls.client_ca) == ("require", "")
    assert tls.names == ("client.test",)
    assert tls.hashes == ("abcdef0123456789" * 4,)
    assert tls.keys == ("NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=",)
    assert [one.name for one in prepared.proxy.credentials] == [slot]


def test_a_rules_files_fill_a_slot_for_the_client_and_for_whom_it_trusts() -> None:
    made = upstream(
        "mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem, caCrl: /r.pem"
    )
    assert key_files(made.ca) == KeyFiles("/c.pem", "/k.pem", "/ca.pem", "/r.pem")
    assert made.credential == made.ca


def test_a_rule_without_authorities_trusts_the_systems() -> None:
    made = upstream("mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem")
    assert made.ca == ""
    assert key_files(made.credential) == KeyFiles("/c.pem", "/k.pem")
    assert upstream("mode: SIMPLE, caCertificates: /ca.pem").credential == ""


def test_a_secrets_slot_names_no_files() -> None:
    assert key_files("shop/web") is None
    assert KeyFiles().slot == ""


def test_a_server_may_have_two_certificates_of_files_and_the_clients_authority_apart() -> None:
    tls = """\
      mode: MUTUAL
      tlsCertificates: [{serverCertificate: /rsa.crt, privateKey: /rsa.key}, {serverCertificate: /ec.crt, privateKey: /ec.key}]
      caCertificates: /etc/ca.crt
"""
    prepared = compiled(EDGE.partition("      mode:")[0] + tls).slice("gateway/app=edge")
    (listener,) = prepared.listeners.values()
    made = listener.chains[0].tls
    assert isinstance(made, ServerTls)
    assert [key_files(slot) for slot in made.credentials] == [
        KeyFiles("/rsa.crt", "/rsa.key"),
        KeyFiles("/ec.crt", "/ec.key"),
    ]
    assert (made.client, key_files(made.client_ca)) == ("require", KeyFiles(ca="/etc/ca.crt"))
