"""The settings of Istio's sidecar injector, where its ConfigMap is in Git: ``istio-sidecar-injector[-REVISION]``, key ``values``."""

from __future__ import annotations

import json
from typing import Any

from compiler.mesh import Mesh

NAME = "istio-sidecar-injector"


def injector_of(mesh: Mesh, revision: str) -> dict[str, Any] | None:
    """The values of the injector of a revision ("" and ``default`` are the one without), or None where Git has none that can be read."""
    name = NAME if revision in ("", "default") else f"{NAME}-{revision}"
    item = next((item for item in mesh.written("ConfigMap") if item.meta.name == name), None)
    data = item.root.at("data") if item else None
    try:
        values = json.loads(data.text("values")) if data else None
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def injected_by_default(values: dict[str, Any] | None) -> bool:
    """Whether namespaces without a label are injected."""
    return _section(values, "sidecarInjectorWebhook").get("enableNamespacesByDefault") is True


def proxy_image(values: dict[str, Any] | None) -> str:
    """The image that the injector gives proxies."""
    settings = _section(values, "global")
    image = str(_section(settings, "proxy").get("image", ""))
    return image if "/" in image else f"{settings.get('hub', '')}/{image}:{settings.get('tag', '')}"


def _section(values: dict[str, Any] | None, name: str) -> dict[str, Any]:
    found = (values or {}).get(name)
    return found if isinstance(found, dict) else {}
