"""What is said of single proxies: MeshConfig's ``defaultConfig``, the annotation ``proxy.istio.io/config`` of a pod (Istio's ProxyConfig as
YAML), and the kind ProxyConfig."""

from __future__ import annotations

import msgspec

from compiler.diagnostic import ResourceId
from compiler.node import Document, Mapping
from compiler.resources.cursor import Cursor, Labels, Positions
from compiler.resources.meta import Meta, open_document
from compiler.yaml_file import read_yaml
from policies.proxy_headers import CERTIFICATE_PARTS

ANNOTATION = "proxy.istio.io/config"
DNS_CAPTURE, DNS_ALLOCATE = "ISTIO_META_DNS_CAPTURE", "ISTIO_META_DNS_AUTO_ALLOCATE"
_TRUTHS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_USUALLY_SHOWN = {"cert": False, "subject": True, "uri": True, "dns": True}


class ProxySettings(msgspec.Struct, frozen=True):
    """Settings of one proxy, or of all; None is for what is not said.

    ``proxied``: what comes to a gateway begins with the PROXY protocol. ``trusted_hops`` and ``gateway_certificate`` are ``gatewayTopology``'s,
    ``captures_dns`` and ``allocates`` are ``proxyMetadata``'s: whether it answers its application's DNS queries, and whether hosts without an
    address have one for it. The rest is as in policies.proxy_headers.ProxyHeaders.
    """

    proxied: bool | None = None
    trusted_hops: int | None = None
    gateway_certificate: str | None = None
    certificate: str | None = None
    shows: tuple[str, ...] | None = None
    request_ids: bool | None = None
    attempts: bool | None = None
    internal: bool | None = None
    server: str | None = None
    spelling: bool | None = None
    drain_ms: int | None = None
    captures_dns: bool | None = None
    allocates: bool | None = None

    def over(self, defaults: ProxySettings) -> ProxySettings:
        """These settings, and the defaults for what they do not say."""
        said = {name: mine for name in self.__struct_fields__ if (mine := getattr(self, name)) is not None}
        return msgspec.structs.replace(defaults, **said) if said else defaults


UNSAID = ProxySettings()


class ProxyRule(msgspec.Struct, frozen=True):
    """A ProxyConfig. ``selector`` is None for a whole namespace, or for the mesh in the root namespace; ``settings`` are what its environment
    variables say."""

    meta: Meta
    selector: Labels | None
    settings: ProxySettings = UNSAID


def read_proxy_config(document: Document, positions: Positions) -> ProxyRule:
    """A ProxyConfig document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root.empty("spec")
    selector = spec.at("selector")
    labels = selector.labels("matchLabels") if selector else ()
    environment = spec.at("environmentVariables") or spec.empty("environmentVariables")
    return ProxyRule(meta, labels or None, _metadata(environment))


def read_settings(config: Cursor) -> ProxySettings:
    """What a ProxyConfig says, wherever it is written."""
    topology = config.at("gatewayTopology") or config.empty("gatewayTopology")
    headers = config.at("proxyHeaders") or config.empty("proxyHeaders")
    metadata = _metadata(config.at("proxyMetadata") or config.empty("proxyMetadata"))
    return ProxySettings(
        proxied=topology.has("proxyProtocol") or None,
        trusted_hops=topology.number("numTrustedProxies") if topology.has("numTrustedProxies") else None,
        gateway_certificate=_mode(topology.text("forwardClientCertDetails")),
        certificate=_mode(headers.text("forwardedClientCert")),
        shows=_shown(headers.at("setCurrentClientCertDetails")),
        request_ids=_unless_disabled(headers.at("requestId")),
        attempts=_unless_disabled(headers.at("attemptCount")),
        internal=_unless_disabled(headers.at("envoyDebugHeaders")),
        server=_server(headers.at("server")),
        spelling=headers.flag("preserveHttp1HeaderCase") if headers.has("preserveHttp1HeaderCase") else None,
        drain_ms=config.duration_ms("terminationDrainDuration"),
        captures_dns=metadata.captures_dns,
        allocates=metadata.allocates,
    )


def annotated_settings(annotations: Labels) -> ProxySettings:
    """What a pod's annotation says. A text that is no YAML says nothing; analysis tells of it."""
    text = dict(annotations).get(ANNOTATION, "")
    if not text:
        return UNSAID
    roots, _ = read_yaml(ANNOTATION, text)
    if not roots or not isinstance(roots[0], Mapping):
        return UNSAID
    return read_settings(Cursor(roots[0], ResourceId("ProxyConfig", "", ""), {}))


def _metadata(variables: Cursor) -> ProxySettings:
    """What the variables of a proxy's environment say."""
    return ProxySettings(
        captures_dns=_truth(variables.text(DNS_CAPTURE)), allocates=_truth(variables.text(DNS_ALLOCATE))
    )


def _truth(written: str) -> bool | None:
    """A truth value as Go's strconv has it; anything else says nothing."""
    return _TRUTHS.get(written.lower())


def _mode(written: str) -> str | None:
    return None if written in ("", "UNDEFINED") else written.lower()


def _unless_disabled(setting: Cursor | None) -> bool | None:
    return not setting.flag("disabled") if setting is not None and setting.has("disabled") else None


def _shown(setting: Cursor | None) -> tuple[str, ...] | None:
    if setting is None:
        return None
    return tuple(
        part for part in CERTIFICATE_PARTS if (setting.flag(part) if setting.has(part) else _USUALLY_SHOWN[part])
    )


def _server(setting: Cursor | None) -> str | None:
    if setting is None:
        return None
    return "" if setting.flag("disabled") else setting.text("value") or None
