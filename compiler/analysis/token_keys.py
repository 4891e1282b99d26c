"""Keys of token issuers that stand in Git: public ones, by which a token can be checked, and nothing secret beside them."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0135 at a rule's ``jwks``, or at an issuer that cannot be asked for its keys."""
    for item in mesh.written("RequestAuthentication"):
        for rule in item.spec.each("jwtRules"):
            written, issuer = rule.located("jwks"), rule.located("issuer")
            if written is not None and written.value:
                problem, place = _problem(written.value), written
            elif issuer is not None and not rule.text("jwksUri") and not rule.text("jwks_uri"):
                problem, place = _undiscoverable(issuer.value), issuer
            else:
                continue
            if problem:
                yield diagnostic("WFT0135", problem, place.span, resource=item.meta.id)


def _undiscoverable(issuer: str) -> str:
    if issuer.startswith(("https://", "http://")):
        return ""
    return f"`{issuer}` is no URL that could be asked for its keys, and the rule has none; every token of this issuer is refused"


def _problem(jwks: str) -> str:
    # The library that reads keys is loaded only where there are some.
    from snapshot.key_set import KeySetError, read_key_set, secret_keys

    secrets = secret_keys(jwks)
    if secrets:
        return f"`jwks` holds the secret part of {secrets[0]}; whoever reads Git can sign tokens. It is left out of the snapshot"
    try:
        read_key_set(jwks)
    except KeySetError as error:
        return f"{error}; every token of this issuer is refused"
    return ""
