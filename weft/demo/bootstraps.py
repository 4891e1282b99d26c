"""What each proxy of the demonstration is told: a bootstrap file, a join token, and for the ingress a certificate."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from weft.demo.plan import CONTROL_API, ProxyPlan

SECRET = Path("gateways") / "bookshop-certificate"


def write_bootstrap(folder: Path, proxy: ProxyPlan) -> Path:
    """Writes ``<proxy>.toml`` beside the keys that it names and returns its path."""
    host, port = CONTROL_API
    labels = ", ".join(json.dumps(list(pair)) for pair in proxy.labels)
    lines = [
        f"# {proxy.name}: everything here is this machine's; nothing of it is in Git.",
        f'address = "{proxy.address}"',
        f'application = "{proxy.application or "127.0.0.1"}"',
        f'store = "https://{host}:{port}/store"',
        f'control = "https://{host}:{port}"',
        'control_ca = "bundle.pem"',
        'root = "root.json"',
        f'state = "state/{proxy.name}"',
        f'join_token = "tokens/{proxy.account}"',
        'credentials = "credentials"',
        "stamp = true",
        "",
        "[selector]",
        f'namespace = "{proxy.namespace}"',
        f'proxy = "{proxy.kind}"',
        f"labels = [{labels}]",
    ]
    if not proxy.application:
        lines += ["", "[ports]", "outbound = -1"]
    path = folder / f"{proxy.name}.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_certificate(credentials: Path, host: str, *, now: dt.datetime) -> None:
    """Makes a self-signed certificate for the ingress in the credentials directory; the key is readable by its owner alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = credentials / SECRET
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = folder / "tls.key"
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
