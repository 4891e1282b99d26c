"""SPIFFE's own certificates: every good one is accepted, every wrong one refused."""

from __future__ import annotations

from policies.spiffe import SpiffeError
from runtime.identity.certificate import read_chain
from tests.conformance.corpus import DATA, Tally


def run() -> Tally:
    """The PEM files; the DER ones are another encoding of the same certificates, which no interface of ours takes."""
    tally = Tally()
    for path in sorted((DATA / "x509" / "spiffe" / "x509-certs").iterdir()):
        if path.suffix == ".der":
            tally.leave(path.name, "DER: no interface of ours takes it")
            continue
        good = path.name[0].isdigit()
        try:
            read_chain(path.read_bytes())
        except SpiffeError as error:
            tally.count(path.name, f"refused: {error}" if good else None)
        else:
            tally.count(path.name, None if good else "accepted")
    return tally
