"""What each proxy of a local mesh is told: a bootstrap file, the name of its join token, and certificates for gateways."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class LocalProxy(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy of a local mesh: its name on the screen, where it is, whose token it joins with, and what selects its slice.

    ``slice`` is the slice's exact name; where it is "" the labels choose. ``application`` is where the application behind a sidecar
    listens. ``port_map`` and ``application_ports`` are as in the bootstrap.
    """

    name: str
    kind: str
    address: str
    namespace: str
    account: str
    labels: tuple[tuple[str, str], ...] = ()
    slice: str = ""
    application: str = ""
    port_map: tuple[tuple[int, int], ...] = ()
    application_ports: tuple[tuple[int, int], ...] = ()


def write_bootstrap(folder: Path, proxy: LocalProxy, *, control: tuple[str, int], store: str = "") -> Path:
    """Writes ``<proxy>.toml`` beside the keys that it names and returns its path. ``store`` is the control plane's unless another is given."""
    host, port = control
    labels = ", ".join(json.dumps(list(pair)) for pair in proxy.labels)
    lines = [
        f"# {proxy.name}: everything here is this machine's; nothing of it is in Git.",
        f'address = "{proxy.address}"',
        f'application = "{proxy.application or "127.0.0.1"}"',
        f"store = {json.dumps(store or f'https://{host}:{port}/store')}",
        f'control = "https://{host}:{port}"',
        'control_ca = "bundle.pem"',
        'root = "root.json"',
        f'state = "state/{proxy.name}"',
        f'join_token = "tokens/{token_name(proxy.namespace, proxy.account)}"',
        'credentials = "credentials"',
        "stamp = true",
        f"port_map = {_ports(proxy.port_map)}",
        f"application_ports = {_ports(proxy.application_ports)}",
        "",
        "[selector]",
        f"name = {json.dumps(proxy.slice)}",
        f'namespace = "{proxy.namespace}"',
        f'proxy = "{proxy.kind}"',
        f"labels = [{labels}]",
    ]
    if not proxy.application:
        lines += ["", "[ports]", "outbound = -1"]
    path = folder / f"{proxy.name}.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def token_name(namespace: str, account: str) -> str:
    """The name of an account's file in the folder of join tokens."""
    return f"{namespace}.{account}"


def _ports(pairs: tuple[tuple[int, int], ...]) -> str:
    return "{" + ", ".join(f'"{port}" = {real}' for port, real in pairs) + "}"


def write_certificate(credentials: Path, secret: str, hosts: Sequence[str], *, now: dt.datetime) -> None:
    """Makes a self-signed certificate for ``<namespace>/<secret>`` in the credentials directory; the key is readable by its owner alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = credentials / secret
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / "tls.key"
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
