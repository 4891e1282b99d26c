"""Which leaves of each kind's schema the compiler carries, and which it refuses. Together they are all leaves; a test proves it.

``(a|b)`` stands for either and does not nest. A refused path stands for everything below it. ``INERT`` leaves are accepted because they
concern others (Kubernetes, the reader) and nothing that a proxy does could depend on them.
"""

from __future__ import annotations

import itertools
import re

_CHOICE = re.compile(r"\(([^)]*)\)")


def paths(text: str) -> frozenset[str]:
    """The paths of a table: one or more per line, choices multiplied out."""
    return frozenset(path for word in text.split() for path in _expanded(word))


def _expanded(word: str) -> list[str]:
    parts = _CHOICE.split(word)
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return ["".join(combination) for combination in itertools.product(*choices)]


EVERY_KIND = paths("apiVersion kind metadata.(name|namespace|labels{}|annotations{}|creationTimestamp)")

_REQUEST_AND_RESPONSE = "(request|response).(set{}|add{}|remove[])"
_POLICY_CARRIED = """
    loadBalancer.(simple|consistentHash.maglev.tableSize|warmupDurationSecs)
    loadBalancer.warmup.(duration|minimumPercent|aggression)
    loadBalancer.backendUtilization.(errorUtilizationPenaltyPercent|metricNamesForComputingUtilization[]|weightExpirationPeriod)
    loadBalancer.backendUtilization.(weightStabilizationPeriod|weightUpdatePeriod)
    loadBalancer.zoneAwareLbSetting.(enabled|minClusterSize|failover[].from|failover[].to|failoverPriority[])
    loadBalancer.localityLbSetting.(enabled|distribute[].from|distribute[].to{}|failover[].from|failover[].to|failoverPriority[])
    loadBalancer.consistentHash.(httpHeaderName|httpQueryParameterName|useSourceIp|minimumRingSize|ringHash.minimumRingSize)
    loadBalancer.consistentHash.httpCookie.(name|path|ttl|attributes[].name|attributes[].value)
    connectionPool.tcp.(maxConnections|connectTimeout|idleTimeout)
    connectionPool.http.(http1MaxPendingRequests|http2MaxRequests|maxRequestsPerConnection|idleTimeout)
    connectionPool.http.(h2UpgradePolicy|useClientProtocol|maxRetries|maxConcurrentStreams)
    connectionPool.http.http2KeepAlive.(interval|timeout)
    connectionPool.tcp.(maxConnectionDuration|tcpKeepalive.probes|tcpKeepalive.time|tcpKeepalive.interval)
    tls.(mode|credentialName|subjectAltNames[]|sni|insecureSkipVerify|clientCertificate|privateKey|caCertificates|caCrl)
    outlierDetection.(consecutiveErrors|consecutive5xxErrors|consecutiveGatewayErrors|consecutiveLocalOriginFailures)
    outlierDetection.(splitExternalLocalOriginErrors|outlierDetectionHttpErrorCodes[])
    outlierDetection.(interval|baseEjectionTime|maxEjectionPercent|minHealthPercent)
"""
_POLICY_REFUSED = ""
_POLICY_LEVELS = (
    "spec.trafficPolicy.",
    "spec.trafficPolicy.portLevelSettings[].",
    "spec.subsets[].trafficPolicy.",
    "spec.subsets[].trafficPolicy.portLevelSettings[].",
)


def _policies(table: str) -> frozenset[str]:
    return frozenset(level + path for level in _POLICY_LEVELS for path in paths(table))


def _pools(place: str, table: str) -> frozenset[str]:
    """What a table of traffic policies says of connection pools, for a pool that stands elsewhere."""
    pool = "connectionPool"
    return frozenset(place + path.removeprefix(pool) for path in paths(table) if path.startswith(f"{pool}."))


_REPLICATED = ("Deployment", "StatefulSet", "DaemonSet", "Job")
_TEMPLATE_CARRIED = """
    spec.template.metadata.labels{}
    spec.template.spec.(serviceAccountName|serviceAccount)
    spec.template.spec.(containers|initContainers)[].ports[].(name|containerPort)
"""
_TEMPLATE_INERT = """
    spec.selector.matchLabels{} spec.selector.matchExpressions[].(key|operator|values[])
    spec.template.metadata.(name|namespace|annotations{}|creationTimestamp)
    spec.template.spec.hostNetwork spec.template.spec.(containers|initContainers)[].(name|ports[].protocol)
"""
_PARENTS = "spec.parentRefs[].(group|kind|name|namespace|sectionName|port)"
_BACKENDS = "spec.rules[].backendRefs[].(group|kind|name|namespace|port|weight)"
_MIRRORS = """
    spec.rules[].(filters[]|backendRefs[].filters[]).requestMirror.(backendRef.group|backendRef.kind|backendRef.name)
    spec.rules[].(filters[]|backendRefs[].filters[]).requestMirror.(backendRef.namespace|backendRef.port|percent)
    spec.rules[].(filters[]|backendRefs[].filters[]).requestMirror.(fraction.numerator|fraction.denominator)
"""
_LISTENERS = """
    spec.listeners[].(name|hostname|port|protocol|tls.mode)
    spec.listeners[].tls.certificateRefs[].(group|kind|name|namespace)
    spec.listeners[].allowedRoutes.namespaces.from
    spec.listeners[].allowedRoutes.namespaces.selector.matchLabels{}
    spec.listeners[].allowedRoutes.namespaces.selector.matchExpressions[].(key|operator|values[])
    spec.listeners[].allowedRoutes.kinds[].(group|kind)
"""
_FILTERS = "spec.rules[].(filters[]|backendRefs[].filters[])"

KINDS_NOT_CARRIED = (
    "Telemetry",
    "WasmPlugin",
    "TrafficExtension",
    "XBackendTrafficPolicy",
)
"""Kinds that are read and checked, and of which this version carries nothing."""

INERT: dict[str, frozenset[str]] = {
    "Service": paths("spec.publishNotReadyAddresses"),
    "Pod": paths("spec.hostNetwork spec.(containers|initContainers)[].(name|ports[].protocol)"),
    **dict.fromkeys(_REPLICATED, paths(_TEMPLATE_INERT)),
    "CronJob": frozenset(f"spec.jobTemplate.{path}" for path in paths(_TEMPLATE_INERT))
    | paths("spec.jobTemplate.metadata.(name|namespace|labels{}|annotations{}|creationTimestamp)"),
    "Secret": paths("data{} stringData{}"),
    "ConfigMap": paths("data{} binaryData{}"),
    # Ingress is read where its class is Istio's (REFUSED_VALUES); other controllers' are theirs.
    "Ingress": paths("""
        spec.ingressClassName spec.defaultBackend.(service.name|service.port.name|service.port.number)
        spec.defaultBackend.resource.(apiGroup|kind|name) spec.tls[].(hosts[]|secretName)
        spec.rules[].host spec.rules[].http.paths[].(path|pathType)
        spec.rules[].http.paths[].backend.(service.name|service.port.name|service.port.number)
        spec.rules[].http.paths[].backend.resource.(apiGroup|kind|name)
    """),
    "IngressClass": paths("spec.controller"),
    # Without its patches, an EnvoyFilter's scope asks for nothing.
    "EnvoyFilter": paths("""
        spec.(priority|workloadSelector.labels{}) spec.targetRefs[].(group|kind|name|namespace)
    """),
    "Endpoints": paths("""
        subsets[].addresses[].(hostname|nodeName) subsets[].notReadyAddresses[].(ip|hostname|nodeName)
        subsets[].ports[].appProtocol
    """),
    "EndpointSlice": paths("""
        endpoints[].(hostname|nodeName|zone|conditions.serving|conditions.terminating) ports[].appProtocol
    """),
    # The port behind a gateway's own Service is that Service's to say.
    "Gateway": paths("spec.servers[].(name|port.targetPort)"),
    "Sidecar": paths("spec.(egress|ingress)[].port.(name|targetPort)"),
    "WorkloadGroup": paths("spec.metadata.annotations{}"),
    "GatewayClass": paths("spec.description"),
}

CARRIED: dict[str, frozenset[str]] = {
    "Namespace": frozenset(),
    "Service": paths("""
        spec.(selector{}|type|clusterIP|clusterIPs[]|externalName|trafficDistribution)
        spec.ports[].(name|port|protocol|appProtocol|targetPort)
    """),
    "ServiceAccount": frozenset(),
    "Pod": paths("""
        spec.(serviceAccountName|serviceAccount) spec.(containers|initContainers)[].ports[].(name|containerPort)
        status.podIP status.podIPs[].ip
    """),
    "Secret": paths("type"),
    **dict.fromkeys(_REPLICATED, paths(_TEMPLATE_CARRIED)),
    "CronJob": frozenset(f"spec.jobTemplate.{path}" for path in paths(_TEMPLATE_CARRIED)),
    "VirtualService": paths(f"""
        spec.(hosts[]|gateways[]|exportTo[])
        spec.http[].(name|timeout|delegate.name|delegate.namespace)
        spec.http[].match[].(name|port|sourceLabels{{}}|sourceNamespace|gateways[]|ignoreUriCase)
        spec.http[].match[].(uri|scheme|method|authority|headers{{}}|withoutHeaders{{}}|queryParams{{}}).(exact|prefix|regex)
        spec.(http|tls|tcp)[].route[].destination.(host|subset|port.number)
        spec.(http|tls|tcp)[].route[].weight
        spec.http[].route[].headers.{_REQUEST_AND_RESPONSE}
        spec.http[].headers.{_REQUEST_AND_RESPONSE}
        spec.http[].redirect.(uri|prefixRewrite|authority|scheme|port|derivePort|redirectCode)
        spec.http[].directResponse.(status|body.string|body.bytes)
        spec.http[].rewrite.(uri|authority|uriRegexRewrite.match|uriRegexRewrite.rewrite)
        spec.http[].retries.(attempts|perTryTimeout|retryOn|backoff|retryRemoteLocalities|retryIgnorePreviousHosts)
        spec.http[].fault.delay.(fixedDelay|percentage.value|percent)
        spec.http[].fault.abort.(httpStatus|grpcStatus|percentage.value)
        spec.http[].(mirror|mirrors[].destination).(host|subset|port.number)
        spec.http[].(mirrors[].percentage.value|mirrorPercentage.value|mirrorPercent|mirror_percent)
        spec.http[].corsPolicy.(allowOrigins[].exact|allowOrigins[].prefix|allowOrigins[].regex|allowOrigin[])
        spec.http[].corsPolicy.(allowMethods[]|allowHeaders[]|exposeHeaders[]|maxAge|allowCredentials|unmatchedPreflights)
        spec.(tls|tcp)[].match[].(port|sourceLabels{{}}|sourceNamespace|gateways[]|destinationSubnets[])
        spec.tls[].match[].sniHosts[]
    """),
    "DestinationRule": paths("""
        spec.(host|exportTo[]|workloadSelector.matchLabels{}) spec.subsets[].(name|labels{})
        spec.(trafficPolicy|subsets[].trafficPolicy).portLevelSettings[].port.number
        spec.(trafficPolicy|subsets[].trafficPolicy).retryBudget.(percent|minRetryConcurrency)
        spec.(trafficPolicy|subsets[].trafficPolicy).proxyProtocol.version
        spec.(trafficPolicy|subsets[].trafficPolicy).tunnel.(protocol|targetHost|targetPort)
    """)
    | _policies(_POLICY_CARRIED),
    "Gateway": paths("""
        spec.selector{} spec.servers[].(port.number|port.protocol|port.name|hosts[])
        spec.servers[].tls.(httpsRedirect|mode|credentialName|credentialNames[]|caCertCredentialName)
        spec.servers[].tls.(minProtocolVersion|maxProtocolVersion|cipherSuites[]|ecdhCurves[])
        spec.servers[].bind spec.servers[].tls.tlsCertificates[].(serverCertificate|privateKey)
        spec.servers[].tls.(serverCertificate|privateKey|caCertificates|caCrl)
        spec.servers[].tls.(subjectAltNames[]|verifyCertificateSpki[]|verifyCertificateHash[])
    """),
    "ServiceEntry": paths("""
        spec.(hosts[]|addresses[]|location|resolution|workloadSelector.labels{}|exportTo[]|subjectAltNames[])
        spec.ports[].(number|name|protocol|targetPort)
        spec.endpoints[].(address|ports{}|labels{}|locality|weight|serviceAccount)
    """),
    "WorkloadEntry": paths("spec.(address|ports{}|labels{}|locality|weight|serviceAccount)"),
    "WorkloadGroup": paths("""
        spec.metadata.labels{} spec.template.(labels{}|ports{}|serviceAccount)
        spec.probe.(initialDelaySeconds|timeoutSeconds|periodSeconds|successThreshold|failureThreshold|exec.command[])
        spec.probe.httpGet.(path|port|host|scheme|httpHeaders[].name|httpHeaders[].value)
        spec.probe.(tcpSocket.host|tcpSocket.port|grpc.port|grpc.service)
    """),
    "Endpoints": paths("subsets[].addresses[].ip subsets[].ports[].(name|port|protocol)"),
    "EndpointSlice": paths("addressType endpoints[].(addresses[]|conditions.ready) ports[].(name|port|protocol)"),
    "Sidecar": paths("""
        spec.workloadSelector.labels{} spec.outboundTrafficPolicy.(mode|egressProxy.host|egressProxy.port.number|egressProxy.subset)
        spec.egress[].(hosts[]|bind|captureMode|port.number|port.protocol)
        spec.ingress[].(bind|defaultEndpoint|captureMode|port.number|port.protocol)
        spec.ingress[].tls.(httpsRedirect|mode|credentialName|credentialNames[]|caCertCredentialName)
        spec.ingress[].tls.(minProtocolVersion|maxProtocolVersion|cipherSuites[]|ecdhCurves[])
        spec.ingress[].tls.tlsCertificates[].(serverCertificate|privateKey)
        spec.ingress[].tls.(serverCertificate|privateKey|caCertificates|caCrl)
        spec.ingress[].tls.(subjectAltNames[]|verifyCertificateSpki[]|verifyCertificateHash[])
    """)
    | _pools("spec.inboundConnectionPool", _POLICY_CARRIED)
    | _pools("spec.ingress[].connectionPool", _POLICY_CARRIED),
    "PeerAuthentication": paths("spec.(selector.matchLabels{}|mtls.mode|portLevelMtls{}.mode)"),
    "AuthorizationPolicy": paths("""
        spec.(selector.matchLabels{}|action) spec.(targetRef|targetRefs[]).(group|kind|name|namespace)
        spec.rules[].from[].source.(principals|notPrincipals|requestPrincipals|notRequestPrincipals|namespaces|notNamespaces)[]
        spec.rules[].from[].source.(serviceAccounts|notServiceAccounts|trustDomains|notTrustDomains)[]
        spec.rules[].from[].source.(ipBlocks|notIpBlocks|remoteIpBlocks|notRemoteIpBlocks)[]
        spec.rules[].to[].operation.(hosts|notHosts|ports|notPorts|methods|notMethods|paths|notPaths)[]
        spec.rules[].when[].(key|values[]|notValues[])
    """),
    "RequestAuthentication": paths("""
        spec.selector.matchLabels{} spec.(targetRef|targetRefs[]).(group|kind|name|namespace)
        spec.jwtRules[].(issuer|audiences[]|jwks|jwksUri|jwks_uri|timeout|forwardOriginalToken)
        spec.jwtRules[].(fromHeaders[].name|fromHeaders[].prefix|fromParams[]|fromCookies[])
        spec.jwtRules[].(outputPayloadToHeader|outputClaimToHeaders[].header|outputClaimToHeaders[].claim)
        spec.jwtRules[].(spaceDelimitedClaims[]|presence)
    """),
    "RateLimit": paths("""
        spec.targetRefs[].(group|kind|name|sectionName) spec.(status|responseHeaders)
        spec.limits[].(requests|per|burst|by[].type|by[].name|match.method)
        spec.limits[].match.(path|headers{}|identity).(exact|prefix|regex)
    """),
    "GatewayClass": paths("spec.controllerName"),
    "Gateway.gateway.networking.k8s.io": paths(f"""
        {_LISTENERS} spec.gatewayClassName spec.allowedListeners.namespaces.(from|selector.matchLabels{{}})
        spec.allowedListeners.namespaces.selector.matchExpressions[].(key|operator|values[])
        spec.tls.frontend.(default|perPort[].tls).validation.(mode|caCertificateRefs[].group|caCertificateRefs[].kind)
        spec.tls.frontend.(default|perPort[].tls).validation.(caCertificateRefs[].name|caCertificateRefs[].namespace)
        spec.tls.frontend.perPort[].port
    """),
    "ListenerSet": paths(f"{_LISTENERS} spec.parentRef.(group|kind|name|namespace)"),
    "BackendTLSPolicy": paths("""
        spec.targetRefs[].(group|kind|name|sectionName) spec.validation.(hostname|wellKnownCACertificates)
        spec.validation.(caCertificateRefs[].group|caCertificateRefs[].kind|caCertificateRefs[].name)
        spec.validation.subjectAltNames[].(type|hostname|uri)
    """),
    "HTTPRoute": paths(f"""
        {_PARENTS} spec.hostnames[] spec.rules[].name
        spec.rules[].matches[].(method|path.type|path.value)
        spec.rules[].matches[].(headers|queryParams)[].(type|name|value)
        {_FILTERS}.type
        {_FILTERS}.(requestHeaderModifier|responseHeaderModifier).(set|add)[].(name|value)
        {_FILTERS}.(requestHeaderModifier|responseHeaderModifier).remove[]
        {_BACKENDS} {_MIRRORS}
        {_FILTERS}.cors.(allowOrigins[]|allowMethods[]|allowHeaders[]|exposeHeaders[]|maxAge|allowCredentials)
        spec.rules[].timeouts.(request|backendRequest) spec.rules[].retry.(codes[]|attempts|backoff)
    """)
    | paths(f"{_FILTERS}.requestRedirect.(scheme|hostname|port|statusCode)")
    | paths(f"{_FILTERS}.requestRedirect.path.(type|replaceFullPath|replacePrefixMatch)")
    | paths(f"{_FILTERS}.urlRewrite.(hostname|path.type|path.replaceFullPath|path.replacePrefixMatch)"),
    "GRPCRoute": paths(f"""
        {_PARENTS} spec.hostnames[] spec.rules[].name
        spec.rules[].matches[].(method.type|method.service|method.method|headers[].type|headers[].name|headers[].value)
        {_FILTERS}.type
        {_FILTERS}.(requestHeaderModifier|responseHeaderModifier).(set|add)[].(name|value)
        {_FILTERS}.(requestHeaderModifier|responseHeaderModifier).remove[]
        {_BACKENDS} {_MIRRORS}
    """),
    "TLSRoute": paths(f"{_PARENTS} spec.hostnames[] spec.rules[].name {_BACKENDS}"),
    "TCPRoute": paths(f"{_PARENTS} spec.rules[].name {_BACKENDS}"),
    "UDPRoute": paths(f"{_PARENTS} spec.rules[].name {_BACKENDS}"),
    "ReferenceGrant": paths("spec.from[].(group|kind|namespace) spec.to[].(group|kind|name)"),
    "ProxyConfig": paths("spec.(selector.matchLabels{}|environmentVariables{})"),
    "ConnectionPolicy": paths("spec.(selector.matchLabels{}|onPolicyChange)"),
    "MeshConfig": paths("""
        spec.(trustDomain|trustDomainAliases[]|rootNamespace|outboundTrafficPolicy.mode|accessLogFile|accessLogEncoding)
        spec.defaultConfig.terminationDrainDuration
        spec.defaultConfig.gatewayTopology.(proxyProtocol|numTrustedProxies|forwardClientCertDetails)
        spec.defaultConfig.proxyHeaders.(forwardedClientCert|requestId.disabled|attemptCount.disabled|envoyDebugHeaders.disabled)
        spec.defaultConfig.proxyHeaders.(server.disabled|server.value|preserveHttp1HeaderCase|metadataExchangeHeaders.mode)
        spec.defaultConfig.proxyHeaders.setCurrentClientCertDetails.(subject|cert|dns|uri)
        spec.(enableAutoMtls|connectTimeout|protocolDetectionTimeout|pathNormalization.normalization|onPolicyChange|enablePrometheusMerge|onEmptyEndpoints)
        spec.(defaultServiceExportTo[]|defaultVirtualServiceExportTo[]|defaultDestinationRuleExportTo[])
        spec.(defaultHttpRetryPolicy|defaultInboundHttpRetryPolicy).(attempts|perTryTimeout|retryOn|backoff)
        spec.(defaultHttpRetryPolicy|defaultInboundHttpRetryPolicy).(retryRemoteLocalities|retryIgnorePreviousHosts)
        spec.dnsRefreshRate
        spec.(meshMTLS|tlsDefaults).(minProtocolVersion|cipherSuites[]|ecdhCurves[])
        spec.(h2UpgradePolicy|tcpKeepalive.probes|tcpKeepalive.time|tcpKeepalive.interval)
        spec.defaultConfig.proxyMetadata{}
        spec.defaultTrafficPolicy.outlierDetection.(consecutiveErrors|consecutive5xxErrors|consecutiveGatewayErrors)
        spec.defaultTrafficPolicy.outlierDetection.(consecutiveLocalOriginFailures|splitExternalLocalOriginErrors)
        spec.defaultTrafficPolicy.outlierDetection.(outlierDetectionHttpErrorCodes[]|interval|baseEjectionTime)
        spec.defaultTrafficPolicy.outlierDetection.(maxEjectionPercent|minHealthPercent)
        spec.zoneAwareLbSetting.(enabled|minClusterSize|failover[].from|failover[].to|failoverPriority[])
        spec.localityLbSetting.(enabled|distribute[].from|distribute[].to{}|failover[].from|failover[].to|failoverPriority[])
    """)
    | _pools("spec.defaultTrafficPolicy.connectionPool", _POLICY_CARRIED),
}

CARRIED |= dict.fromkeys(("ConfigMap", "Ingress", "IngressClass", "CustomResourceDefinition"), frozenset())
CARRIED |= dict.fromkeys(("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"), frozenset())
CARRIED |= dict.fromkeys(("MeshNetworks", "EnvoyFilter", *KINDS_NOT_CARRIED), frozenset())

REFUSED: dict[str, frozenset[str]] = {
    **dict.fromkeys(KINDS_NOT_CARRIED, paths("spec")),
    # Istio's own installation writes an empty list of networks, which asks for nothing.
    "MeshNetworks": paths("spec.networks{}"),
    "ProxyConfig": paths("spec.(concurrency|image)"),
    "WorkloadEntry": paths("spec.network"),
    # A machine's own address and place are its bootstrap's to say.
    "WorkloadGroup": paths("spec.template.(address|network|locality|weight)"),
    # Each patch is answered by itself (compiler/envoy_patches.py).
    "EnvoyFilter": paths("spec.configPatches[]"),
    "Service": paths("spec.internalTrafficPolicy"),
    # Series per route by statPrefix are Envoy's own; Istio's metrics, which weft has, know nothing of them. Istio itself does not carry out
    # exponential delays, HTTP/2 aborts and source subnets, and says so in its log at best.
    "VirtualService": paths("""
        spec.http[].match[].statPrefix
        spec.http[].fault.(delay.exponentialDelay|abort.http2Error)
        spec.tcp[].match[].sourceSubnet
    """),
    "DestinationRule": paths("""
        spec.(trafficPolicy|subsets[].trafficPolicy).retryBudget.budgetInterval
    """)
    | _policies(_POLICY_REFUSED),
    "Gateway": paths("""
        spec.servers[].(defaultEndpoint|tls.insecureSkipVerify|tls.tlsCertificates[].caCertificates)
    """),
    "ServiceEntry": paths("spec.endpoints[].network"),
    "Sidecar": paths("spec.ingress[].tls.(insecureSkipVerify|tlsCertificates[].caCertificates)")
    | _pools("spec.inboundConnectionPool", _POLICY_REFUSED)
    | _pools("spec.ingress[].connectionPool", _POLICY_REFUSED),
    "AuthorizationPolicy": paths("spec.provider"),
    "GatewayClass": paths("spec.parametersRef"),
    "Gateway.gateway.networking.k8s.io": paths("""
        spec.(addresses|infrastructure|defaultScope|tls.backend) spec.listeners[].tls.options
    """),
    "ListenerSet": paths("spec.listeners[].tls.options"),
    "BackendTLSPolicy": paths("spec.options"),
    "HTTPRoute": paths(f"""
        {_FILTERS}.(extensionRef|externalAuth)
        spec.rules[].sessionPersistence spec.useDefaultGateways
    """),
    "GRPCRoute": paths(f"""
        {_FILTERS}.extensionRef spec.rules[].sessionPersistence spec.useDefaultGateways
    """),
    "TLSRoute": paths("spec.useDefaultGateways"),
    "TCPRoute": paths("spec.useDefaultGateways"),
    "UDPRoute": paths("spec.useDefaultGateways"),
    "MeshConfig": paths("""
        spec.defaultConfig.(configPath|binaryPath|serviceCluster|tracingServiceName|drainDuration)
        spec.defaultConfig.(discoveryAddress|statsdUdpAddress|proxyAdminPort|controlPlaneAuthPolicy|customConfigFile)
        spec.defaultConfig.(statNameLength|concurrency|proxyBootstrapTemplatePath|interceptionMode|tracing|envoyAccessLogService)
        spec.defaultConfig.(envoyMetricsService|runtimeValues|statusPort|extraStatTags|meshId|readinessProbe)
        spec.defaultConfig.(proxyStatsMatcher|holdApplicationUntilProxyStarts|caCertificatesPem|image|privateKeyProvider)
        spec.defaultConfig.proxyHeaders.(xForwardedHost|xForwardedPort|setCurrentClientCertDetails.chain)
        spec.defaultConfig.(fileFlushInterval|fileFlushMinSizeKb|statsCompression|zipkinAddress|sds)
        spec.defaultConfig.(availabilityZone)
        spec.(accessLogFormat|enableTracing|enableEnvoyAccessLogService|disableEnvoyListenerLog)
        spec.(ingressClass|ingressService|ingressSelector|ingressControllerMode)
        spec.(proxyListenPort|proxyInboundListenPort|proxyHttpPort)
        spec.(inboundClusterStatName|outboundClusterStatName)
        spec.verifyCertificateAtClient
        spec.hboneIdleTimeout
        spec.(inboundTrafficPolicy|ca|defaultProviders|configSources|caCertificates)
        spec.(certificates|serviceSettings|extensionProviders|discoverySelectors|serviceScopeConfigs)
    """),
}

REFUSED_VALUES: dict[str, dict[str, frozenset[str]]] = {
    "AuthorizationPolicy": {
        "spec.action": frozenset({"CUSTOM", "AUDIT"}),
        "spec.targetRef.kind": frozenset({"Service", "ServiceEntry", "GatewayClass"}),
        "spec.targetRefs[].kind": frozenset({"Service", "ServiceEntry", "GatewayClass"}),
    },
    "Ingress": {"spec.ingressClassName": frozenset({"istio"}), "metadata.annotations{}": frozenset({"istio"})},
    "EndpointSlice": {"addressType": frozenset({"FQDN"})},
    # To datagrams only UDPRoutes lead, and those name Services.
    "ServiceEntry": {"spec.ports[].protocol": frozenset({"UDP", "udp"})},
    "MeshConfig": {"spec.outboundTrafficPolicy.mode": frozenset({"ALLOW_ANY_DYNAMIC_DNS"})},
    "IngressClass": {"spec.controller": frozenset({"istio.io/ingress-controller"})},
}
"""Values that a carried leaf may have in the schema and that this version does not carry."""

_DNS = frozenset({"ISTIO_META_DNS_CAPTURE", "ISTIO_META_DNS_AUTO_ALLOCATE"})
CARRIED_KEYS: dict[str, dict[str, frozenset[str]]] = {
    "MeshConfig": {"spec.defaultConfig.proxyMetadata": _DNS},
    "ProxyConfig": {"spec.environmentVariables": _DNS},
}
"""Maps that anybody may write anything into, and the keys of which something comes; this version does not carry the others."""
