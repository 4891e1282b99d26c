"""The control plane's own metrics, declared once: name, kind, help, label. Values are read when someone asks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Metric(Enum):
    """(name, kind, help, label or "")."""

    CERT_EXPIRY = (
        "weft_control_cert_expiry_seconds",
        "gauge",
        "Seconds until a certificate or a trust role of the control plane expires.",
        "role",
    )
    ISSUED = ("weft_control_certificates_issued_total", "counter", "SVIDs issued since the start.", "by")
    REFUSED = ("weft_control_refused_total", "counter", "Calls refused since the start, by reason.", "reason")
    WORKLOADS = ("weft_control_registered_workloads", "gauge", "Workloads registered now.", "")
    REGISTRY_VERSION = ("weft_control_registry_version", "gauge", "The registry's version.", "")
    PROXIES = ("weft_control_proxies", "gauge", "Proxies that report, by whether they have an error.", "state")
    PUBLISHED = ("weft_control_published_version", "gauge", "The release that the store has, by channel.", "channel")
    PUBLISH = ("weft_control_publish_total", "counter", "Releases seen in the store since the start.", "")
    SIGNED = ("weft_control_timestamps_signed_total", "counter", "Timestamps re-signed since the start.", "")
    SIGN_FAILED = (
        "weft_control_timestamp_failures_total",
        "counter",
        "Attempts to re-sign the timestamp that failed. Alert on any: proxies notice when it expires.",
        "",
    )
    STORE_PROBLEM = (
        "weft_control_store_problem",
        "gauge",
        "1 while the published release cannot be read or verified by the control plane.",
        "",
    )


Values = Mapping[Metric, Mapping[str, float]]
"""Per metric, the value per label value; a metric without a label has the one key ""."""


def expose(values: Values) -> bytes:
    """The Prometheus text format (version 0.0.4) of every metric that has a value, in the order of declaration."""
    lines = []
    for metric in Metric:
        name, kind, text, label = metric.value
        samples = values.get(metric)
        if not samples:
            continue
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        for key, value in sorted(samples.items()):
            lines.append(f'{name}{{{label}="{_escaped(key)}"}} {value:.17g}' if label else f"{name} {value:.17g}")
    return ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
