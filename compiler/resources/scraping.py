"""Where an application shows its metrics, as its pod's annotations say (prometheus.io/*), for the sidecar to show them with its own."""

from __future__ import annotations

from compiler.resources.cursor import Labels

SCRAPE, PORT, PATH = "prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"
MERGE = "prometheus.istio.io/merge-metrics"
OWN_PORTS = frozenset({15020, 15090})
"""The sidecar's own pages; an application that names one of them has none of its own (Istio)."""
MAX_PORT = 65_535


def scraped_at(annotations: Labels) -> tuple[int, str] | None:
    """The application's port and path, by default 80 and /metrics; None where it is not scraped, or its metrics are to stay apart."""
    written = dict(annotations)
    if written.get(SCRAPE, "").lower() != "true" or written.get(MERGE, "").lower() == "false":
        return None
    port = written.get(PORT, "80").strip()
    if not port.isdigit() or not 0 < int(port) <= MAX_PORT or int(port) in OWN_PORTS:
        return None
    path = written.get(PATH, "").strip() or "/metrics"
    return int(port), path if path.startswith("/") else f"/{path}"
