"""Documents for tests of analysis, in the namespace ``shop``, each ended by a separator."""

from __future__ import annotations


def document(api_version: str, kind: str, name: str, spec: str, namespace: str = "shop") -> str:
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"


def service(name: str, ports: str) -> str:
    return document("v1", "Service", name, f"{{selector: {{app: {name}}}, ports: {ports}}}")


def deployment(name: str) -> str:
    template = f"{{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: a, image: a}}]}}}}"
    return document(
        "apps/v1", "Deployment", name, f"{{selector: {{matchLabels: {{app: {name}}}}}, template: {template}}}"
    )
