"""nginx: one worker, access log (combined) to /dev/null, connections to the upstream kept. It has no HTTP/2 towards upstreams."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.hop import Hop
from benchmarks.processes import LOAD_CORE, PROXY_CORE, Server
from benchmarks.works import BODY_BYTES, route_prefix

MAIN = """
daemon off; master_process {master}; worker_processes 1; pid {pid}; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log {access_log};
  keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp}; uwsgi_temp_path {temp}; scgi_temp_path {temp};
  {body}
}}
"""
PROXY = """
  upstream origin {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  {tls_out}
  server {{
    listen 127.0.0.1:{port}{ssl};
    {tls_in}
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    {locations}
  }}
"""


class Nginx:
    """Debian's nginx."""

    name = "nginx"

    def lacks(self, hop: Hop) -> str:
        """HTTP/2 to an upstream."""
        if shutil.which("nginx") is None:
            return "nginx is not installed"
        return "no HTTP/2 to upstreams" if hop.http2 else ""

    def start(self, hop: Hop, folder: Path) -> Server:
        """Starts one nginx with one worker process."""
        files = hop.certificates
        scheme = "https" if hop.tls_out else "http"
        locations = "\n    ".join(
            f"location {route_prefix(number)} {{ proxy_pass {scheme}://origin; }}" for number in range(hop.routes)
        )
        body = PROXY.format(
            upstream=hop.upstream,
            port=hop.port,
            ssl=" ssl" if hop.tls_in else "",
            tls_in=_server_tls(files.leaf, files.key, files.root) if hop.tls_in else "",
            tls_out=_client_tls(files.leaf, files.key, files.root) if hop.tls_out else "",
            locations=locations,
        )
        return _start(body, folder=folder, name=hop.name, access_log="/dev/null combined", core=PROXY_CORE)


def start_origin(hop: Hop, folder: Path) -> Server:
    """The origin: answers every request with 1 KiB, on the load's core; with mutual TLS where the hop says ``tls_in``."""
    files = hop.certificates
    listen = f"127.0.0.1:{hop.port}" + (" ssl" if hop.tls_in else "") + (" http2" if hop.http2 else "")
    tls = _server_tls(files.leaf, files.key, files.root) if hop.tls_in else ""
    # return takes a variable-length text; 1 KiB of it is what every row answers.
    reply = f'default_type text/plain; location / {{ return 200 "{"x" * BODY_BYTES}"; }}'
    # A large bound on requests per connection: reconnecting is not what is measured.
    streams = "http2_max_concurrent_streams 1024;" if hop.http2 else ""
    body = f"server {{ listen {listen}; {tls} {streams} {reply} }}"
    return _start(body, folder=folder, name=hop.name, access_log="off", core=LOAD_CORE)


def _server_tls(leaf: Path, key: Path, root: Path) -> str:
    return f"ssl_certificate {leaf}; ssl_certificate_key {key}; ssl_client_certificate {root}; ssl_verify_client on;"


def _client_tls(leaf: Path, key: Path, root: Path) -> str:
    return (
        f"proxy_ssl_certificate {leaf}; proxy_ssl_certificate_key {key}; proxy_ssl_trusted_certificate {root};"
        " proxy_ssl_verify on; proxy_ssl_name bench.test; proxy_ssl_server_name on;"
    )


def _start(body: str, *, folder: Path, name: str, access_log: str, core: int) -> Server:
    config = folder / f"{name}.conf"
    temp = folder / f"{name}-temp"
    pid = folder / f"{name}.pid"
    config.write_text(MAIN.format(master="off", pid=pid, temp=temp, access_log=access_log, body=body))
    return Server(["nginx", "-c", str(config), "-p", str(folder)], folder=folder, name=name, core=core)
