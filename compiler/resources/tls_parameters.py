"""How TLS is to be spoken: the oldest version, the suites of TLS 1.2 and the curves, wherever they are written."""

from __future__ import annotations

import msgspec

from compiler.resources.cursor import Cursor

_GONE = frozenset({"AES128-SHA256"})
CIPHER_SUITES = frozenset(
    f"{exchange}{suite}"
    for exchange, suites in (
        ("ECDHE-ECDSA-", ("CHACHA20-POLY1305",)),
        ("ECDHE-RSA-", ("CHACHA20-POLY1305",)),
        *(
            (exchange, ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA256", "AES128-SHA", "AES256-SHA"))
            for exchange in ("ECDHE-ECDSA-", "ECDHE-RSA-", "")
        ),
        ("", ("DES-CBC3-SHA",)),
    )
    for suite in suites
    if f"{exchange}{suite}" not in _GONE
)
"""The names by which Envoy knows the suites of TLS 1.2; what was one to older Envoys is none."""
CURVES = ("X25519MLKEM768", "X25519", "P-256", "P-384", "P-521")
"""The names by which Envoy and Istio know curves."""


class TlsParameters(msgspec.Struct, frozen=True):
    """What is asked for; "" and empty lists ask for nothing. ``min_version`` is ``TLSv1_2`` or ``TLSv1_3``."""

    min_version: str = ""
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()

    def over(self, defaults: TlsParameters) -> TlsParameters:
        """These, and the defaults for what they do not say."""
        return TlsParameters(
            self.min_version or defaults.min_version, self.ciphers or defaults.ciphers, self.curves or defaults.curves
        )


NOTHING_ASKED = TlsParameters()


def read_tls_parameters(tls: Cursor | None) -> TlsParameters:
    """The parameters in a ``tls`` of a server, or in MeshConfig. Istio's floor of TLS 1.2 holds also where an older version is asked for;
    names that nobody knows are left out, and analysis tells of them."""
    if tls is None:
        return NOTHING_ASKED
    written = tls.text("minProtocolVersion", "TLS_AUTO")
    # A list of suites may also add, remove and reorder (OpenSSL's form of cipher lists).
    ciphers = dict.fromkeys(name for name in tls.texts("cipherSuites") if name.lstrip("+-!") in CIPHER_SUITES)
    return TlsParameters(
        min_version="" if written == "TLS_AUTO" else "TLSv1_3" if written == "TLSV1_3" else "TLSv1_2",
        ciphers=tuple(ciphers),
        curves=tuple(dict.fromkeys(name for name in tls.texts("ecdhCurves") if name in CURVES)),
    )
