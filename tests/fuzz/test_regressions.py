"""Inputs that fuzzing found, each kept as small as it was shrunk: none may raise again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fuzz.targets import TARGETS

FOUND: list[tuple[str, Any]] = [
    (
        "linker",
        [
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": "delegate"},
                "spec": {"hosts": [], "gateways": ["gone"], "http": [{"route": [{"destination": {"host": "a"}}]}]},
            }
        ],
    ),
    (
        "pipeline",
        [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "a"},
                "spec": {
                    "containers": [{"name": "a"}],
                    "initContainers": [{"name": "b", "ports": [{"containerPort": 1e300}]}],
                },
            }
        ],
    ),
    (
        "pipeline",
        [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "a"},
                "spec": {"containers": [{"name": "a", "securityContext": {"runAsUser": "nobody"}}]},
            }
        ],
    ),
    (
        "linker",
        [
            {
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": "a"},
                "spec": {
                    "action": "DENY",
                    "rules": [{"from": [{"source": {"namespaces": ["b"], "notNamespaces": ["*"]}}]}],
                },
            },
            {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "a"}},
        ],
    ),
]


@pytest.mark.parametrize(("target", "value"), FOUND, ids=lambda item: item if isinstance(item, str) else None)
def test_what_broke_once_does_not_break_again(target: str, value: Any) -> None:
    TARGETS[target].run(json.loads(json.dumps(value)))
