"""BackendTLSPolicies: their targets, their authorities, and who comes first."""

from __future__ import annotations

import pytest

from tests.compiler.status.meshes import CLASS, WEB, Statuses, gateway, listener, route

CONFIG_MAP = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]"


def policy(name: str = "p", *, section: str = "", target: str = "web", authorities: str = CONFIG_MAP) -> str:
    at = f", sectionName: {section}" if section else ""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  targetRefs: [{{group: '', kind: Service, name: {target}{at}}}]
  validation: {{hostname: web.org, {authorities}}}
"""


def held(content: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca, namespace: shop}}\ndata: {{ca.crt: '{content}'}}\n"


@pytest.mark.parametrize(
    ("text", "accepted", "resolved"),
    [
        (policy(), "True Accepted", "True ResolvedRefs"),
        (policy(authorities="wellKnownCACertificates: System"), "True Accepted", "True ResolvedRefs"),
        (policy(section="http"), "True Accepted", "True ResolvedRefs"),
        (policy(section="nothing"), "False TargetNotFound", "True ResolvedRefs"),
        (policy(target="nobody"), "False TargetNotFound", "True ResolvedRefs"),
        (
            policy(authorities=CONFIG_MAP.replace("ConfigMap", "Thing")),
            "False NoValidCACertificate",
            "False InvalidKind",
        ),
        (policy() + "---\n" + held("Hello"), "False NoValidCACertificate", "False InvalidCACertificateRef"),
        (policy() + "---\n" + held("-----BEGIN CERTIFICATE-----"), "True Accepted", "True ResolvedRefs"),
    ],
)
def test_a_policy_is_accepted_or_says_why_not(text: str, accepted: str, resolved: str) -> None:
    found = Statuses(CLASS, WEB, text).parent("BackendTLSPolicy", "p")
    assert found == {"Accepted": accepted, "ResolvedRefs": resolved}


def test_of_two_policies_with_one_target_the_first_holds() -> None:
    found = Statuses(CLASS, WEB, policy("b"), policy("a"), policy("c", section="http"))
    accepted = {name: found.parent("BackendTLSPolicy", name)["Accepted"] for name in "abc"}
    assert accepted == {"a": "True Accepted", "b": "False Conflicted", "c": "True Accepted"}


def test_the_gateways_that_lead_to_a_target_are_its_ancestors() -> None:
    led = Statuses(CLASS, WEB, gateway(listener("http")), route(), policy())["BackendTLSPolicy", "p"]
    alone = Statuses(CLASS, WEB, gateway(listener("http")), policy())["BackendTLSPolicy", "p"]
    assert [dict(item.reference)["name"] for item in led.ancestors or ()] == ["edge"]
    assert [dict(item.reference)["kind"] for item in alone.ancestors or ()] == ["Service"]
