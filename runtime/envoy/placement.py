"""What one machine adds to a slice so that Envoy can run it: addresses, live endpoints, and how each part reaches Envoy."""

from __future__ import annotations

from enum import Enum

import msgspec

from runtime.bootstrap import Bootstrap
from runtime.endpoints import LiveData


class Delivery(Enum):
    """How routes, endpoints and secrets reach Envoy: in the one static file, or over the aggregated discovery service."""

    STATIC = "static"
    DISCOVERED = "discovered"


class Placement(msgspec.Struct, frozen=True):
    """One machine's part. ``stamp`` is the x-weft-snapshot entry of replies ("" for none)."""

    bootstrap: Bootstrap
    live: LiveData
    delivery: Delivery
    stamp: str = ""

    @property
    def intercepts(self) -> bool:
        """Whether the kernel redirects connections to this proxy."""
        return self.bootstrap.interception != "none"

    @property
    def transparent(self) -> bool:
        """Whether applications see the addresses of clients."""
        return self.bootstrap.interception == "tproxy"
