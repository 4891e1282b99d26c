"""What MeshConfig says about waiting for peers reaches every proxy's deadlines."""

from __future__ import annotations

import pytest

from tests.compiler.compiled import compiled
from tests.compiler.test_link_sidecars import SHOP, mesh_config


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{}", 1000),
        ("{protocolDetectionTimeout: 100ms}", 100),
        ("{protocolDetectionTimeout: 5s}", 5000),
        ("{protocolDetectionTimeout: 0s}", 0),
    ],
)
def test_how_long_a_silent_client_is_waited_for_is_the_meshs_to_say(spec: str, expected: int) -> None:
    proxy = compiled(SHOP, mesh_config(spec)).slice("sidecar/shop/reviews-v1").proxy
    assert proxy.deadlines.sniff_ms == expected
