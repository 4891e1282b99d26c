"""What a pod says about its proxy in the annotation ``proxy.istio.io/config``, which holds Istio's ProxyConfig as YAML."""

from __future__ import annotations

from compiler.node import Mapping, find
from compiler.resources.cursor import Labels
from compiler.yaml_file import read_yaml

ANNOTATION = "proxy.istio.io/config"
_PROXIED = ("gatewayTopology", "proxyProtocol")


def is_proxied(annotations: Labels) -> bool:
    """Whether what comes to this pod's gateway begins with the PROXY protocol. A text that is no YAML says nothing; analysis tells of it."""
    text = dict(annotations).get(ANNOTATION, "")
    if "proxyProtocol" not in text:
        return False
    roots, _ = read_yaml(ANNOTATION, text)
    return any(isinstance(find(root, _PROXIED), Mapping) for root in roots)
