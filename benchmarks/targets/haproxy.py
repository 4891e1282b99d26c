"""haproxy: one thread, HTTP log to /dev/null, connections to the server reused, routes by a prefix map (its own index)."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.hop import Hop
from benchmarks.processes import PROXY_CORE, Server
from benchmarks.works import route_prefix

CONFIG = """
global
  nbthread 1
  maxconn 4096
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  option http-keep-alive
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  http-reuse always
frontend bench
  bind 127.0.0.1:{port}{tls_in}{proto}
  use_backend %[path,map_beg({map},none)]
backend origin
  retries 2
  server origin 127.0.0.1:{upstream}{tls_out}{proto}
backend none
  http-request deny deny_status 404
"""


class Haproxy:
    """Debian's haproxy."""

    name = "haproxy"

    def lacks(self, hop: Hop) -> str:  # noqa: ARG002  it can do everything that is asked here
        """Nothing, where it is installed."""
        return "" if shutil.which("haproxy") else "haproxy is not installed"

    def start(self, hop: Hop, folder: Path) -> Server:
        """Starts one haproxy with one thread; its log goes to standard output, and that to /dev/null."""
        files = hop.certificates
        routes = folder / f"{hop.name}.map"
        routes.write_text("".join(f"{route_prefix(number)} origin\n" for number in range(hop.routes)))
        verify = f" crt {files.both} ca-file {files.root} verify required"
        text = CONFIG.format(
            port=hop.port,
            upstream=hop.upstream,
            map=routes,
            tls_in=f" ssl{verify}" if hop.tls_in else "",
            tls_out=f" ssl{verify} verifyhost bench.test sni str(bench.test)" if hop.tls_out else "",
            proto=" proto h2" if hop.http2 else "",
        )
        config = folder / f"{hop.name}.cfg"
        config.write_text(text)
        command = ["sh", "-c", 'exec haproxy -q -f "$0" > /dev/null', str(config)]
        return Server(command, folder=folder, name=hop.name, core=PROXY_CORE)
