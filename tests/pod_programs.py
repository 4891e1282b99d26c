"""What runs in a pod: servers that say what they saw, and a client that makes many calls at once. The standard library alone, run with -I.

serve [{kind, host, port, name}]     http, https: JSON of what came; greet: speaks first; echo: says back what came
call  < [{kind, to, ...}]            http: host, path, headers; greet: waits for the server; echo: speaks first
"""

from __future__ import annotations

import concurrent.futures
import http.client
import http.server
import json
import socket
import socketserver
import ssl
import sys
import threading

WAIT_S = 8.0
AT_ONCE = 24
_NAMED = ("host", "x-forwarded-proto", "x-forwarded-for", "x-forwarded-client-cert", "x-added", "x-asked")


class Say(http.server.BaseHTTPRequestHandler):
    """Answers what it saw."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """See http.server."""
        seen = {name: self.headers[name] for name in _NAMED if name in self.headers}
        told = {
            "name": self.server.name,
            "path": self.path,
            "headers": seen,
            "from": self.client_address[0],
            "at": self.connection.getsockname()[0],
        }
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


class Greet(socketserver.BaseRequestHandler):
    """Speaks first, and says who called."""

    def handle(self) -> None:
        """See socketserver."""
        self.request.sendall(f"{self.server.name} greets {self.client_address[0]}\n".encode())
        self.request.recv(64)


class Echo(socketserver.BaseRequestHandler):
    """Says back what came."""

    def handle(self) -> None:
        """See socketserver."""
        self.request.sendall(f"{self.server.name} {self.client_address[0]} ".encode() + self.request.recv(64))


class SayInside(Say):
    """The same inside TLS; the program's name is the file of its certificate and key."""

    def setup(self) -> None:
        """See socketserver."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.name)
        self.request = context.wrap_socket(self.request, server_side=True)
        super().setup()


class Server(socketserver.ThreadingTCPServer):
    """A server of either family."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, handler: type, name: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.name = name
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """One family each."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


def serve(programs: list[dict]) -> None:
    """Serves for ever."""
    kinds = {"http": Say, "https": SayInside, "greet": Greet, "echo": Echo}
    for one in programs:
        server = Server(one["host"], one["port"], kinds[one["kind"]], one["name"])
        threading.Thread(target=server.serve_forever).start()


def call(one: dict) -> dict:
    """What became of one call."""
    try:
        return _http(one) if one["kind"].startswith("http") else _bytes(one)
    except (OSError, http.client.HTTPException) as error:
        return {"error": "timeout" if isinstance(error, TimeoutError) else "closed"}


def _http(one: dict) -> dict:
    host, port = one["to"]
    connection = http.client.HTTPConnection(host, port, timeout=WAIT_S)
    if one["kind"] == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=WAIT_S, context=context)
    try:
        connection.putrequest("GET", one.get("path", "/"), skip_host=True)
        connection.putheader("host", one["host"])
        for name, value in one.get("headers", {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        reply = connection.getresponse()
        text = reply.read().decode("latin-1")
        seen = json.loads(text) if text.startswith("{") else {}
        return {"status": reply.status, "seen": seen}
    finally:
        connection.close()


def _bytes(one: dict) -> dict:
    with socket.create_connection(tuple(one["to"]), WAIT_S) as sock:
        if one["kind"] == "echo":
            sock.sendall(b"hello\n")
        got = sock.recv(200).decode("latin-1")
    return {"got": got} if got else {"error": "closed"}


def main() -> None:
    """Serves, or calls."""
    if sys.argv[1] == "serve":
        serve(json.loads(sys.argv[2]))
        return
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        print(json.dumps(list(pool.map(call, json.load(sys.stdin)))))


main()
