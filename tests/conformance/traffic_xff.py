"""Istio's case of a gateway behind trusted proxies: what it sends, and what the application must be told of who sent it."""

from __future__ import annotations

from tests.conformance.traffic_calls import Reply
from tests.conformance.traffic_lost import FQDN, Lost, gateway

LINE = 2504
_TRUSTING = """---
apiVersion: weft/v1
kind: MeshConfig
metadata: {name: mesh}
spec: {defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}}
"""


def _told(replies: list[Reply]) -> str | None:
    for reply in replies:
        seen = reply.seen.get("headers", {})
        if seen.get("x-envoy-external-address") != ["72.9.5.6"]:
            return f"external address {seen.get('x-envoy-external-address')}"
        forwarded = [one.strip() for one in ",".join(seen.get("x-forwarded-for", ())).split(",")]
        if len(forwarded) != 4 or forwarded[1] != "72.9.5.6":
            return f"x-forwarded-for {forwarded}"
    return None


XFF = Lost(
    values=gateway("HTTP", 80, VirtualServiceHost=f"a.{FQDN}"),
    headers={"x-forwarded-for": "56.5.6.7, 72.9.5.6, 98.1.2.3"},
    host=f"a.{FQDN}",
    closure=_told,
    more=_TRUSTING,
)
