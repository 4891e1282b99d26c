"""Documents for tests of analysis, in the namespace ``shop``, each ended by a separator."""

from __future__ import annotations


def document(api_version: str, kind: str, name: str, spec: str, namespace: str = "shop") -> str:
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"


def namespace(name: str, labels: str = "") -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n---\n"


def service(name: str, ports: str, selector: str = "") -> str:
    return document("v1", "Service", name, f"{{selector: {selector or f'{{app: {name}}}'}, ports: {ports}}}")


def deployment(name: str, labels: str = "", spec: str = "", container: str = "{name: a, image: a}") -> str:
    chosen = labels or f"{{app: {name}}}"
    template = f"{{metadata: {{labels: {chosen}}}, spec: {{{spec}containers: [{container}]}}}}"
    return document("apps/v1", "Deployment", name, f"{{selector: {{matchLabels: {chosen}}}, template: {template}}}")


def pod(name: str, labels: str = "{}", annotations: str = "{}", container: str = "{name: a, image: a}") -> str:
    head = f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  labels: {labels}\n  annotations: {annotations}\n"
    return f"{head}spec: {{containers: [{container}]}}\n---\n"
