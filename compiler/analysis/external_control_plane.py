"""Webhooks of a cluster whose control plane is elsewhere: they need a URL."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor
from compiler.resources.written import Written

_INJECTOR, _VALIDATOR = "istio-sidecar-injector-", "istio-validator-"
_SERVED_HERE = frozenset({"istiod-default-validator"})


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0163 where there is no usable URL, IST0164 for an address in one; at the webhook, one finding per configuration."""
    for item in mesh.written("ValidatingWebhookConfiguration"):
        if item.meta.name.startswith(_VALIDATOR) or item.meta.name in _SERVED_HERE:
            yield from _configuration(item)
    for item in mesh.written("MutatingWebhookConfiguration"):
        if item.meta.name.startswith(_INJECTOR):
            yield from _configuration(item)


def _configuration(item: Written) -> Iterator[Diagnostic]:
    for hook in item.root.each("webhooks"):
        client = hook.at("clientConfig")
        if client is None or client.at("service") is not None:
            continue
        found = _problem(item, hook, client)
        if found is not None:
            yield found
            return


def _problem(item: Written, hook: Cursor, client: Cursor) -> Diagnostic | None:
    url, name = client.text("url"), hook.text("name")
    if not url:
        message = f"webhook `{name}` has neither a URL nor a service"
        return diagnostic("IST0163", message, client.span, resource=item.meta.id)
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        message = f"webhook `{name}` has the URL `{url}`, which names no host"
        return diagnostic("IST0163", message, client.span, resource=item.meta.id)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return diagnostic(
        "IST0164", f"webhook `{name}` is called by the address {host}", client.span, resource=item.meta.id
    )
