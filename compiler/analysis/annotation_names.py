"""Istio's annotations: what each may stand on, and how far Istio stands by it (its published list of annotations)."""

from __future__ import annotations

import msgspec

ANY = "Any"
INGRESS_CLASS = "kubernetes.io/ingress.class"
"""The one annotation outside of Istio's name space that it documents."""


class Annotation(msgspec.Struct, frozen=True):
    """One annotation: the kinds that it may stand on, and whether it is alpha or deprecated."""

    kinds: tuple[str, ...]
    alpha: bool = True
    deprecated: bool = False


_POD = ("Pod",)
_ON_PODS = (
    "ambient.istio.io/bypass-inbound-capture ambient.istio.io/dns-capture inject.istio.io/templates "
    "istio.io/reroute-virtual-interfaces istio.io/rev prometheus.istio.io/merge-metrics proxy.istio.io/overrides "
    "readiness.status.sidecar.istio.io/applicationPorts readiness.status.sidecar.istio.io/failureThreshold "
    "readiness.status.sidecar.istio.io/initialDelaySeconds readiness.status.sidecar.istio.io/periodSeconds "
    "sidecar.istio.io/agentLogLevel sidecar.istio.io/bootstrapOverride sidecar.istio.io/componentLogLevel "
    "sidecar.istio.io/interceptionMode sidecar.istio.io/logLevel sidecar.istio.io/nativeSidecar "
    "sidecar.istio.io/proxyCPU sidecar.istio.io/proxyCPULimit sidecar.istio.io/proxyImage "
    "sidecar.istio.io/proxyImageType sidecar.istio.io/proxyMemory sidecar.istio.io/proxyMemoryLimit "
    "sidecar.istio.io/rewriteAppHTTPProbers sidecar.istio.io/statsEvictionInterval "
    "sidecar.istio.io/statsFlushInterval sidecar.istio.io/statsHistogramBins "
    "sidecar.istio.io/statsHistogramBuckets sidecar.istio.io/status sidecar.istio.io/userVolume "
    "sidecar.istio.io/userVolumeMount status.sidecar.istio.io/port traffic.sidecar.istio.io/excludeInboundPorts "
    "traffic.sidecar.istio.io/excludeInterfaces traffic.sidecar.istio.io/excludeOutboundIPRanges "
    "traffic.sidecar.istio.io/excludeOutboundPorts traffic.sidecar.istio.io/includeInboundPorts "
    "traffic.sidecar.istio.io/includeOutboundIPRanges traffic.sidecar.istio.io/includeOutboundPorts"
)
_ON_PODS_DEPRECATED = (
    "sidecar.istio.io/discoveryAddress sidecar.istio.io/extraStatTags sidecar.istio.io/statsCompression "
    "sidecar.istio.io/statsInclusionPrefixes sidecar.istio.io/statsInclusionRegexps "
    "sidecar.istio.io/statsInclusionSuffixes traffic.sidecar.istio.io/kubevirtInterfaces"
)
_WITH_WAYPOINT = ("Namespace", "Service", "ServiceEntry")

ANNOTATIONS: dict[str, Annotation] = {
    **{name: Annotation(_POD) for name in _ON_PODS.split()},
    **{name: Annotation(_POD, deprecated=True) for name in _ON_PODS_DEPRECATED.split()},
    "alpha.istio.io/canonical-serviceaccounts": Annotation(("Service",), deprecated=True),
    "alpha.istio.io/kubernetes-serviceaccounts": Annotation(("Service",), deprecated=True),
    "ambient.istio.io/redirection": Annotation(_POD, alpha=False),
    "ambient.istio.io/waypoint-inbound-binding": Annotation(("GatewayClass", "Gateway")),
    "galley.istio.io/analyze-suppress": Annotation((ANY,)),
    "gateway.istio.io/controller-version": Annotation((ANY,)),
    "gateway.istio.io/name-override": Annotation(("Gateway",)),
    "gateway.istio.io/service-account": Annotation(("Gateway",)),
    "istio.io/autoRegistrationGroup": Annotation(("WorkloadEntry",)),
    "istio.io/connectedAt": Annotation(("WorkloadEntry",)),
    "istio.io/disconnectedAt": Annotation(("WorkloadEntry",)),
    "istio.io/dry-run": Annotation(("AuthorizationPolicy",)),
    "istio.io/use-waypoint-canary-weight": Annotation(_WITH_WAYPOINT),
    "istio.io/workloadController": Annotation(("WorkloadEntry",)),
    INGRESS_CLASS: Annotation(("Ingress",), alpha=False),
    "networking.istio.io/exportTo": Annotation(("Service",)),
    "networking.istio.io/service-type": Annotation(("Gateway",)),
    "networking.istio.io/traffic-distribution": Annotation(_WITH_WAYPOINT),
    "proxy.istio.io/config": Annotation(_POD, alpha=False),
    "sidecar.istio.io/inject": Annotation(_POD, alpha=False, deprecated=True),
    "topology.istio.io/controlPlaneClusters": Annotation(("Namespace",)),
    "traffic.istio.io/nodeSelector": Annotation(("Service",), alpha=False),
}

BY_CONTROLLERS = frozenset({"sidecar.istio.io/status", "istio.io/rev", "gateway.istio.io/controller-version"})
"""What Istio's controllers write, not users."""
BY_DEFAULT = frozenset(
    {
        "sidecar.istio.io/interceptionMode",
        "traffic.sidecar.istio.io/includeInboundPorts",
        "traffic.sidecar.istio.io/excludeInboundPorts",
        "traffic.sidecar.istio.io/includeOutboundIPRanges",
    }
)
"""What Istio's network plug-in writes on pods by itself."""


def is_istios(name: str) -> bool:
    """Whether an annotation's name belongs to Istio."""
    return name == INGRESS_CLASS or ("/" in name and name.partition("/")[0].endswith("istio.io"))
